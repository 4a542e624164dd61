"""Pixels: decoded when they are first asked for, kept where memory allows, and never more at a time than it holds."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from deeptrain_trainer import memory
from deeptrain_trainer import pixels as pixels_module
from deeptrain_trainer.dataset.image import decode_rgb
from deeptrain_trainer.dataset.store import StoredDataset
from deeptrain_trainer.memory import PixelRoom, limit_bytes
from deeptrain_trainer.pixels import Pixels, _block, reserve_beside
from deeptrain_trainer.preprocess import Preprocess
from deeptrain_trainer.share import Share, take_share

SIDE = 32
BYTES = SIDE * SIDE * 3


@pytest.fixture(scope="module")
def stored(dataset: dict[str, str]) -> StoredDataset:
    return StoredDataset.open(Path(dataset["path"]), dataset["splitDigest"])


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An entry for each picture that is decoded."""
    found: list[int] = []

    def decode(data: bytes) -> NDArray[np.uint8]:
        found.append(len(data))
        return decode_rgb(data)

    monkeypatch.setattr(pixels_module, "decode_rgb", decode)
    return found


def pixels_of(stored: StoredDataset, room: PixelRoom | None = None, threads: int = 2) -> Pixels:
    return Pixels(stored, stored.items("train"), Preprocess(SIDE), threads, room)


def test_what_is_kept_is_decoded_once_and_only_when_it_is_asked_for(
    stored: StoredDataset, decoded: list[int]
) -> None:
    pixels = pixels_of(stored, PixelRoom(limit=1 << 40))
    assert len(decoded) == 0
    indices = np.array([5, 0, 47, 0])
    first = pixels.batch(indices)
    assert len(decoded) == 3
    assert np.array_equal(first, pixels.batch(indices)) and len(decoded) == 3
    assert np.array_equal(first, pixels_of(stored).batch(indices)) and len(decoded) == 6
    assert np.array_equal(pixels.batch([47])[0], first[2]) and len(decoded) == 6
    pixels.batch([5, 6])
    assert len(decoded) == 7


def test_a_batch_is_the_callers_own(stored: StoredDataset) -> None:
    pixels = pixels_of(stored, PixelRoom(limit=1 << 40))
    first = pixels.batch([1, 2])
    kept = first.copy()
    first[:] = 0
    assert np.array_equal(pixels.batch([1, 2]), kept)


def test_pixels_that_do_not_fit_are_decoded_again(
    stored: StoredDataset,
    decoded: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(memory, "peak_bytes", lambda: 0)
    room = PixelRoom(limit=2 * 10 * BYTES)  # half of it: ten pictures
    pixels = pixels_of(stored, room)
    everything = np.arange(24)
    first = np.concatenate([pixels.batch(some) for some in np.split(everything, 6)])
    again = np.concatenate([pixels.batch(some) for some in np.split(everything, 6)])
    assert np.array_equal(first, again)
    assert len(decoded) == 24 + 24 - 8
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["keptBytes"] for line in lines if line["event"] == "pixels-full"] == [8 * BYTES]


LET_GO = """
import json, re, sys
from pathlib import Path
from deeptrain_trainer.dataset.store import StoredDataset
from deeptrain_trainer.memory import PixelRoom
from deeptrain_trainer.pixels import Pixels
from deeptrain_trainer.preprocess import Preprocess

def resident_kilobytes():  # counted page by page: the counters in statm and status may lag behind
    return int(re.search("Rss: +([0-9]+) kB", Path("/proc/self/smaps_rollup").read_text())[1])

stored = StoredDataset.open(Path(sys.argv[1]), sys.argv[2])
pixels = Pixels(stored, stored.items("train"), Preprocess(1024), 2, PixelRoom(limit=1 << 40))
for first in range(0, 48, 2):
    pixels.batch([first, first + 1])
full, kept = resident_kilobytes(), len(pixels._kept)
pixels.let_go()
print(json.dumps([kept, full - resident_kilobytes()]))
"""


