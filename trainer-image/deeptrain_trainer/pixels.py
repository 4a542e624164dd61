"""The pixels of a split at the model's size: kept in memory where they fit, else made anew for each batch."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .dataset.image import decode_rgb, pixel_count
from .dataset.index import Item
from .dataset.store import StoredDataset
from .preprocess import Preprocess
from .share import own_share

# Share of the memory limit that cached pixels of all splits may take; the model and its gradients need the rest.
CACHE_SHARE = 0.35
# Share that pictures on their way to pixels may take. One is let in however large it is: 89 megapixels need 1.6 GB.
DECODING_SHARE = 0.1
# Measured: the picture as 8-bit RGB, as planes, and as the floats that are resized.
DECODING_BYTES_PER_PIXEL = 18
_CHUNK = 256


def cache_bytes() -> int:
    """What the cached pixels of all splits may take in this process."""
    return int(CACHE_SHARE * memory_limit_bytes())


def memory_limit_bytes() -> int:
    """This process's part of the container's memory limit, or of the machine's memory where there is none."""
    return _memory_bytes() // own_share().local_processes


def _memory_bytes() -> int:
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        path = Path("/sys/fs/cgroup", name)
        if path.exists() and (text := path.read_text().strip()).isdigit():
            limit = int(text)
            if limit < 1 << 60:  # version 1 says "no limit" with a huge number
                return limit
    lines = Path("/proc/meminfo").read_text().splitlines()
    return int(lines[0].split()[1]) * 1024


class Pixels:
    """uint8 [items, size, size, 3], in the order of `items`."""

    def __init__(
        self,
        dataset: StoredDataset,
        items: Sequence[Item],
        preprocess: Preprocess,
        threads: int,
        budget_bytes: int,
        check_stop: Callable[[], None],
    ) -> None:
        """Decodes everything now if it fits into `budget_bytes`. `check_stop` may raise to break that off."""
        self._dataset = dataset
        self._items = items
        self._preprocess = preprocess
        self._pool = ThreadPoolExecutor(threads)
        self._room = _Room(int(DECODING_SHARE * memory_limit_bytes() / DECODING_BYTES_PER_PIXEL))
        self._cache: NDArray[np.uint8] | None = None
        shape = (len(items), preprocess.size, preprocess.size, 3)
        self.bytes = int(np.prod(shape))
        if self.bytes <= budget_bytes:
            cache = np.empty(shape, np.uint8)
            for start in range(0, len(items), _CHUNK):
                check_stop()
                chunk = range(start, min(start + _CHUNK, len(items)))
                for index, pixels in zip(chunk, self._pool.map(self._decode, chunk), strict=True):
                    cache[index] = pixels
            self._cache = cache

    @property
    def is_cached(self) -> bool:
        """Whether all pixels are in memory."""
        return self._cache is not None

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """uint8 [len(indices), size, size, 3]."""
        if self._cache is not None:
            cached: NDArray[np.uint8] = self._cache[np.asarray(indices)]
            return cached
        return np.stack(list(self._pool.map(self._decode, indices)))

    def __len__(self) -> int:
        return len(self._items)

    def _decode(self, index: int) -> NDArray[np.uint8]:
        data = self._dataset.read(self._items[index])
        with self._room.taken(pixel_count(data)):
            return self._preprocess(decode_rgb(data))


class _Room:
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
