"""Our side: the trainer's own engine on a stored dataset, from a run file to the last epoch."""

import json
import sys
from typing import Any

from deeptrain_trainer.garbage import without_search

with without_search():  # as tasks.py does
    from deeptrain_trainer.bases import base_folder
    from deeptrain_trainer.dataset.store import sha256_of_file
    from deeptrain_trainer.engine import run_training
    from deeptrain_trainer.learner import Learner, Validation
    from deeptrain_trainer.report import Reporter
    from deeptrain_trainer.run import read_run, train_run
    from deeptrain_trainer.train import prepare, resume

from .baton import Baton
from .case import Case


class _Turns(Reporter):
    """Gives the turn back at the end of each epoch. Nothing is sent."""

    images = 0
    """Of an epoch: whole batches."""

    def __init__(self, baton: Baton) -> None:
        super().__init__("train", "benchmark", 1, None)
        self._baton = baton

    def send(self, event: dict[str, Any]) -> None:
        if event["type"] == "epoch":
            self._baton.finish(self.images, event["validation"]["top1"])


def run_file(case: Case) -> dict[str, Any]:
    """As the operator would write it. The learning rate never drops within the case."""
    base: dict[str, str] = {"id": case.base}
    if case.base != "none":
        path = base_folder() / f"{case.base}.safetensors"
        base["digest"] = f"sha256:{sha256_of_file(path)}"
    return {
        "task": "train",
        "object": {"namespace": "default", "name": "benchmark-v1", "uid": "benchmark"},
        "attempt": 1,
        "inputsHash": "sha256:" + "b" * 64,
        "template": f"visual-classifier/{case.backbone}",
        "templateRevision": 1,
        "hyperparameters": {
            "average_horizontal_flips": True,
            "base_gradient_multiplier": 1,
            "batch_size": case.batch_size,
            "image_size": case.image_size,
            "init_epochs": case.epochs,
            "step_epochs": 1,
            "logreg": False,
            "lrate": case.lrate,
            "num_epochs": case.epochs,
            "num_items_per_epoch": 0,
            "test_freq": 1,
        },
        "seed": 0,
        "concepts": case.concepts,
        "dataset": case.dataset,
        "base": base,
        "output": str(case.work / "output"),
        "threads": case.threads,
        "gpus": case.gpus,
    }


def main() -> None:
    """Arguments: when this process was made, and the case."""
    baton = Baton(float(sys.argv[1]))
    case = Case.from_json(json.loads(sys.argv[2]))
    path = case.work / "run.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(run_file(case)))
    run = train_run(read_run(path))
    reporter = _Turns(baton)
    training = prepare(run, reporter, lambda: None)
    resume(training)
    reporter.images = training.schedule.steps_per_epoch * case.batch_size
    _mark_end_of_steps(training.learner, baton)
    baton.ready(training.device.name, training.device.precision)
    run_training(training)


def _mark_end_of_steps(learner: Learner, baton: Baton) -> None:
    validate = learner.validate

    def marked() -> Validation:
        baton.trained()
        return validate()

    learner.validate = marked  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
