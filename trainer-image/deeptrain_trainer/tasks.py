"""The tasks of a run file. Each imports what it needs: an import does not wait for PyTorch."""

from collections.abc import Callable
from typing import Any

from .garbage import without_search
from .report import Reporter
from .run import inspect_run, train_run


def perform(
    document: dict[str, Any], reporter: Reporter, check_stop: Callable[[], None]
) -> dict[str, Any]:
    """Does the task; the fields of its record. Raises Failure and Stopped."""
    if document["task"] == "import":
        from .dataset.importer import run_import

        imported: dict[str, Any] = run_import(document, reporter, check_stop)
        return imported
    if document["task"] == "inspect":
        from .artifact import inspect

        run = inspect_run(document)
        return inspect(run.output, run.inputs_hash, run.gated)
    if document["task"] == "prepare":
        with without_search():
            from .preparation import prepare_inputs

        return prepare_inputs(train_run(document), check_stop)
    with without_search():
        from .train import train

    return train(train_run(document), reporter, check_stop)
