"""Checking processes that die, hang, or do not start."""

import os
import time
from pathlib import Path

import pytest

from deeptrain_trainer.dataset import checker
from deeptrain_trainer.dataset.checker import check_all

from .samples import picture

DYING = "dataset.dying_checker"
FILES = [(n, picture(n)) for n in range(200)]


@pytest.fixture(autouse=True)
def _python_path(monkeypatch: pytest.MonkeyPatch) -> None:
    tests = str(Path(__file__).resolve().parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")]))


@pytest.mark.parametrize("processes", [1, 2])
def test_every_file_gets_its_own_verdict(processes: int) -> None:
    files = [*FILES, (1000, b"no image"), (1001, b"")]
    found = {c.key: c for c in check_all(iter(files), processes)}
    assert len(found) == len(files)
    for key, data in files:
        assert found[key].data == data
        assert found[key].verdict == checker.check(data)
    assert [key for key, c in found.items() if c.verdict.problem] == [1000, 1001]


def test_files_that_kill_the_decoder_are_found_and_the_others_are_checked() -> None:
    files = [*FILES[:70], (1000, b"segfault"), *FILES[70:150], (1001, b"exit"), *FILES[150:]]
    found = {c.key: c.verdict for c in check_all(iter(files), 2, DYING)}
    assert len(found) == len(files)
    problems = {key: v.problem for key, v in found.items() if v.problem}
    assert problems == {
        1000: "the decoder did not survive it (SIGSEGV)",
        1001: "the decoder did not survive it (exit code 3)",
    }


def test_a_file_over_which_the_decoder_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checker, "_PATIENCE_SECONDS", 3.0)
    files = [*FILES[:3], (1000, b"hang"), *FILES[3:6]]
    found = {c.key: c.verdict.problem for c in check_all(iter(files), 1, DYING)}
    assert len(found) == 7
    assert [key for key, problem in found.items() if problem] == [1000]
    assert "SIGKILL" in str(found[1000])


def test_a_process_that_does_not_start_is_no_fault_of_the_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DYING_CHECKER", "at-start")
    with pytest.raises(RuntimeError, match="does not start: exit code 5"):
        list(check_all(iter(FILES), 1, DYING))


def test_no_process_outlives_its_import() -> None:
    answers = check_all(iter(FILES), 2)
    next(answers)
    answers.close()
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    commands = [Path(f"/proc/{child}/cmdline").read_bytes() for child in children]
    assert not any(b"dataset.checker" in command for command in commands)


def test_a_process_ends_when_its_parent_is_killed() -> None:
    parent = os.fork()
    if parent == 0:
        answers = check_all(iter(FILES), 1)
        next(answers)
        time.sleep(600)
    deadline = time.monotonic() + 60
    child: list[str] = []
    while not child and time.monotonic() < deadline:
        child = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        time.sleep(0.05)
    os.kill(parent, 9)
    os.waitpid(parent, 0)
    while is_alive(child[0]):
        assert time.monotonic() < deadline, "the checking process lives on"
        time.sleep(0.05)


def is_alive(process: str) -> bool:
    """Whether it is there, and no zombie. It may end while it is looked at."""
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False
