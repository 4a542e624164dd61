"""Two processes that train one model equal one at the same batch, and they end together however one of them ends."""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import CONCEPTS, RunFile
from contract import assert_record
from detection.shapes import detector_run, stored_shapes
from safetensors.torch import load_file
from stored import train_run
from test_models import LITE0

from deeptrain_trainer.dataset.fetch import DownloadFailure
from deeptrain_trainer.distributed import Processes
from deeptrain_trainer.failure import Failure
from deeptrain_trainer.share import Share

Json = dict[str, Any]

# Relative to the largest of a tensor. Steps are made in double precision: what is left is an error, not rounding. (In
# single precision the first loss agrees to 1e-6, but a small batch through batch-norm magnifies rounding at each step.)
TOLERANCE = 1e-5

# A trainer in fp32 whose checkpoints are written at nearly every step, and which waits for peers for a second only
# where it is told so.
DRIVER = """
import sys
from deeptrain_trainer import distributed, engine, heartbeat, train
engine.CHECKPOINT_SECONDS = float(sys.argv.pop(1))
train.bf16_on_cpu = lambda _template: False
distributed.RENDEZVOUS_SECONDS = float(sys.argv.pop(1))
heartbeat.SILENCE_SECONDS = 8.0
heartbeat.BEAT_SECONDS = 0.2
heartbeat.GRACE_SECONDS = 0.5
from deeptrain_trainer.__main__ import main
sys.exit(main())
"""


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


class Pod:
    """One pod of an Indexed Job."""

    def __init__(
        self,
        folder: Path,
        run: Json,
        index: int,
        wait_seconds: float = 60,
        save_seconds: float = 300,
    ) -> None:
        self.file, self.record_file = folder / "run.json", folder / f"record-{index}.json"
        self.record_file.unlink(missing_ok=True)
        self.file.write_text(json.dumps(run))
        arguments = ["--run", str(self.file), "--record", str(self.record_file)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(save_seconds), str(wait_seconds), *arguments],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "JOB_COMPLETION_INDEX": str(index)},
        )

    def wait_for(self, kind: str, **fields: Any) -> Json:
        """The next event of a type, with what it must have at least."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event: Json = json.loads(line)
            if event["event"] == kind and all(event[name] >= v for name, v in fields.items()):
                return event
        raise AssertionError(f"it ended with {self.process.wait()} before an event {kind}")

    def end(self) -> tuple[int, Json]:
        """Exit code and record; {} where it left none."""
        output, _ = self.process.communicate(timeout=60)
        print(output)
        left = self.record_file.exists()
        record = json.loads(self.record_file.read_text()) if left else {}
        if record:
            assert_record(record)
        return self.process.returncode, record


Start = Callable[..., list[Pod]]


@pytest.fixture
def start(run_file: RunFile, tmp_path: Path) -> Iterator[Start]:
    """Starts the pods of a run; all are ended with the test."""
    started: list[Pod] = []

    def make(
        nodes: int = 2, name: str = "run", only: int | None = None, **changes: Any
    ) -> list[Pod]:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        wait, save = changes.pop("wait_seconds", 60), changes.pop("save_seconds", 300)
        run = run_file(**changes) | {"output": str(folder / "output")}
        if nodes > 1:
            run |= {"nodes": nodes, "rendezvous": {"host": "localhost", "port": free_port()}}
        pods = [Pod(folder, run, i, wait, save) for i in range(nodes) if only in (None, i)]
        started.extend(pods)
        return pods

    yield make
    for pod in started:
        pod.process.kill()
        pod.process.wait()


# A process that makes a few steps of each run and leaves losses and weights, without all that is around them.
STEPPER = """
import json, os, sys
from pathlib import Path
from safetensors.torch import save_file
from deeptrain_trainer import engine, train
from deeptrain_trainer.distributed import open_processes
from deeptrain_trainer.report import Reporter
from deeptrain_trainer.run import train_run
from deeptrain_trainer.share import Share, own_share, take_share
train.bf16_on_cpu = lambda _template: False
share_modules = train.share_modules
train.share_modules = lambda model, *rest: share_modules(model.double(), *rest)
folder, nodes, index, steps = Path(sys.argv[1]), *map(int, sys.argv[2:5])
take_share(Share(index, nodes))
runs = [train_run(run) for run in json.loads((folder / "runs.json").read_text())]
processes = open_processes(runs[0], own_share(), lambda: None)
for number, run in enumerate(runs):
    t = train.prepare(run, Reporter("train", "u", 1, None), lambda: None, processes)
    t.model.train()
    t.model.register_forward_pre_hook(lambda _module, given: (given[0].double(),))
    losses = [engine.train_step(t, t.learner.load_batch(step)) for step in range(steps)]
    if index == 0:
        (folder / f"losses-{nodes}-{number}.json").write_text(json.dumps(losses))
        weights = {name: v.contiguous() for name, v in t.model.state_dict().items()}
        save_file(weights, folder / f"weights-{nodes}-{number}.safetensors")
