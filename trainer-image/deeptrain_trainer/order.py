"""Which images a step trains on, and their random numbers: pure functions of the seed and the position. Which an
evaluation takes at a time.

Nothing here has a state, so a run that was killed and resumed at any step does exactly what an undisturbed one does.
"""

import hashlib
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .share import own_share

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def derived_seed(*parts: int | str) -> int:
    """A 63-bit seed out of the parts."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


@lru_cache(maxsize=2)
def _permutation(seed: int, data_pass: int, items: int) -> NDArray[np.int64]:
    key = derived_seed("order", seed, data_pass)
    return np.random.Generator(np.random.Philox(key=key)).permutation(items)


def batch_items(
    seed: int, step: int, batch_size: int, items: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The items of step `step` (from 0) and the pass over the data that each belongs to.

    Training reads one endless stream: pass 0 over all items in the order permutation(hash(seed, 0)), then pass 1, ...
    Where W processes share each batch, rank r has its items r, r + W, ...: all others are left out here.
    """
    share = own_share()
    positions = np.arange(step * batch_size + share.rank, (step + 1) * batch_size, share.processes)
    passes = positions // items
    chosen = np.empty(len(positions), np.int64)
    for data_pass in np.unique(passes):
        mine = passes == data_pass
        chosen[mine] = _permutation(seed, int(data_pass), items)[positions[mine] % items]
    return chosen, passes


def evaluation_batches(items: int, batch_size: int, most: int = 16) -> Iterator[NDArray[np.int64]]:
    """All items in order, at most `most` at a time, and no more than a process trains on: whatever the size of the
    images, an evaluation needs less memory for each than a step does."""
    size = max(1, min(most, batch_size // own_share().processes))
    for start in range(0, items, size):
        yield np.arange(start, min(start + size, items))


def uniforms(
    seed: int, passes: NDArray[np.int64], chosen: NDArray[np.int64], count: int
) -> NDArray[np.float32]:
    """`count` numbers in [0, 1) for each item: the generator of item i in pass e is seeded by hash(seed, e, i)."""
    run = np.uint64(derived_seed("augmentation", seed))
    state = _mix(run + passes.astype(np.uint64) * _GOLDEN)
    state = _mix(state ^ _mix(chosen.astype(np.uint64) + _GOLDEN))
    draws = _mix(state[:, None] + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN)
    return ((draws >> np.uint64(40)).astype(np.float32)) * np.float32(2**-24)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
