"""The benchmark: what its figures mean, its pictures, and one race of all three sides."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from bench.__main__ import arguments, cases
from bench.case import OURS, R0, R1, Case, Race, Start, Turn, figures
from bench.folder import FolderError, concepts_in, count_pictures, link_pictures, store_pictures
from bench.pictures import CONCEPTS, LONGEST_SIDE, SHORTEST_SIDE, write_pictures
from bench.race import SideError, memory_bytes, run_case
from deeptrain_trainer.dataset.store import StoredDataset


def race(seconds: float, top1: list[float], start: float = 2) -> Race:
    """Epochs of 100 images whose steps take `seconds`, and half as long again for the rest."""
    turns = [Turn(100, seconds, 1.5 * seconds, value) for value in top1]
    return Race(Start(start / 2, start / 2, "cpu", "fp32"), turns, 1_000_000)


def case(tmp_path: Path, **changes: Any) -> Case:
    flags = ["--backbones=resnet18", "--train=20", "--validation=10", "--batch=10", "--threads=1"]
    given = [f"--{name}={value}" for name, value in changes.items()]
    return cases(arguments([*flags, *given]), tmp_path)[0]


def test_ratios_are_medians_without_the_first_epoch(tmp_path: Path) -> None:
    slow = race(4, [0.1, 0.2, 0.3])
    first_is_slow = Race(slow.start, [Turn(100, 99, 99, 0.1), *slow.turns[1:]], 1)
    races = {OURS: race(2, [0.1, 0.2, 0.3]), R0: first_is_slow, R1: race(1, [0.1, 0.2, 0.3])}
    found = figures(case(tmp_path), races)
    assert found["ratioR0"] == 2
    assert found["ratioR1"] == 0.5
    assert found["sides"][OURS]["imagesPerSecond"] == 50


def test_time_to_an_accuracy_counts_validation_and_cold_the_start(tmp_path: Path) -> None:
    races = {OURS: race(2, [0.5, 0.9]), R0: race(2, [0.9, 0.9], 10), R1: race(2, [0.1, 0.2])}
    found = figures(case(tmp_path), races)
    assert found["sides"][OURS]["secondsToTop1"] == {"warm": 6, "cold": 8}
    assert found["timeToTop1RatioR0"] == 0.5
    assert found["coldTimeToTop1RatioR0"] == 13 / 8
    assert found["sides"][R1]["secondsToTop1"] == {"warm": "not reached", "cold": "not reached"}
    assert found["timeToTop1RatioR1"] is None


def test_pictures_are_photographs_with_the_same_bytes_always(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_pictures(tmp_path / name, 20, 10)
    paths = sorted((tmp_path / "a").glob("*/*/*.jpg"))
    assert len(paths) == 30
    assert concepts_in(tmp_path / "a") == sorted(CONCEPTS)
    digests = set()
    for path in paths:
        other = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert path.read_bytes() == other.read_bytes()
        digests.add(hashlib.sha256(path.read_bytes()).digest())
        with Image.open(path) as image:
            assert image.format == "JPEG"
            assert all(SHORTEST_SIDE <= side <= LONGEST_SIDE for side in image.size)
    assert len(digests) == 30


def test_a_folder_is_linked_in_part_and_stored_as_it_is(tmp_path: Path) -> None:
    write_pictures(tmp_path / "given", 30, 20)
    (tmp_path / "given" / "validation").rename(tmp_path / "given" / "test")
    (tmp_path / "given" / "train" / "bar" / "notes.txt").write_text("not a picture")
    link_pictures(tmp_path / "given", tmp_path / "linked", 20, 10)
    assert count_pictures(tmp_path / "linked", "train") == 20
    assert count_pictures(tmp_path / "linked", "validation") == 10
    assert concepts_in(tmp_path / "linked") == sorted(CONCEPTS)
    made = store_pictures(tmp_path / "linked", tmp_path / "datasets")
    stored = StoredDataset.open(Path(made["path"]), made["splitDigest"])
    assert len(stored.items("train")) == 20
    linked = {path.read_bytes() for path in (tmp_path / "linked" / "validation").glob("*/*")}
    assert {stored.read(item) for item in stored.items("validation")} == linked


@pytest.mark.parametrize("missing", ["train", "validation", "validation/star"])
def test_a_folder_without_what_is_needed_is_refused(tmp_path: Path, missing: str) -> None:
    write_pictures(tmp_path / "given", 10, 10)
    (tmp_path / "given" / missing).rename(tmp_path / "elsewhere")
    with pytest.raises(FolderError, match=missing.rpartition("/")[2]):
        link_pictures(tmp_path / "given", tmp_path / "linked", 10, 10)


def test_all_three_sides_race(tmp_path: Path) -> None:
    races = run_case(case(tmp_path, rounds=1))
    for name in (OURS, R0, R1):
        [turn] = races[name].turns
        assert turn.images == 20
        assert 0 < turn.train_seconds < turn.seconds
        assert 0 <= turn.top1 <= 1
        assert races[name].peak_bytes > 100e6
    json.dumps(figures(case(tmp_path / "again"), races), allow_nan=False)


def test_a_side_that_fails_says_why(tmp_path: Path) -> None:
    # Fewer pictures than a batch: ours refuses it.
    with pytest.raises(SideError, match="batch_size is 40"):
        run_case(case(tmp_path, rounds=1, batch=40))


def test_memory_counts_the_processes_below() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "b = b'x' * 50_000_000; print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        child.stdout.readline()
        assert memory_bytes(os.getpid()) > memory_bytes(child.pid) > 50_000_000
    finally:
        child.communicate(b"\n")
    assert memory_bytes(child.pid) == 0
