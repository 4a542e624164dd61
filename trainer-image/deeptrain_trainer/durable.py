"""Files that are on the disk when the function returns."""

import hashlib
import os
from pathlib import Path


def write_synced(path: Path, content: bytes) -> str:
    """Writes a new file and waits until it is on the disk; its SHA-256 in hexadecimal digits."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(content).hexdigest()


def sync_directory(path: Path) -> None:
    """Waits until the entries of a directory are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
