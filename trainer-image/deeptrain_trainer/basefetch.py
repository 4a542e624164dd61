"""A base that is named by its address: downloaded once for a namespace, and known by its digest from then on."""

import contextlib
import os
from pathlib import Path

from .dataset.addresses import Policy
from .dataset.fetch import DownloadFailure, Request, fetch
from .dataset.store import hex_of, sha256_of_file
from .durable import sync_directory
from .failure import Failure
from .run import Base

# The largest backbones of the field have a few gigabytes.
MAX_BASE_BYTES = 8 * 1024**3


def fetched_weights(base: Base, *, allow_loopback: bool = False) -> bytes:
    """The content of the file at `base.url`, kept in `base.path` under its digest.

    Raises Failure(BaseUnavailable) where it cannot be had or is another file than the one that was named.
    """
    digits = hex_of(base.digest)
    kept = base.path / f"{digits}.safetensors"
    if not _is_whole(kept, digits):
        _download(base, digits, kept, allow_loopback)
    return kept.read_bytes()


def _download(base: Base, digits: str, kept: Path, allow_loopback: bool) -> None:
    base.path.mkdir(parents=True, exist_ok=True)
    # Runs of one namespace may fetch it at the same time: each its own file, the last one stays.
    partial = base.path / f".{digits}-{os.getpid()}-{os.urandom(4).hex()}"
    request = Request(
        url=base.url,
        max_bytes=MAX_BASE_BYTES,
        policy=Policy(base.deny_private_sources, allow_loopback),
        sha256=digits,
    )
    try:
        fetched = fetch(request, partial)
        if isinstance(fetched, Failure):
            retryable = isinstance(fetched, DownloadFailure) and fetched.retryable
            message = f"spec.base.http: {fetched.message}"
            raise DownloadFailure("BaseUnavailable", message, retryable=retryable)
        partial.chmod(0o664)
        partial.replace(kept)
        sync_directory(base.path)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _is_whole(path: Path, digits: str) -> bool:
    try:
        return sha256_of_file(path) == digits
    except FileNotFoundError:
        return False
