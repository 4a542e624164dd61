"""The working folders of imports in a store: each held by its process, and swept once that is gone.

Who is killed cannot clean up, and its Dataset may be deleted before another attempt does. So every import removes what
dead ones of its namespace left. Dead is who holds no lock any more and has written nothing for an hour: the second
protects the living on file systems where locks do not reach from node to node.
"""

import contextlib
import fcntl
import os
import shutil
import time
from pathlib import Path

LOCK = "lock"
_ABANDONED_SECONDS = 3600.0
# `.import-`: of an import on its way; `.broken-`: a damaged dataset that was replaced.
_PATTERNS = (".import-{}*", ".broken-{}*")


def hold(folder: Path) -> int:
    """Locks a new working folder until the descriptor that is returned is closed, or this process ends."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
    # Where the file system has no locks, age alone tells.
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return descriptor


def sweep(datasets: Path, uid: str, own: Path) -> None:
    """Removes what dead imports left: those of the object `uid` at once, those of others after an hour.

    `own` is the folder that this import is about to make. What lies there is of a pod that is gone.

    Raises OSError where `own` cannot be removed.
    """
    if own.exists():
        shutil.rmtree(own)
    for pattern in _PATTERNS:
        of_object = set(datasets.glob(pattern.format(f"{uid}-")))
        for folder in sorted(datasets.glob(pattern.format(""))):
            if folder in of_object or _idle_seconds(folder) > _ABANDONED_SECONDS:
                _remove_if_free(folder, in_doubt=folder in of_object)


def _remove_if_free(folder: Path, *, in_doubt: bool) -> None:
    """Removes a folder that nobody holds; `in_doubt`: also where the file system has no locks."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:  # killed before it held it, or a damaged dataset
        shutil.rmtree(folder, ignore_errors=True)
        return
    except OSError:
        return
    try:
        if _is_free(descriptor, in_doubt):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def _is_free(descriptor: int, in_doubt: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return in_doubt
    return True


def _idle_seconds(folder: Path) -> float:
    """Since anything was last written there."""
    newest = 0.0
    for path in (folder, *folder.glob("*"), *folder.glob("shards/*")):
        with contextlib.suppress(OSError):  # renamed or removed just now
            newest = max(newest, path.stat().st_mtime)
    return time.time() - newest if newest else 0.0
