"""What the C library does with the memory of tensors that are gone.

As it is, it gives large blocks back to the system, which clears every page of them again at the next step: measured,
a third of a step of EfficientNet-Lite0. Kept, they serve the next step; but blocks of another size may not fit between
those in use, so that the process takes more: up to two thirds more were measured.
"""

import ctypes
import time

from .memory import limit_bytes, most_beside, peak_bytes, resident_bytes
from .report import log

# mallopt(3)
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_NEVER = -1
# What it comes to by itself where large blocks are freed, and its default.
_USUAL_TRIM_THRESHOLD, _DEFAULT_MMAP_MAX = 64 << 20, 65536
# What the process may take soon, over the peak of its first step.
MOST_GROWTH = 1.5
# Share of the limit that it never takes: above, all that is in nobody's use is given back.
_NEVER_TAKEN_SHARE = 0.1
LOOK_SECONDS = 1.0


class Heap:
    """Keeps the memory of a training between its steps, where there is enough."""

    def __init__(self, later: int = 0, limit: int | None = None) -> None:
        """`later`: bytes for what no step shows; `limit`: bytes for all, by default the process's limit."""
        self._limit = limit_bytes() if limit is None else limit
        self._later = later
        self._most = most_beside(later, self._limit, _NEVER_TAKEN_SHARE)
        self._is_decided = False
        self._next_look = 0.0
        self.keeps = False

    def after_step(self) -> None:
        """The first step shows how much one takes, and so whether to keep it; later ones, whether it has become too
        much."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        if not self._is_decided:
            self._is_decided = True
            self._decide()
        elif self.keeps and resident_bytes() > self._most:
            _libc().malloc_trim(0)

    def _decide(self) -> None:
        peak = peak_bytes()
        if peak * MOST_GROWTH <= most_beside(self._later, self._limit) and _set(_NEVER, 0):
            self.keeps = True
            log({"type": "heap-kept", "peakBytes": peak, "limitBytes": self._limit})

    def give_back(self) -> None:
        """All that no tensor lies in goes back to the system now, and large blocks from now on."""
        if self.keeps:
            _set(_USUAL_TRIM_THRESHOLD, _DEFAULT_MMAP_MAX)
            _libc().malloc_trim(0)
            self.keeps = False


def _set(trim_threshold: int, mmap_max: int) -> bool:
    """False where the C library has no such options: only glibc does."""
    libc = _libc()
    if not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        return False
    trimmed = libc.mallopt(_M_TRIM_THRESHOLD, trim_threshold)
    return bool(libc.mallopt(_M_MMAP_MAX, mmap_max) and trimmed)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
