"""The memory of this process: its limit, its peak so far, and how much of it decoded pixels may take."""

import re
from pathlib import Path

from .report import log
from .share import own_share

# Share of the limit that pixels of all splits may take.
_PIXEL_SHARE = 0.5
# Share of the limit that is always left, for what comes later.
LEFT_SHARE = 0.15


def most_beside(later: int, limit: int, share: float = LEFT_SHARE) -> int:
    """What of the limit may be taken: all but `later` bytes, or but `share` of it where that is more."""
    return limit - max(later, int(share * limit))


def limit_bytes() -> int:
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


def peak_bytes() -> int:
    """The most memory that this process has had so far."""
    # Not getrusage: its peak may be that of the process that started this one.
    return _status_bytes("VmHWM")


def resident_bytes() -> int:
    """The memory that this process has now."""
    return _status_bytes("VmRSS")


def _status_bytes(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
    return 0 if found is None else int(found[1]) * 1024


class PixelRoom:
    """What the training leaves of the memory limit to decoded pixels.

    How much it needs itself is measured, not guessed: its peak shows in its first steps, while pixels are kept one
    batch at a time.
    """

    def __init__(self, later: int = 0, limit: int | None = None) -> None:
        """`later`: bytes for what no step shows; `limit`: bytes for all, by default the process's limit."""
        self._limit = limit_bytes() if limit is None else limit
        self._most = most_beside(later, self._limit)
        self._taken = 0
        self._is_full = False

    def take(self, size: int) -> bool:
        """Whether so many bytes more may be kept. Once it is full it stays so: peaks never fall."""
        if self._is_full:
            return False
        pixels, everything = self._taken + size, peak_bytes() + size
        if pixels > _PIXEL_SHARE * self._limit or everything > self._most:
            self._is_full = True
            log({"type": "pixels-full", "keptBytes": self._taken, "limitBytes": self._limit})
            return False
        self._taken = pixels
        return True