processes.close(agreed=True)
"""
STEPS = 2
CONVNEXT = {"template": "visual-classifier/convnext-tiny", "logreg": False, "lrate": 1e-4}
RUNS: dict[str, Json] = {
    "batch-norm over all items": {},
    "frozen base with dropout": LITE0 | {"base_gradient_multiplier": 0},
    "AdamW, clipping, softmax and stochastic depth": CONVNEXT,
}
DETECTORS: dict[str, Json] = {
    "a detector, whose processes see different numbers of boxes": {},
    "a detector of two stages, of which each samples": {
        "template": "visual-detector/fasterrcnn-resnet50",
        "base": {"id": "none"},
        "use_perclass_regression": True,
        "image_size": 64,
        "batch_size": 4,
    },
}


@pytest.fixture(scope="module")
def stepped(dataset: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process and two come to."""
    folder = tmp_path_factory.mktemp("stepped")
    rendezvous = {"host": "localhost", "port": free_port()}
    runs = [
        train_run(dataset, folder, CONCEPTS, nodes=2, rendezvous=rendezvous, **changes)
        for changes in RUNS.values()
    ]
    shapes = stored_shapes(folder, {"train": 24, "validation": 2})
    runs += [detector_run(shapes, folder, nodes=2, **changes) for changes in DETECTORS.values()]
    (folder / "runs.json").write_text(json.dumps(runs))
    started = [
        subprocess.Popen([sys.executable, "-c", STEPPER, str(folder), *map(str, (nodes, i, STEPS))])
        for nodes in (1, 2)
        for i in range(nodes)
    ]
    assert [process.wait() for process in started] == [0, 0, 0]
    return folder


@pytest.mark.parametrize(
    "number", [pytest.param(n, id=name) for n, name in enumerate([*RUNS, *DETECTORS])]
)
def test_two_processes_equal_one_at_the_same_batch(stepped: Path, number: int) -> None:
    alone, shared = (load_file(stepped / f"weights-{n}-{number}.safetensors") for n in (1, 2))
    different = {
        name: float((shared[name] - value).abs().max() / value.abs().max().clamp(min=1e-3))
        for name, value in alone.items()
        if value.is_floating_point()
    }
    print(sorted(different.items(), key=lambda item: -item[1])[:3])
    assert alone.keys() == shared.keys()
    assert {name: value for name, value in different.items() if value > TOLERANCE} == {}
    one, other = (json.loads((stepped / f"losses-{n}-{number}.json").read_text()) for n in (1, 2))
    print(one, other)
    assert other == pytest.approx(one, rel=TOLERANCE) and len(set(one)) == STEPS


SHORT = {"num_epochs": 200, "init_epochs": 200, "test_freq": 200, "num_items_per_epoch": 8}


