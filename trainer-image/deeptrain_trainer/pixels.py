"""The pixels of a split at the model's size: decoded when they are first asked for, and kept where memory allows."""

import contextlib
import math
import mmap
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from torch import nn

from .dataset.image import decode_rgb, pixel_count
from .dataset.index import Item
from .dataset.store import StoredDataset
from .memory import PixelRoom, limit_bytes
from .preprocess import Preprocess

# Share of the memory limit that pictures on their way to pixels may take. One is let in however large it is: 89
# megapixels need 1.6 GB.
DECODING_SHARE = 0.1
# Measured: the picture as 8-bit RGB, as planes, and as the floats that are resized.
DECODING_BYTES_PER_PIXEL = 18
_BLOCK_BYTES = 64 << 20
# Copies of the weights: the best so far, those of model and optimiser for a checkpoint, and its bytes.
_WEIGHT_COPIES = 8


def reserve_beside(model: nn.Module, splits: Iterable[Sequence[Item]]) -> int:
    """Bytes for what a first step does not show: copies of the weights, and the largest picture on its way to
    pixels."""
    weights: int = sum(tensor.nbytes for tensor in model.state_dict().values())
    largest = max((item.width * item.height for items in splits for item in items), default=0)
    return _WEIGHT_COPIES * weights + DECODING_BYTES_PER_PIXEL * largest


class Pixels:
    """uint8 [items, size, size, 3], in the order of `items`. With a room, for one caller at a time."""

    def __init__(
        self,
        dataset: StoredDataset,
        items: Sequence[Item],
        preprocess: Preprocess,
        threads: int,
        room: PixelRoom | None = None,
    ) -> None:
        """Keeps in `room` what was decoded; without one, all is decoded each time that it is asked for."""
        self._dataset = dataset
        self._items = items
        self._preprocess = preprocess
        self._pool = ThreadPoolExecutor(threads)
        self._decoding = _Gate(int(DECODING_SHARE * limit_bytes() / DECODING_BYTES_PER_PIXEL))
        self._room = room
        self._kept = _Kept()

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """uint8 [len(indices), size, size, 3]."""
        wanted = [int(index) for index in indices]
        missing = [index for index in dict.fromkeys(wanted) if index not in self._kept]
        made = dict(zip(missing, self._pool.map(self._decode, missing), strict=True))
        batch = np.stack([made[i] if i in made else self._kept[i] for i in wanted])
        size = sum(one.nbytes for one in made.values())
        if made and self._room is not None and self._room.take(size):
            for index, pixels in made.items():
                self._kept.add(index, pixels)
        return batch

    def let_go(self) -> None:
        """Keeps nothing any more."""
        self._room = None
        self._kept = _Kept()

    def __len__(self) -> int:
        return len(self._items)

    def _decode(self, index: int) -> NDArray[np.uint8]:
        data = self._dataset.read(self._items[index])
        with self._decoding.taken(pixel_count(data)):
            return self._preprocess(decode_rgb(data))


class _Kept:
    """Copies of pixels by index, in blocks whose memory goes back to the system with them."""

    def __init__(self) -> None:
        self._blocks: list[NDArray[np.uint8]] = []
        self._rows: dict[int, int] = {}

    def __contains__(self, index: int) -> bool:
        return index in self._rows

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        block, row = divmod(self._rows[index], len(self._blocks[0]))
        pixels: NDArray[np.uint8] = self._blocks[block][row]
        return pixels

    def add(self, index: int, pixels: NDArray[np.uint8]) -> None:
        """Of an index that is not kept yet."""
        rows = max(1, _BLOCK_BYTES // pixels.nbytes)
        block, row = divmod(len(self._rows), rows)
        if block == len(self._blocks):
            self._blocks.append(_block((rows, *pixels.shape)))
        self._blocks[block][row] = pixels
        self._rows[index] = len(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def _block(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Memory of its own: what is freed in the heap may stay there (heap.py)."""
    try:
        own = mmap.mmap(-1, math.prod(shape), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"no {math.prod(shape)} bytes for pixels: {error}") from error
    return np.frombuffer(own, np.uint8).reshape(shape)


class _Gate:
    """Lets threads in while what they bring fits, and one at a time where it does not."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Waits for so much room and holds it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + size <= self._size)
            self._taken += size
        try:
            yield
        finally:
            with self._changed:
                self._taken -= size
                self._changed.notify_all()
