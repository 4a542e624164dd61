"""Opens an archive by what it is, not by its name: tar, tar.gz, tar.zst or zip, with bounds on all
of it.

Members are read straight from the archive: nothing is unpacked to disk, so there is no path to
escape to.
"""

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import zstandard

from ..failure import Failure
from .member import WHY_SO_FEW, Member, Names
from .tar import BLOCK, is_tar, tar_members
from .zip import ZipMembers

MAX_RATIO = 200
"""Most bytes that one byte of an archive may become; images do not compress further."""
_RATIO_FROM_BYTES = 64 * 1024 * 1024
_PIECE_BYTES = 1024 * 1024
# What `zstd` itself accepts by default; more would be memory spent on a stranger's word.
_MAX_ZSTD_WINDOW = 128 * 1024 * 1024

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_OTHERS = (
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ", "an xz file"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a rar archive"),
    (b"<", "an HTML or XML page"),
    (b"{", "JSON"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"version https://git-lfs", "a Git LFS pointer instead of the file"),
)


class Limits(NamedTuple):
    """Bounds of an archive."""

    unpacked_bytes: int
    entries: int


class Opened(NamedTuple):
    """An open archive."""

    members: Iterator[Member]
    total: int | None
    """Number of entries, where the archive tells it."""


@contextlib.contextmanager
def open_archive(path: Path, limits: Limits) -> Iterator[Opened]:
    """The members of the archive at `path`; they may be read while the context is open.

    Raises:
        Failure: `ArchiveInvalid` or `ArchiveTooLarge`, here or while members are taken.
    """
    with path.open("rb") as file:
        start = file.read(BLOCK)
        file.seek(0)
        size = path.stat().st_size
        if start.startswith(_ZIP):
            with contextlib.closing(ZipMembers(path, 2 * limits.entries)) as archive:
                _check_unpacked(archive.unpacked_bytes, size, limits)
                yield Opened(_limited(archive.members(Names()), limits), archive.count)
        elif start.startswith(_GZIP):
            with gzip.GzipFile(fileobj=file) as stream:
                yield Opened(_tar(cast(BinaryIO, stream), "gzip", size, limits), None)
        elif start.startswith(_ZSTD):
            unpack = zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW)
            with unpack.stream_reader(file, read_across_frames=True, closefd=False) as reader:
                yield Opened(_tar(cast(BinaryIO, reader), "zstd", size, limits), None)
        elif is_tar(start):
            yield Opened(_tar(file, "", size, limits), None)
        else:
            raise Failure("ArchiveInvalid", f"the file is {_described(start)}, {_EXPECTED}")


_EXPECTED = "not a tar, tar.gz, tar.zst or zip archive"


def _described(start: bytes) -> str:
    if not start:
        return "empty or truncated"
    return next(
        (name for magic, name in _OTHERS if start.lstrip().startswith(magic)), "something else"
    )


def _tar(stream: BinaryIO, packing: str, size: int, limits: Limits) -> Iterator[Member]:
    bounded = _Bounded(stream, packing, size, limits)
    start = bounded.read(BLOCK)
    if not is_tar(start):
        raise Failure(
            "ArchiveInvalid", f"inside the {packing} file is {_described(start)}, no tar archive"
        )
    bounded.put_back(start)
    yield from _limited(tar_members(bounded.read, Names()), limits)


class _Bounded:
    """Reads a stream and stops at the bounds; names damage in the packing."""

    def __init__(self, stream: BinaryIO, packing: str, size: int, limits: Limits) -> None:
        self._stream = stream
        self._packing = packing
        self._packed_bytes = size
        self._limits = limits
        self._unpacked_bytes = 0
        self._ahead = b""

    def put_back(self, data: bytes) -> None:
        self._ahead = data

    def read(self, size: int) -> bytes:
        """That many bytes; fewer only at the end."""
        parts = [self._ahead[:size]]
        self._ahead = self._ahead[size:]
        left = size - len(parts[0])
        while left > 0:
            # Piece by piece, because a stated size is only a claim: memory follows what is really
            # there.
            data = self._some(min(left, _PIECE_BYTES))
            if not data:
                break
            parts.append(data)
            left -= len(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _some(self, size: int) -> bytes:
        try:
            data = self._stream.read(size)
        except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
            raise Failure(
                "ArchiveInvalid", f"the {self._packing} file is damaged or truncated: {error}"
            ) from error
        self._unpacked_bytes += len(data)
        _check_unpacked(self._unpacked_bytes, self._packed_bytes, self._limits)
        return data


def _check_unpacked(unpacked_bytes: int, packed_bytes: int, limits: Limits) -> None:
    if unpacked_bytes > limits.unpacked_bytes:
        raise Failure(
            "ArchiveTooLarge",
            f"unpacked, the archive has more than the {limits.unpacked_bytes} bytes that are allowed",
        )
    if unpacked_bytes > _RATIO_FROM_BYTES and unpacked_bytes > MAX_RATIO * packed_bytes:
        raise Failure(
            "ArchiveTooLarge",
            f"the archive unpacks to more than {MAX_RATIO} times its size: images do not",
        )


def _limited(members: Iterator[Member], limits: Limits) -> Iterator[Member]:
    files = folders = 0
    for member in members:
        if member.read is None:
            folders += 1
        else:
            files += 1
        if max(files, folders) > limits.entries:
            raise Failure(
                "ArchiveTooLarge",
                f"the archive has more than {limits.entries} files or folders, {WHY_SO_FEW}",
            )
        yield member
