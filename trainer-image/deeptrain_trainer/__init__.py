"""The trainer: imports a dataset, trains a model, evaluates and exports it. `python -m deeptrain_trainer`."""
