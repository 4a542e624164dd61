"""Several processes of one node: their exit codes, their records, and the signals that are passed on."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from contract import assert_record

from deeptrain_trainer import launch
from deeptrain_trainer.failure import Failure, Stopped
from deeptrain_trainer.share import Share, share_of

ENVELOPE = {"task": "train", "uid": "u", "attempt": 1}

# Does what the argument of its rank says: leaves a record and exits, dies, or waits for SIGTERM.
PROCESS = """
import json, os, pathlib, signal, sys, time
rank = int(os.environ["LOCAL_RANK"])
assert int(os.environ["MASTER_PORT"]) > 0
does, record = sys.argv[1 + rank], pathlib.Path(sys.argv[-1])
def leave(code):
    outcome = {"outcome": "failed", "reason": "TrainingFailed", "message": f"{rank} ended with {code}"}
    record.write_text(json.dumps({"task": "train", "uid": "u", "attempt": 1, **outcome}))
    sys.exit(code)
if does == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if does == "deaf":
    pathlib.Path(os.environ["WAITING"], str(rank)).touch()
    time.sleep(30)
if does.startswith("wait"):
    slowness = float(does.removeprefix("wait") or 0)
    signal.signal(signal.SIGTERM, lambda *_: (time.sleep(slowness), leave(143)))
    pathlib.Path(os.environ["WAITING"], str(rank)).touch()
    time.sleep(30)
code, _, seconds = does.partition(" after ")
time.sleep(float(seconds or 0))
leave(int(code))
"""


@pytest.fixture(autouse=True)
def trainer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The script instead of the trainer; signal handlers end with the test."""
    monkeypatch.setenv("WAITING", str(tmp_path))
    monkeypatch.setattr(launch, "_TRAINER", [sys.executable, "-c", PROCESS])
    monkeypatch.setattr(launch, "NOTICE_SECONDS", 3.0)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(record: Path, *does: str) -> tuple[int, dict[str, Any]]:
    code = launch.run_processes(len(does), list(does), record, ENVELOPE, lambda: None)
    left = json.loads(record.read_text())
    assert_record(left)
    return code, left


@pytest.mark.parametrize(
    ("does", "want_code", "want_message"),
    [
        pytest.param(("0", "0"), 0, "0 ended with 0", id="all publish: the record of rank 0"),
        pytest.param(("44", "1 after 0.5"), 1, "1 ended with 1", id="the one that was first"),
        pytest.param(("44", "44", "42 after 0.5"), 42, "2 ended with 42", id="the cause"),
        pytest.param(("wait", "43"), 43, "1 ended with 43", id="who does not notice is killed"),
        pytest.param(("44 after 0.5", "kill"), 137, "Raise spec.resources.memory", id="killed"),
    ],
)
def test_the_first_that_failed_decides(
    tmp_path: Path, does: tuple[str, ...], want_code: int, want_message: str
) -> None:
    code, record = run(tmp_path / "record", *does)
    assert code == want_code and want_message in record["message"]


@pytest.mark.parametrize(
    ("does", "speaker"),
    [
        (("wait", "wait"), 0),
        (("wait 0.5", "wait"), 0),
        (("wait", "wait 0.5"), 0),
        (("deaf", "wait"), 1),
    ],
)
def test_sigterm_reaches_all(tmp_path: Path, does: tuple[str, str], speaker: int) -> None:
    def stop_when_all_wait() -> None:
        while not all((tmp_path / rank).exists() for rank in ("0", "1")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop_when_all_wait, daemon=True).start()
    began = time.monotonic()
    code, record = run(tmp_path / "record", *does)
    assert code == 143 and record["message"] == f"{speaker} ended with 143"
    assert time.monotonic() - began < 20


def test_a_signal_from_before_starts_nothing(tmp_path: Path) -> None:
    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        launch.run_processes(2, ["0", "0"], tmp_path / "record", ENVELOPE, stop)
    assert not (tmp_path / "record").exists()


def test_ranks_of_nodes_and_gpus() -> None:
    run_file = {"task": "train", "gpus": 4, "nodes": 3}
    environment = {"JOB_COMPLETION_INDEX": "2", "LOCAL_RANK": "1"}
    assert share_of(run_file, environment) == Share(9, 12, 1, 4)
    assert share_of({"task": "train", "gpus": 0}, environment | {"LOCAL_RANK": "0"}) == Share()
    for index in ({}, {"JOB_COMPLETION_INDEX": "3"}, {"JOB_COMPLETION_INDEX": "-1"}):
        with pytest.raises(Failure, match="JOB_COMPLETION_INDEX is"):
            share_of(run_file, index)
