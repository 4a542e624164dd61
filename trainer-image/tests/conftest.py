"""What the tests share: one small stored dataset, and run files for it."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from stored import coloured, store, train_run

from deeptrain_trainer.__main__ import main
from deeptrain_trainer.checkpoint import Checkpoint, Checkpoints
from deeptrain_trainer.engine import Training
from deeptrain_trainer.report import Reporter
from deeptrain_trainer.run import TrainRun
from deeptrain_trainer.run import train_run as typed
from deeptrain_trainer.train import prepare

CONCEPTS = ["blue", "green", "red"]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Three concepts: 48 pictures to train on, 12 to validate, 12 to test."""
    pictures = coloured({"train": 16, "validation": 4, "test": 4}, CONCEPTS)
    return store(tmp_path_factory.mktemp("datasets"), pictures)


RunFile = Callable[..., dict[str, Any]]


@pytest.fixture
def run_file(dataset: dict[str, str], tmp_path: Path) -> RunFile:
    """Makes a run file; arguments change hyperparameters and fields."""

    def make(**changes: Any) -> dict[str, Any]:
        return train_run(dataset, tmp_path / "output", CONCEPTS, **changes)

    return make


@pytest.fixture
def prepared(run_file: RunFile) -> Callable[..., Training]:
    """A training before its first step, in fp32 on one thread."""

    def make(**changes: Any) -> Training:
        run: TrainRun = typed(run_file(**changes))
        torch.set_num_threads(run.threads)
        patch = pytest.MonkeyPatch()
        patch.setattr("deeptrain_trainer.train.bf16_on_cpu", lambda _template: False)
        training = prepare(run, Recorder(), lambda: None)
        patch.undo()
        training.checkpoints = Unwritten(run.output, run.inputs_hash)
        return training

    return make


class Unwritten(Checkpoints):
    """Checkpoints that are kept in memory: most tests need not wait for the disk."""

    newest: Checkpoint | None = None

    def save(self, checkpoint: Checkpoint) -> None:
        """As written, with the same copies."""
        self.newest = Checkpoint(
            checkpoint.step,
            json.loads(json.dumps(checkpoint.state)),
            *(
                {name: tensor.clone() for name, tensor in tensors.items()}
                for tensors in (checkpoint.model, checkpoint.optimizer, checkpoint.best)
            ),
            checkpoint.best_epoch,
        )


class Recorder(Reporter):
    """A reporter that keeps the events."""

    def __init__(self) -> None:
        super().__init__("train", "uid", 1, None)
        self.events: list[dict[str, Any]] = []

    def send(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The events of one type."""
        return [event for event in self.events if event["type"] == kind]


class Process:
    """Runs the trainer in this process."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        self.arguments: list[str] = []

    def __call__(self, run: object) -> tuple[int, dict[str, Any]]:
        """Exit code and record."""
        path, record = self.folder / "run.json", self.folder / "record.json"
        path.write_text(run if isinstance(run, str) else json.dumps(run))
        arguments = ["trainer", "--run", str(path), "--record", str(record), *self.arguments]
        self.monkeypatch.setattr(sys, "argv", arguments)
        code = main()
        return code, json.loads(record.read_text())


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    """The trainer as a program. Its signal handlers end with the test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield Process(tmp_path, monkeypatch)
    for number, handler in before.items():
        signal.signal(number, handler)
