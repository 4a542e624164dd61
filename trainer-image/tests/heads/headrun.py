"""What the tests of the context-based classifier have in common: its run files, and what is done with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CONCEPTS, Recorder
from contract import assert_event, assert_record
from numpy.typing import NDArray
from stored import HYPERPARAMETERS, INPUTS_HASH, UID, train_run

from deeptrain_trainer import embeddings
from deeptrain_trainer.artifact import publish
from deeptrain_trainer.data import open_data
from deeptrain_trainer.embeddings import items_in_order, open_embeddings
from deeptrain_trainer.pixels import Pixels
from deeptrain_trainer.preprocess import Preprocess
from deeptrain_trainer.run import TrainRun
from deeptrain_trainer.run import train_run as typed
from deeptrain_trainer.train import train

FILES = ["base.onnx", "embeddings.npy", "manifest.json", "reference.npy"]
MakeRun = Callable[..., dict[str, Any]]


def version(folder: Path, template: str, files: dict[str, bytes]) -> dict[str, str]:
    """A published version as a run file's `base`."""
    facts = {"template": template, "image_size": 32, "inputsHash": INPUTS_HASH}
    artifact = publish(folder, files, facts, 1)
    return {"id": "model", "digest": artifact["digest"], "path": str(folder / "artifact")}


def linear_run(
    dataset: dict[str, str], base: dict[str, str], derived: Path, output: Path, **changes: Any
) -> dict[str, Any]:
    """A run file. `changes` are hyperparameters or other fields."""
    run = train_run(dataset, output, CONCEPTS, base=base)
    run |= {"template": "context-based-classifier/linear", "derived": str(derived)}
    run["hyperparameters"] = {"batch_size": 16, "logreg": True, "lrate": 0.1, "num_epochs": 20}
    for name, value in changes.items():
        target = run["hyperparameters"] if name in HYPERPARAMETERS else run
        target[name] = value
    return run


def opened(run: TrainRun) -> embeddings.Embeddings:
    """The run's embeddings, stored or new."""
    return open_embeddings(run, open_data(run).dataset, lambda: None)


def trained(run: dict[str, Any]) -> dict[str, Any]:
    """The record's fields."""
    Path(run["output"]).mkdir(exist_ok=True)
    recorder = Recorder()
    record = train(typed(run), recorder, lambda: None)
    for event in recorder.events:
        assert_event(event)
    assert_record({"task": "train", "uid": UID, "attempt": 1, **record})
    return record


def forbid_bases(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on no base may be built, so nothing can be embedded."""

    def refuse(*_: object) -> None:
        raise AssertionError("a base was built")

    monkeypatch.setattr(embeddings, "base_graph", refuse)


def stored_pictures(run: TrainRun) -> NDArray[np.uint8]:
    """The pixels of all items in order, of their stored bytes."""
    dataset = open_data(run).dataset
    items = items_in_order(dataset)
    pixels = Pixels(dataset, items, Preprocess(32), 1)
    return pixels.batch(range(len(items)))