def test_stopped_and_killed_together_and_resumed_from_the_checkpoint(
    start: Start, tmp_path: Path
) -> None:
    """SIGTERM to one process stops both after one checkpoint; SIGKILL of one ends the other within seconds."""
    first, second = start(save_seconds=2, **SHORT)
    first.wait_for("checkpoint")
    second.process.send_signal(signal.SIGTERM)
    (code, record), (other_code, other) = first.end(), second.end()
    assert (code, record["outcome"]) == (other_code, other["outcome"]) == (143, "stopped")
    stopped_at = record["checkpoint"]["step"]
    newest = max(path.name for path in (tmp_path / "run" / "output" / "checkpoints").iterdir())
    assert newest == f"step-{stopped_at:010d}"

    first, second = start(save_seconds=2, **SHORT)
    assert first.wait_for("started")["step"] == stopped_at
    first.wait_for("checkpoint", step=stopped_at + 1)
    second.process.kill()
    killed = time.monotonic()
    code, record = first.end()
    assert time.monotonic() - killed < 20
    assert (code, record["reason"]) == (44, "PeerLost")
    saved = record["checkpoint"]["step"]
    assert saved > stopped_at

    first, second = start(save_seconds=2, **SHORT)
    assert first.wait_for("started")["step"] == saved


def test_both_end_early_at_the_same_epoch(start: Start) -> None:
    # So small a rate on a frozen base changes no answer.
    still = {"lrate": 1e-12, "base_gradient_multiplier": 0, "num_items_per_epoch": 8}
    pods = start(num_epochs=9, init_epochs=9, early_stop_epochs=2, **still)
    ends = [pod.end() for pod in pods]
    assert [code for code, _ in ends] == [0, 0]
    assert ends[0][1]["epochs"] == 3


def test_a_silent_peer_is_lost_too(start: Start) -> None:
    """Its connections stay open, as those of a machine without power."""
    first, second = start(**SHORT)
    first.wait_for("phase", phase="training")
    second.process.send_signal(signal.SIGSTOP)
    assert first.end()[0] == 44


def test_peers_that_do_not_come_are_45_and_a_batch_that_cannot_be_shared_is_42(
    start: Start,
) -> None:
    (alone,) = start(only=0, wait_seconds=1)
    code, record = alone.end()
    assert (code, record["reason"]) == (45, "RendezvousTimedOut")
    assert "1 of 2 processes" in record["message"]
    (odd,) = start(only=0, batch_size=7)
    code, record = odd.end()
    assert (code, record["reason"]) == (42, "BatchNotDivisible")
    assert "set it to 6 or 8" in record["message"]


@pytest.mark.parametrize("retryable", [True, False])
def test_all_end_with_the_exit_code_of_the_failure_that_one_had(
    retryable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What rank 0 tells is what rank 1 hears: both raise it as it was."""
    told: list[bytes] = []

    def broadcast(outcome: list[Any], **_options: Any) -> None:
        if outcome[0] is not None:
            told.append(pickle.dumps(outcome[0]))
        outcome[0] = pickle.loads(told[0])

    def work() -> None:
        raise DownloadFailure("BaseUnavailable", "it is down", retryable=retryable)

    monkeypatch.setattr("torch.distributed.broadcast_object_list", broadcast)
    for rank in (0, 1):
        with pytest.raises(Failure, match="it is down") as failed:
            Processes(Share(rank, 2)).from_first(work)
        assert failed.value.reason == "BaseUnavailable" and failed.value.facts == {}
        assert failed.value.exit_code == (1 if retryable else 42)


def test_gpus_that_are_missing_are_named_before_processes_meet_on_them(
    run_file: RunFile, tmp_path: Path
) -> None:
    path, record = tmp_path / "run.json", tmp_path / "record.json"
    path.write_text(json.dumps(run_file(gpus=2)))
    program = [sys.executable, "-m", "deeptrain_trainer", "--run", str(path), "--record"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run([*program, str(record)], env=environment, timeout=120, check=False)
    told = json.loads(record.read_text())
    assert (ended.returncode, told["reason"]) == (1, "TrainingFailed")
    assert "spec.resources.gpus is 2 but PyTorch sees no GPU" in told["message"]
