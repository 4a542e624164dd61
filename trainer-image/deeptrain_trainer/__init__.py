"""The trainer: imports a dataset, trains a model, evaluates and exports it. `python -m deeptrain_trainer`."""

import os

# PyTorch and OpenMP read these when they are loaded, which any module of this package may cause.

# Threads that spin at barriers take the cores from one another.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
# Activations on the CPU in huge pages where the kernel has them: else a third of a step is page faults. The same bits.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
