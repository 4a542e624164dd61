"""Checkpoints are whole or not there, whatever breaks while they are written."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from deeptrain_trainer.checkpoint import Checkpoint, Checkpoints
from deeptrain_trainer.failure import Failure

HASH = "sha256:" + "1" * 64


def checkpoint(step: int, best_epoch: int = 1) -> Checkpoint:
    weights = {"w": torch.full((3, 4), float(step))}
    best = {"w": torch.full((3, 4), float(best_epoch))}
    momentum = {"w": torch.full((3, 4), step / 3)}
    return Checkpoint(step, {"epoch_loss": 1 / 3}, weights, momentum, best, best_epoch)


def test_what_is_saved_is_loaded_bit_by_bit(tmp_path: Path) -> None:
    Checkpoints(tmp_path, HASH).save(checkpoint(7))
    loaded = Checkpoints(tmp_path, HASH).load()
    assert loaded is not None and loaded.step == 7 and loaded.best_epoch == 1
    assert loaded.state == {"epoch_loss": 1 / 3}
    assert torch.equal(loaded.optimizer["w"], checkpoint(7).optimizer["w"])
    assert torch.equal(loaded.best["w"], checkpoint(7).best["w"])


def test_the_last_two_are_kept_and_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".tmp-1-1").mkdir()
    checkpoints = Checkpoints(tmp_path, HASH)
    for step in (1, 2, 3, 10):
        checkpoints.save(checkpoint(step))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-0000000003",
        "step-0000000010",
    ]


def test_equal_best_weights_are_written_once(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, HASH)
    for step in (1, 2):
        checkpoints.save(checkpoint(step, best_epoch=1))
    files = [tmp_path / f"step-000000000{step}" / "best.safetensors" for step in (1, 2)]
    assert files[0].stat().st_ino == files[1].stat().st_ino
    checkpoints.save(checkpoint(3, best_epoch=2))
    loaded = Checkpoints(tmp_path, HASH).load()
    assert loaded is not None and loaded.best["w"][0, 0] == 2


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "optimizer.safetensors",
        "best.safetensors",
        "state.json",
        "manifest.json",
    ],
)
@pytest.mark.parametrize("damage", ["missing", "empty", "half", "one bit"])
def test_a_damaged_one_is_skipped_and_replaced(tmp_path: Path, name: str, damage: str) -> None:
    checkpoints = Checkpoints(tmp_path, HASH)
    checkpoints.save(checkpoint(1, best_epoch=1))
    checkpoints.save(checkpoint(2, best_epoch=2))
    path = tmp_path / "step-0000000002" / name
    content = path.read_bytes()
    path.unlink()
    flipped = bytes([content[0] ^ 1]) + content[1:]
    parts = {"empty": b"", "half": content[: len(content) // 2], "one bit": flipped}
    if damage != "missing":
        path.write_bytes(parts[damage])
    resumed = Checkpoints(tmp_path, HASH)
    loaded = resumed.load()
    assert loaded is not None and loaded.step == 1
    resumed.save(checkpoint(2, best_epoch=2))
    again = Checkpoints(tmp_path, HASH).load()
    assert again is not None and again.step == 2


def test_one_of_other_inputs_is_refused(tmp_path: Path) -> None:
    Checkpoints(tmp_path, HASH).save(checkpoint(1))
    with pytest.raises(Failure, match="another run uses this directory") as refused:
        Checkpoints(tmp_path, "sha256:" + "2" * 64).load()
    assert refused.value.exit_code == 42


def test_none_is_no_error(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "absent", HASH).load() is None


def steps(folder: Path) -> list[int]:
    """Steps of the checkpoints that can be loaded, the newest first, each found after the newer ones are gone."""
    found = []
    while (loaded := Checkpoints(folder, HASH).load()) is not None:
        found.append(loaded.step)
        shutil.rmtree(max(folder.glob("step-*")))
    return found


def test_a_step_that_is_saved_again_unchanged_is_left_alone(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, HASH)
    for step in (1, 2):
        checkpoints.save(checkpoint(step))
    files = sorted(tmp_path.rglob("*"))
    written = [(path, path.stat().st_ino, path.stat().st_mtime_ns) for path in files]
    checkpoints.save(checkpoint(2))
    resumed = Checkpoints(tmp_path, HASH)
    resumed.load()
    resumed.save(checkpoint(2))
    files = sorted(tmp_path.rglob("*"))
    assert [(path, path.stat().st_ino, path.stat().st_mtime_ns) for path in files] == written


@pytest.mark.parametrize("resumes", [False, True])
def test_a_step_that_is_saved_again_changed_keeps_the_one_before(
    tmp_path: Path, resumes: bool
) -> None:
    checkpoints = Checkpoints(tmp_path, HASH)
    for step in (1, 2):
        checkpoints.save(checkpoint(step))
    for best_epoch in range(2, 13):
        if resumes:
            checkpoints = Checkpoints(tmp_path, HASH)
            checkpoints.load()
        checkpoints.save(checkpoint(2, best_epoch))
        loaded = Checkpoints(tmp_path, HASH).load()
        assert loaded is not None and (loaded.step, loaded.best_epoch) == (2, best_epoch)
        assert len(list(tmp_path.iterdir())) == 2
    checkpoints.save(checkpoint(3))
    assert steps(tmp_path) == [3, 2]


def test_a_damaged_one_is_no_reason_to_save_nothing(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, HASH)
    checkpoints.save(checkpoint(2))
    (tmp_path / "step-0000000002" / "model.safetensors").write_bytes(b"")
    checkpoints.save(checkpoint(2))
    assert steps(tmp_path) == [2]


CALLS: list[tuple[Any, str]] = [
    (os, "fsync"),
    (os, "link"),
    (Path, "rename"),
    (Path, "mkdir"),
    (shutil, "rmtree"),
]


def calls_of(save: Callable[[], None]) -> int:
    """How many calls that may fail a save makes."""
    counter = Breaking(after=10_000)
    with pytest.MonkeyPatch.context() as patch:
        counter.install(patch)
        save()
    return counter.calls


class Breaking:
    """The n-th call that changes the disk fails as on a full one, or as if the process were killed there."""

    def __init__(self, after: int) -> None:
        self.after, self.calls = after, 0

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Wraps every such call."""
        for owner, name in CALLS:
            patch.setattr(owner, name, self._wrapped(getattr(owner, name)))

    def _wrapped(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls == self.after:
                raise Broken
            return real(*args, **kwargs)

        return call


class Broken(BaseException):
    """Nobody catches it."""


# What was saved before, and what is being saved when it breaks: (step, best epoch).
@pytest.mark.parametrize(
    ("before", "broken"),
    [
        pytest.param([(1, 1)], (2, 1), id="the-second"),
        pytest.param([(1, 1), (2, 1)], (3, 3), id="the-third"),
        pytest.param([(1, 1), (2, 1)], (2, 2), id="the-same-step-again"),
        pytest.param([(2, 1)], (2, 2), id="the-only-step-again"),
        pytest.param([(1, 1), (2, 1), (2, 2)], (2, 3), id="the-same-step-a-third-time"),
    ],
)
def test_whatever_call_fails_nothing_that_was_whole_is_lost(
    tmp_path: Path, before: list[tuple[int, int]], broken: tuple[int, int]
) -> None:
    def begun(folder: Path) -> Checkpoints:
        checkpoints = Checkpoints(folder, HASH)
        for step, best_epoch in before:
            checkpoints.save(checkpoint(step, best_epoch))
        return checkpoints

    count = begun(tmp_path / "count")
    points = calls_of(lambda: count.save(checkpoint(*broken)))
    assert points > 5
    for after in range(1, points + 1):
        folder = tmp_path / str(after)
        checkpoints = begun(folder)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Broken):
            Breaking(after).install(patch)
            checkpoints.save(checkpoint(*broken))
        newest = Checkpoints(folder, HASH).load()
        assert newest is not None and (newest.step, newest.best_epoch) in (before[-1], broken)
        looked_at = tmp_path / f"{after}-looked-at"
        shutil.copytree(folder, looked_at)
        earlier = [step for step, _ in before if step < newest.step]
        assert max(earlier, default=newest.step) in steps(looked_at)
        # Whether the process lives on or another one goes on: the next save makes it good.
        goes_on = checkpoints if after % 2 else Checkpoints(folder, HASH)
        goes_on.load()
        goes_on.save(checkpoint(*broken))
        saved = Checkpoints(folder, HASH).load()
        assert saved is not None and (saved.step, saved.best_epoch) == broken
        goes_on.save(checkpoint(broken[0] + 1))
        assert len(list(folder.iterdir())) == 2
        assert steps(folder) == [broken[0] + 1, broken[0]]
