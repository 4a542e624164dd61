"""The task `prepare`: on CPU, and before a GPU is asked for, all that a training does before its first step.

It is done by the very code of the training, which finds in the store what was fetched and computed here; what is at
fault here would be at fault there. Done again, or beside another, it finds what is there or does it for nothing.
"""

from collections.abc import Callable
from typing import Any

from .device import choose_device
from .run import TrainRun
from .templates import open_learner


def prepare_inputs(run: TrainRun, check_stop: Callable[[], None]) -> dict[str, Any]:
    """Fetches the base, checks it and the data, computes embeddings. The fields of the prepared record.

    Raises Failure as the training would, and Stopped.
    """
    device = choose_device(0, run.threads, bf16_on_cpu=False)
    open_learner(run, device, check_stop)
    return {"outcome": "prepared"}
