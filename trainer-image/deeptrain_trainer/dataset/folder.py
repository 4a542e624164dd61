"""The members of a directory. It is mounted read-only, but what lies in it is a stranger's all the
same.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from ..failure import Failure
from .member import MAX_FILE_BYTES, Member, Names, UnreadableError, shown


def resolved_inside(path: Path, root: Path) -> Path:
    """`path` with all symbolic links followed.

    Raises:
        Failure: `SourceNotFound`, or `SourceForbidden` when it lies outside `root`.
    """
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        # RuntimeError: a loop of links, in Python 3.11 and 3.12.
        raise Failure(
            "SourceNotFound", f"`{shown(_relative(path, root))}` is not in the claim"
        ) from error
    if not real.is_relative_to(root.resolve()):
        name = shown(_relative(path, root))
        raise Failure("SourceForbidden", f"`{name}` is a link that leads out of the claim")
    return real


def folder_members(folder: Path, root: Path, max_entries: int) -> Iterator[Member]:
    """The files and folders below `folder`, sorted by name. Links are followed while they stay in
    `root`.

    Raises:
        Failure: `SourceForbidden`: a link leads out of `root`. `ArchiveInvalid`: a name that is not
            accepted. `ArchiveTooLarge`: more than `max_entries` files or folders.
    """
    real = resolved_inside(folder, root)
    names = Names()
    for count, member in enumerate(_walk(real, root, "", names, (real,)), 1):
        if count > 2 * max_entries:
            raise Failure("ArchiveTooLarge", f"the source has more than {max_entries} files")
        yield member


def _walk(
    folder: Path, root: Path, prefix: str, names: Names, above: tuple[Path, ...]
) -> Iterator[Member]:
    for path in sorted(folder.iterdir()):
        real = resolved_inside(path, root) if path.is_symlink() else path
        status = real.stat()
        is_folder = S_ISDIR(status.st_mode)
        admitted = names.admit(prefix + path.name, is_folder=is_folder)
        if admitted is None:
            continue
        if not is_folder:
            yield Member(admitted, status.st_size, _reader(real, S_ISREG(status.st_mode)))
        elif real in above:
            raise Failure("ArchiveInvalid", f"`{shown(admitted)}` is a link to a folder above it")
        else:
            yield Member(admitted, 0, None)
            yield from _walk(real, root, f"{admitted}/", names, (*above, real))


def _reader(path: Path, is_regular: bool) -> Callable[[], bytes]:
    def read() -> bytes:
        if not is_regular:
            raise UnreadableError("not a regular file")
        try:
            # Not following a link that was put there since, and not waiting for a FIFO.
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError as error:
            raise UnreadableError("permission denied") from error
        with os.fdopen(descriptor, "rb") as file:
            return file.read(MAX_FILE_BYTES + 1)

    return read


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else path.name
