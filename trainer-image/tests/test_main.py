"""The process: exit codes, the record, and what a run file must look like."""

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Process, RunFile
from contract import assert_event, assert_record
from endpoint import Endpoint
from stored import INPUTS_HASH, UID

from deeptrain_trainer import tasks
from deeptrain_trainer.failure import Failure
from deeptrain_trainer.record import gated_values, one_line, write_record
from deeptrain_trainer.report import NotAcknowledgedError
from deeptrain_trainer.run import GatedConcept, read_run


def test_published_is_0_and_inspect_repeats_the_record(
    process: Process, run_file: RunFile, tmp_path: Path
) -> None:
    endpoint = Endpoint(tmp_path)
    process.arguments = ["--ca", str(endpoint.ca), "--token", str(endpoint.token)]
    gated = [{"concept": 2, "metric": "ap"}, {"concept": 0, "metric": "video_ap"}]
    run = run_file(num_epochs=1, init_epochs=1) | {"progressUrl": endpoint.url, "gated": gated}
    code, record = process(run)
    endpoint.close()
    assert code == 0 and record["outcome"] == "published" and record["uid"] == UID
    assert_record(record)
    for report in endpoint.reports:
        assert_event(report["event"])
    evaluation = endpoint.of("evaluation")[0]
    assert evaluation["values"] == record["metrics"]["values"]
    (ap,) = (row["ap"] for row in evaluation["concepts"] if row["concept"] == run["concepts"][2])
    assert record["gated"] == [{**gated[0], "value": ap}, gated[1]]

    inspect = {
        "task": "inspect",
        **{key: run[key] for key in ("object", "inputsHash", "output", "gated")},
        "attempt": 2,
    }
    assert process(inspect) == (0, record | {"attempt": 2})
    code, missing = process(inspect | {"output": str(tmp_path / "nothing")})
    assert code == 1 and missing["reason"] == "ArtifactMissing"
    assert_record(missing)


@pytest.mark.parametrize(
    ("changes", "want_code", "want_reason"),
    [
        ({"batch_size": 1000}, 42, "BatchLargerThanData"),
        ({"template": "visual-classifier/other"}, 42, "InputInvalid"),
        (
            {"base": {"id": "efficientnet-lite0", "digest": "sha256:" + "0" * 64}},
            42,
            "BaseUnavailable",
        ),
        ({"lrate": 1e30, "num_epochs": 20, "init_epochs": 20}, 43, "Diverged"),
    ],
)
def test_expected_failures(
    process: Process,
    run_file: RunFile,
    changes: dict[str, Any],
    want_code: int,
    want_reason: str,
) -> None:
    code, record = process(run_file(**changes))
    assert (code, record["reason"], record["outcome"]) == (want_code, want_reason, "failed")
    assert_record(record)


def test_diverged_names_the_checkpoint_that_is_kept(process: Process, run_file: RunFile) -> None:
    def perform(*_: object) -> dict[str, Any]:
        raise Failure("Diverged", "too high", checkpoint={"epoch": 1, "step": 7})

    process.monkeypatch.setattr("deeptrain_trainer.__main__.perform", perform)
    code, record = process(run_file())
    assert code == 43 and record["checkpoint"] == {"epoch": 1, "step": 7}
    assert_record(record)


def test_sigterm_is_143_with_a_checkpoint(process: Process, run_file: RunFile) -> None:
    real = tasks.perform

    def perform(document: dict[str, Any], reporter: Any, check_stop: Any) -> dict[str, Any]:
        looks = 0

        def look() -> None:
            nonlocal looks
            looks += 1
            if looks == 6:
                os.kill(os.getpid(), signal.SIGTERM)
            check_stop()

        return real(document, reporter, look)

    process.monkeypatch.setattr("deeptrain_trainer.__main__.perform", perform)
    code, record = process(run_file())
    assert code == 143 and record["outcome"] == "stopped"
    assert record["checkpoint"]["epoch"] == 0 and record["checkpoint"]["step"] > 0
    assert_record(record)


