"""What an unexpected exception means to the user: memory, disk, or a crash."""

import errno
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

from .failure import Failure
from .report import NotAcknowledgedError

# PyTorch tells of memory that it cannot get by these words, on the CPU and the GPU; the last are cuBLAS's and cuDNN's.
_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "STATUS_ALLOC_FAILED",
)


def failure_of(surprise: Exception, run: dict[str, Any]) -> Failure:
    """The failure to record. The traceback goes to stderr."""
    traceback.print_exception(surprise, file=sys.stderr)
    text = f"{type(surprise).__name__}: {surprise}"
    full = isinstance(surprise, OSError) and surprise.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or "No space left on device" in text:
        return Failure("DiskFull", _disk_full(surprise, run))
    if isinstance(surprise, MemoryError) or any(words in text for words in _OUT_OF_MEMORY):
        return Failure("OutOfMemory", _out_of_memory(run))
    if isinstance(surprise, NotAcknowledgedError):
        return Failure("ImportFailed", f"The import's report was not delivered: {surprise}")
    reason = "ImportFailed" if run.get("task") == "import" else "TrainingFailed"
    return Failure(reason, f"The trainer crashed: {text}")


def _disk_full(surprise: Exception, run: dict[str, Any]) -> str:
    path = getattr(surprise, "filename", None) or run.get("output") or run.get("datasets") or "/tmp"
    folder = Path(str(path))
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    return (
        f"No space left to write {path}: {free} bytes are free there. Give the claim deeptrain-store more room, "
        "then set the annotation deeptrain.dev/retry."
    )


def _out_of_memory(run: dict[str, Any]) -> str:
    if run.get("task") == "import":
        return "The import ran out of memory: raise the operator's --import-memory."
    sizes = run.get("hyperparameters", {})
    return (
        f"Out of memory at batch_size {sizes.get('batch_size')}, image_size {sizes.get('image_size')}: "
        "raise spec.resources.memory (on a GPU, choose a larger one) or lower spec.hyperparameters.batch_size."
    )
