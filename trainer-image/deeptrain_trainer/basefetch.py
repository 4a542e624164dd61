"""A base that is named by its address: downloaded once for a namespace, and known by its digest from then on."""

import contextlib
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from .dataset.addresses import Policy
from .dataset.fetch import DownloadFailure, Request, fetch
from .dataset.store import hex_of, sha256_of_file
from .durable import sync_directory
from .failure import Failure
from .run import Base

# The largest backbones of the field have a few gigabytes.
MAX_BASE_BYTES = 8 * 1024**3
# A partial file that was not written to for so long belongs to a process that is gone.
ABANDONED_SECONDS = 24 * 3600.0
_PARTIAL = re.compile(r"\.[0-9a-f]{64}-\d+-[0-9a-f]{8}")
_LOOK_SECONDS = 1.0


def fetched_weights(
    base: Base, check_stop: Callable[[], None] = lambda: None, *, allow_loopback: bool = False
) -> Path:
    """The file at `base.url`, kept in `base.path` under its digest. `check_stop` may raise to break a download off.

    Raises Failure: BaseUnavailable where it cannot be had or is another file than the one that was named, DiskFull.
    """
    digits = hex_of(base.digest)
    kept = base.path / f"{digits}.safetensors"
    if not _is_whole(kept, digits):
        _download(base, kept, check_stop, allow_loopback)
    return kept


def _download(base: Base, kept: Path, check_stop: Callable[[], None], allow_loopback: bool) -> None:
    digits = hex_of(base.digest)
    base.path.mkdir(parents=True, exist_ok=True)
    _sweep(base.path)
    # Runs of one namespace may fetch it at the same time: each its own file, the last one stays.
    partial = base.path / f".{digits}-{os.getpid()}-{os.urandom(4).hex()}"
    request = Request(
        url=base.url,
        max_bytes=MAX_BASE_BYTES,
        policy=Policy(base.deny_private_sources, allow_loopback),
        sha256=digits,
        sha256_field="spec.base.http.sha256",
        progress=lambda _done, _total: check_stop(),
        sleep=lambda seconds: _wait(seconds, check_stop),
    )
    try:
        fetched = fetch(request, partial)
        if isinstance(fetched, DownloadFailure):
            message = f"spec.base.http: {fetched.message}"
            raise DownloadFailure("BaseUnavailable", message, retryable=fetched.retryable)
        if isinstance(fetched, Failure):  # a full disk is not the base's fault
            raise fetched
        partial.chmod(0o664)
        partial.replace(kept)
        sync_directory(base.path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _wait(seconds: float, check_stop: Callable[[], None]) -> None:
    while seconds > 0:
        check_stop()
        time.sleep(min(seconds, _LOOK_SECONDS))
        seconds -= _LOOK_SECONDS
    check_stop()


def _sweep(folder: Path) -> None:
    """Removes what killed processes left of their downloads."""
    for left in folder.iterdir():
        with contextlib.suppress(OSError):
            is_partial = _PARTIAL.fullmatch(left.name) is not None
            if is_partial and time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                left.unlink()


def _is_whole(path: Path, digits: str) -> bool:
    try:
        return sha256_of_file(path) == digits
    except FileNotFoundError:
        return False
