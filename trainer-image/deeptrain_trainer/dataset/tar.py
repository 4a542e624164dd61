"""Reads tar archives (v7, ustar, GNU, pax) from a stream, strictly, without ever writing a file.

Python's tarfile ends silently at a damaged header and reads extension headers of any size into
memory; here the first is a failure and the second is bounded. Only files and folders are accepted:
no links, no devices, no sparse files.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..failure import Failure
from .member import Member, Names, shown

BLOCK = 512
_MAX_EXTENSION_BYTES = 64 * 1024
_SKIP_BYTES = 1024 * 1024
_ZEROS = bytes(BLOCK)

_FILES = (b"0", b"\0", b"7")
_FOLDER = b"5"
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a FIFO",
    b"S": "a sparse file",
}

Read = Callable[[int], bytes]
"""Gives that many bytes, fewer only at the end of the stream."""


class _Header(NamedTuple):
    name: str
    size: int
    kind: bytes


class _Extension(NamedTuple):
    """What extension headers say of the member that follows."""

    name: str | None = None
    size: int | None = None


def is_tar(block: bytes) -> bool:
    """Whether the first block of a stream begins a tar archive."""
    return len(block) == BLOCK and (block == _ZEROS or _checksum_fits(block))


def tar_members(read: Read, names: Names) -> Iterator[Member]:
    """The files and folders of a tar archive. The stream is read to its end, so that a checksum
    which follows the archive is compared too.

    Raises:
        Failure: `ArchiveInvalid`: damaged, truncated, not over at its end mark, or an entry that is
            not accepted.
    """
    extension = _Extension()
    while (header := _next_header(read)) is not None:
        if header.kind in (b"x", b"g", b"L", b"K"):
            extension = _extended(extension, header, _payload(read, header))
            continue
        name = header.name if extension.name is None else extension.name
        size = header.size if extension.size is None else extension.size
        extension = _Extension()
        is_folder = header.kind == _FOLDER or (header.kind in _FILES and name.endswith("/"))
        if not is_folder and header.kind not in _FILES:
            kind = _KINDS.get(header.kind, f"of the unknown type {header.kind!r}")
            raise Failure(
                "ArchiveInvalid",
                f"entry `{shown(name)}` is {kind}; only files and folders are accepted",
            )
        path = names.admit(name, is_folder=is_folder)
        left = _Left(read, size)
        if path is not None:
            yield Member(path, size, None if is_folder else left.all)
        left.skip()
    _check_end(read)


class _Left:
    """What of a member's bytes has not been read."""

    def __init__(self, read: Read, size: int) -> None:
        self._read = read
        self._size = size
        self._left = size + -size % BLOCK

    def all(self) -> bytes:
        if self._left < self._size:
            raise RuntimeError("a member of a stream can be read once")
        data = _exactly(self._read, self._size)
        self._left -= self._size
        return data

    def skip(self) -> None:
        while self._left > 0:
            self._left -= len(_exactly(self._read, min(self._left, _SKIP_BYTES)))


def _exactly(read: Read, size: int) -> bytes:
    data = read(size)
    if len(data) != size:
        raise Failure("ArchiveInvalid", "the archive is truncated: it ends inside an entry")
    return data


def _next_header(read: Read) -> _Header | None:
    block = read(BLOCK)
    if block == _ZEROS:
        return None
    if len(block) != BLOCK:
        raise Failure("ArchiveInvalid", "the archive is truncated: its end mark is missing")
    if not _checksum_fits(block):
        raise Failure("ArchiveInvalid", "the archive is damaged: a header has a wrong checksum")
    name = _text(block[:100])
    # GNU's own format (magic `ustar` and two spaces) keeps other things in the prefix field.
    if block[257:263] == b"ustar\0" and block[345] != 0:
        name = f"{_text(block[345:500])}/{name}"
    return _Header(name, _number(block[124:136]), block[156:157])


def _check_end(read: Read) -> None:
    """A header that was lost looks like the end mark. Writers fill up with zeros behind the mark,
    and with nothing else.
    """
    while data := read(_SKIP_BYTES):
        if data.count(0) != len(data):
            raise Failure(
                "ArchiveInvalid",
                "the archive goes on after its end: a header is damaged, or several archives were "
                "joined; pack it anew as one",
            )


def _checksum_fits(block: bytes) -> bool:
    stated = block[148:156].split(b"\0")[0].strip()
    if not stated or stated.strip(b"01234567"):
        return False
    plain = block[:148] + b" " * 8 + block[156:]
    # Some old programs summed signed bytes.
    signed = sum(byte - 256 if byte > 127 else byte for byte in plain)
    return int(stated, 8) in (sum(plain), signed)


def _number(field: bytes) -> int:
    """A number of a header: octal digits, or binary when the highest bit is set (GNU, large sizes)."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:])
    digits = field.split(b"\0")[0].strip() or b"0"
    if digits.strip(b"01234567"):
        raise Failure("ArchiveInvalid", "the archive is damaged: a header has no valid size")
    return int(digits, 8)


def _text(field: bytes) -> str:
    # Undecodable bytes become surrogates, which `Names` refuses with the name in the message.
    return field.split(b"\0")[0].decode("utf-8", "surrogateescape")


def _payload(read: Read, header: _Header) -> bytes:
    if header.size > _MAX_EXTENSION_BYTES:
        raise Failure(
            "ArchiveInvalid", f"an extension header is {header.size} bytes long; that is not a name"
        )
    return _exactly(read, header.size + -header.size % BLOCK)[: header.size]


def _extended(extension: _Extension, header: _Header, payload: bytes) -> _Extension:
    if header.kind == b"L":
        name = payload.removesuffix(b"\0").decode("utf-8", "surrogateescape")
        return extension._replace(name=name)
    if header.kind != b"x":
        # A long link target (its entry is refused anyway), or pax records for all members: no name,
        # no size.
        return extension
    for key, value in _pax_records(payload):
        if key == b"path":
            extension = extension._replace(name=value.decode("utf-8", "surrogateescape"))
        elif key == b"size":
            if not value.isdigit():
                raise Failure("ArchiveInvalid", "the archive is damaged: a pax size is no number")
            extension = extension._replace(size=int(value[:20]))
        elif key.startswith(b"GNU.sparse."):
            raise Failure("ArchiveInvalid", "the archive has a sparse file; pack it without -S")
    return extension


def _pax_records(payload: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The records `<length> <key>=<value>\\n`; the length counts the whole record."""
    while payload:
        digits, space, _ = payload[:8].partition(b" ")
        length = int(digits) if space and digits.isdigit() else 0
        record = payload[len(digits) + 1 : length]
        key, equals, value = record.partition(b"=")
        if not equals or not record.endswith(b"\n") or length > len(payload):
            raise Failure("ArchiveInvalid", "the archive is damaged: a pax header is not readable")
        yield key, value[:-1]
        payload = payload[length:]
