"""The members of a directory. It is mounted read-only, but what lies in it is a stranger's all the
same.
"""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from ..failure import Failure
from .member import (
    MAX_FILE_BYTES,
    WHY_SO_FEW,
    LostLinkError,
    Member,
    Names,
    UnreadableError,
    is_litter,
    shown,
)

# What one file may have without harm to the others; all else is the volume's own trouble.
_OF_ONE_FILE = {
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENOENT: "it was removed while it was imported",
    errno.ELOOP: "it became a link while it was imported",
    errno.ENXIO: "not a regular file",
}
_READABLE = "make it readable for the user or the group 65532"


def resolved_inside(path: Path, root: Path) -> Path:
    """`path` with all symbolic links followed.

    Raises:
        Failure: `SourceNotFound`, or `SourceForbidden` when it lies outside `root` or may not be
            looked at.
    """
    try:
        real = path.resolve(strict=True)
    except PermissionError as error:
        raise _unreadable(path, root, error) from error
    except (OSError, RuntimeError) as error:
        # RuntimeError: a loop of links, in Python 3.11 and 3.12.
        raise Failure(
            "SourceNotFound", f"`{shown(_relative(path, root))}` is not in the claim"
        ) from error
    if not real.is_relative_to(root.resolve()):
        name = shown(_relative(path, root))
        raise Failure("SourceForbidden", f"`{name}` is a link that leads out of the claim")
    return real


def archive_inside(path: Path, root: Path) -> Path:
    """`path`, which was resolved, as an archive that may be opened.

    Raises:
        Failure: `SourceNotFound`: no regular file. `SourceForbidden`: it may not be read.
    """
    if not path.is_file():
        name = shown(_relative(path, root))
        raise Failure("SourceNotFound", f"`{name}` is neither a folder nor a file")
    try:
        path.open("rb").close()
    except OSError as error:
        raise _unreadable(path, root, error) from error
    return path


def folder_members(folder: Path, root: Path, max_entries: int) -> Iterator[Member]:
    """The files and folders below `folder`, sorted by name. Links are followed while they stay in
    `root`.

    Raises:
        Failure: `SourceForbidden`: a link leads out of `root`, or a folder may not be read.
            `ArchiveInvalid`: a name that is not accepted. `ArchiveTooLarge`: more than
            `max_entries` files or folders. `ImportFailed`: the volume does not answer.
    """
    real = resolved_inside(folder, root)
    names = Names()
    for count, member in enumerate(_walk(real, root, "", names, (real,)), 1):
        if count > 2 * max_entries:
            raise Failure(
                "ArchiveTooLarge", f"the source has more than {max_entries} files, {WHY_SO_FEW}"
            )
        yield member


def _walk(
    folder: Path, root: Path, prefix: str, names: Names, above: tuple[Path, ...]
) -> Iterator[Member]:
    for name in _listed(folder, root):
        # Before anything is asked of it: what is left out may be a broken link, or closed to us.
        if is_litter(name):
            continue
        path = folder / name
        try:
            real = _followed(path, root)
            status = real.stat()
        except LostLinkError as lost:
            admitted = names.admit(prefix + name, is_folder=False)
            if admitted is not None:
                yield Member(admitted, 0, _lost(lost))
            continue
        except FileNotFoundError:
            continue  # removed since it was listed
        except OSError as error:
            raise _unreadable(path, root, error) from error
        is_folder = S_ISDIR(status.st_mode)
        admitted = names.admit(prefix + name, is_folder=is_folder)
        if admitted is None:
            continue
        if not is_folder:
            yield Member(admitted, status.st_size, _reader(real, root, status))
        elif real in above:
            raise Failure("ArchiveInvalid", f"`{shown(admitted)}` is a link to a folder above it")
        else:
            yield Member(admitted, 0, None)
            yield from _walk(real, root, f"{admitted}/", names, (*above, real))


def _listed(folder: Path, root: Path) -> list[str]:
    # A folder that cannot be read is no bad item: nobody knows how many items are in it.
    try:
        # Names, because paths need three times their memory.
        return sorted(os.listdir(folder))  # noqa: PTH208
    except OSError as error:
        raise _unreadable(folder, root, error) from error


def _followed(path: Path, root: Path) -> Path:
    """`path`, or what it is a link to. Raises Failure, LostLinkError."""
    if not path.is_symlink():
        return path
    try:
        return resolved_inside(path, root)
    except Failure as failure:
        if failure.reason != "SourceNotFound":
            raise
        raise LostLinkError("a link that leads nowhere") from failure


def _lost(error: LostLinkError) -> Callable[[], bytes]:
    def read() -> bytes:
        raise error

    return read


def _reader(path: Path, root: Path, status: os.stat_result) -> Callable[[], bytes]:
    # Of a file that grows meanwhile no more than it was to have.
    most = max(status.st_size, MAX_FILE_BYTES) + 1

    def read() -> bytes:
        if not S_ISREG(status.st_mode):
            raise UnreadableError("not a regular file")
        try:
            # Not following a link that was put there since, and not waiting for a FIFO.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                return file.read(most)
        except OSError as error:
            if error.errno in _OF_ONE_FILE:
                raise UnreadableError(_OF_ONE_FILE[error.errno]) from error
            raise _unreadable(path, root, error) from error

    return read


def _unreadable(path: Path, root: Path, error: OSError) -> Failure:
    """Why the import cannot go on."""
    name = shown(_relative(path, root))
    if isinstance(error, PermissionError):
        return Failure(
            "SourceForbidden", f"`{name}` may not be read: permission denied; {_READABLE}"
        )
    return Failure("ImportFailed", f"`{name}` cannot be read from the claim: {error.strerror}")


def _relative(path: Path, root: Path) -> str:
    if path == root:
        return "/"
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name