def test_memory_of_what_was_let_go_is_given_back(dataset: dict[str, str]) -> None:
    """In a process of its own, as a training is: here other tests have left their mark on the heap."""
    command = [sys.executable, "-c", LET_GO, dataset["path"], dataset["splitDigest"]]
    kept, given_back = json.loads(subprocess.check_output(command))
    assert kept == 48
    assert given_back * 1024 > 0.9 * kept * 1024 * 1024 * 3


def test_what_was_let_go_is_decoded_again(stored: StoredDataset, decoded: list[int]) -> None:
    pixels = pixels_of(stored, PixelRoom(limit=1 << 40))
    first = pixels.batch([3, 4])
    pixels.let_go()
    for _ in range(2):
        assert np.array_equal(pixels.batch([3, 4]), first)
    assert len(decoded) == 6


def test_the_splits_share_one_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "peak_bytes", lambda: 0)
    room = PixelRoom(limit=1000)
    assert room.take(400) and room.take(100)
    assert not room.take(1)


def test_room_is_what_the_peak_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    peak = 500
    monkeypatch.setattr(memory, "peak_bytes", lambda: peak)
    room = PixelRoom(limit=1000)
    assert room.take(100) and room.take(100)
    peak = 800
    assert room.take(50) and not room.take(51)
    # A peak does not fall; nor is there room again for less.
    assert not room.take(1)
    # What comes later may need more than is always left.
    assert PixelRoom(later=100, limit=1000).take(50)
    assert not PixelRoom(later=151, limit=1000).take(50)


def test_room_is_left_for_weights_and_the_largest_picture(
    stored: StoredDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "peak_bytes", lambda: 0)
    model = torch.nn.Linear(100, 10, bias=False)
    items = [replace(item, width=40, height=30) for item in stored.items("train")]
    items[7] = replace(items[7], height=50)
    needed = 8 * 4000 + 18 * 40 * 50
    monkeypatch.setattr(memory, "limit_bytes", lambda: needed + 4000)
    assert PixelRoom(reserve_beside(model, [items, []])).take(4000)
    assert not PixelRoom(reserve_beside(model, [items, []])).take(4001)


def test_a_block_that_the_machine_does_not_have_is_a_memory_error() -> None:
    with pytest.raises(MemoryError, match="for pixels"):
        _block((1 << 50,))


def test_the_peak_is_of_this_process_and_does_not_fall() -> None:
    code = (
        "from deeptrain_trainer.memory import peak_bytes; before = peak_bytes(); "
        "held = bytearray(512 << 20); risen = peak_bytes(); del held; print(before, risen, peak_bytes())"
    )
    # A process may begin with the peak of the one that made it, as getrusage tells it.
    holding = np.ones(256 << 20, np.uint8)
    command = [sys.executable, "-c", code]
    before, risen, after = (int(text) for text in subprocess.check_output(command).split())
    assert holding[-1] == 1
    assert before < 128 << 20
    assert min(risen, after) >= before + (256 << 20)


@pytest.fixture
def four_on_this_node() -> Iterator[None]:
    take_share(Share(local_processes=4))
    yield
    take_share(Share())


def test_processes_of_a_node_share_its_memory(four_on_this_node: None) -> None:
    mine = limit_bytes()
    take_share(Share())
    assert limit_bytes() // 4 == mine > 0


@pytest.mark.parametrize(("fit", "want"), [(1, 1), (2, 2), (100, 4)])
def test_large_pictures_are_decoded_as_many_at_a_time_as_fit_into_memory(
    stored: StoredDataset, monkeypatch: pytest.MonkeyPatch, fit: int, want: int
) -> None:
    share = pixels_module.DECODING_SHARE / pixels_module.DECODING_BYTES_PER_PIXEL
    # The pictures of the tests have 40x40 pixels.
    monkeypatch.setattr(pixels_module, "limit_bytes", lambda: (fit + 0.5) * 40 * 40 / share)
    lock, running, most = threading.Lock(), 0, 0

    def decode(data: bytes) -> NDArray[np.uint8]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        with lock:
            running -= 1
        return decode_rgb(data)

    monkeypatch.setattr(pixels_module, "decode_rgb", decode)
    pixels_of(stored, threads=4).batch(np.arange(16))
    assert most == want