@pytest.mark.parametrize(
    ("surprise", "want_reason", "want_words"),
    [
        (ValueError("x\ny"), "TrainingFailed", "ValueError: x y"),
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/file"), "DiskFull", "/tmp/file"),
        (MemoryError(), "OutOfMemory", "batch_size 8, image_size 32"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried"), "OutOfMemory", "batch_size 8"),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling"), "OutOfMemory", "batch_size 8"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
            "OutOfMemory",
            "lower spec.hyperparameters.batch_size",
        ),
        (NotAcknowledgedError("HTTP 503"), "ImportFailed", "HTTP 503"),
    ],
)
def test_surprises_are_1_and_say_what_they_mean(
    process: Process, run_file: RunFile, surprise: Exception, want_reason: str, want_words: str
) -> None:
    def perform(*_: object) -> dict[str, Any]:
        raise surprise

    process.monkeypatch.setattr("deeptrain_trainer.__main__.perform", perform)
    code, record = process(run_file())
    assert code == 1 and record["reason"] == want_reason
    assert want_words in record["message"]
    assert_record(record)


@pytest.mark.parametrize(
    ("change", "want"),
    [
        (
            lambda run: run | {"task": "serve"},
            "task must be one of train, prepare, import, inspect",
        ),
        (lambda run: run | {"extra": 1}, "extra"),
        (lambda run: {k: v for k, v in run.items() if k != "seed"}, "seed"),
        (lambda run: run | {"inputsHash": "sha256:xyz"}, "run file: inputsHash: "),
        (lambda run: run | {"threads": 0}, "run file: threads: "),
        (lambda run: run | {"hyperparameters": {"lrate": 1}}, "run file: hyperparameters: "),
        (lambda run: run | {"task": ["train"]}, "task must be one of"),
    ],
)
def test_a_run_file_that_is_wrong_is_42(
    process: Process, run_file: RunFile, change: Any, want: str
) -> None:
    code, record = process(change(run_file(attempt=3)))
    assert code == 42 and record["reason"] == "InputInvalid"
    assert want in record["message"]
    assert (record["task"], record["uid"], record["attempt"]) == ("train", UID, 3)
    assert_record(record)


@pytest.mark.parametrize(
    ("content", "want", "want_envelope"),
    [
        ("{", "cannot be read", ("train", "", 1)),
        ([{"attempt": 2}], "task must be one of", ("train", "", 1)),
        ({"task": "import", "attempt": 2}, "run file: ", ("import", "", 2)),
        ({"task": "train", "object": {"uid": "u"}, "attempt": "7"}, "", ("train", "u", 1)),
        ({"object": {"uid": 5}, "attempt": True}, "task must be", ("train", "", 1)),
        ({"object": {"uid": "u" * 65}, "attempt": -1}, "task must be", ("train", "", 1)),
    ],
)
def test_a_refused_run_file_is_answered_as_far_as_it_can_be_read(
    process: Process, content: object, want: str, want_envelope: tuple[str, str, int]
) -> None:
    code, record = process(content)
    assert code == 42 and record["reason"] == "InputInvalid" and want in record["message"]
    assert (record["task"], record["uid"], record["attempt"]) == want_envelope
    assert_record(record)


def test_a_run_file_of_any_task_is_read(run_file: RunFile, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(run_file()))
    assert read_run(path)["inputsHash"] == INPUTS_HASH
    with pytest.raises(Failure, match="cannot be read"):
        read_run(tmp_path / "absent.json")


def test_a_message_is_one_line_of_at_most_900_bytes() -> None:
    assert one_line("a\nb\t c\x00d") == "a b c d"
    assert len(one_line("ü" * 2000).encode()) <= 900


def test_the_longest_record_of_a_training_can_be_read(tmp_path: Path) -> None:
    asked = [GatedConcept(999 - i, "video_precision") for i in range(16)]
    concepts = [f"concept {i}" for i in range(1000)]
    rows = [{"concept": name, "video_precision": 1.23456e-05} for name in concepts]
    names = ["top1", "top5", "macro_f1", "macro_ap", "macro_roc_auc", "log_loss"]
    values = dict.fromkeys([*names, *(f"video_{name}" for name in names)], 1.23456e-05)
    record = {
        "task": "train",
        "uid": "u" * 64,
        "attempt": 1_000_000,
        "outcome": "published",
        "inputsHash": INPUTS_HASH,
        "artifact": {"path": "artifact", "digest": INPUTS_HASH, "bytes": 10**15},
        "metrics": {"split": "validation", "values": values, "items": 10**9},
        "epochs": 1000,
        "steps": 10**12,
        "bestEpoch": 1000,
        "base": {"loaded": 10**4, "new": 10**4},
        **gated_values(asked, concepts, rows),
    }
    assert_record(record)
    write_record(tmp_path / "record", record)


def test_a_record_that_is_too_long_to_be_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at most 3072"):
        write_record(tmp_path / "record", {"message": "x" * 4000})
