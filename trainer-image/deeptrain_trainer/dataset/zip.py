"""Reads zip archives member by member, without ever writing a file.

zipfile does the format; here is what it does not check: how large the directory is before it is
read, overlapping entries, names with NUL, links, encryption, and how much there is in all.
"""

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from stat import S_IFDIR, S_IFMT, S_IFREG

from ..failure import Failure
from .member import WHY_SO_FEW, Member, Names, shown

_END = struct.Struct("<4s4H2LH")
_END_64_LOCATOR = struct.Struct("<4sLQL")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCAL_HEADER_BYTES = 30
_MAX_DIRECTORY_BYTES = 512 * 1024 * 1024
_ENCRYPTED_FLAGS = 0x1 | 0x40 | 0x2000
_UTF8_FLAG = 0x800
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    struct.error,
    RuntimeError,  # zipfile's word for an encrypted member; NotImplementedError is one too
    ValueError,
)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class ZipMembers:
    """The members of a zip archive. `check` everything that the directory tells before reading the
    first.
    """

    def __init__(self, path: Path, max_entries: int) -> None:
        """Opens the archive and reads its directory.

        Raises:
            Failure: `ArchiveInvalid` or `ArchiveTooLarge`.
        """
        _check_directory_size(path, max_entries)
        try:
            self._archive = zipfile.ZipFile(path)
        except _DAMAGE as error:
            raise Failure("ArchiveInvalid", f"the zip archive is damaged: {error}") from error
        self._entries = sorted(self._archive.infolist(), key=lambda entry: entry.header_offset)
        if len(self._entries) > max_entries:
            raise _too_many(max_entries)
        self._check_overlap()
        for entry in self._entries:
            _check_entry(entry)
        self.count = len(self._entries)
        self.unpacked_bytes = sum(entry.file_size for entry in self._entries)
        # `members` takes them from the end; nobody else holds them, because they are large and many.
        self._entries.reverse()
        self._archive.filelist.clear()
        self._archive.NameToInfo.clear()

    def close(self) -> None:
        """Closes the file."""
        self._archive.close()

    def members(self, names: Names) -> Iterator[Member]:
        """The files and folders, in the order in which they lie in the archive. Can be called once.

        Raises:
            Failure: `ArchiveInvalid`.
        """
        while self._entries:
            entry = self._entries.pop()
            path = names.admit(_name(entry), is_folder=entry.is_dir())
            if path is not None:
                read = None if entry.is_dir() else self._reader(entry)
                yield Member(path, entry.file_size, read)

    def _reader(self, entry: zipfile.ZipInfo) -> Callable[[], bytes]:
        def read() -> bytes:
            try:
                # zipfile stops at the size that the directory states, and compares the CRC there.
                data = self._archive.read(entry)
            except _DAMAGE as error:
                raise _damaged(entry, str(error)) from error
            if len(data) != entry.file_size:
                raise _damaged(entry, "it is shorter than stated")
            return data

        return read

    def _check_overlap(self) -> None:
        """Overlapping entries make a small file unpack to a huge one."""
        end = 0
        for entry in self._entries:
            if entry.header_offset < end:
                raise _damaged(entry, "it overlaps another entry")
            end = entry.header_offset + _LOCAL_HEADER_BYTES + entry.compress_size
        if end > self._archive.start_dir:
            raise _damaged(self._entries[-1], "it overlaps the directory")


def _too_many(max_entries: int) -> Failure:
    return Failure(
        "ArchiveTooLarge", f"the archive has more than {max_entries} entries, {WHY_SO_FEW}"
    )


def _damaged(entry: zipfile.ZipInfo, problem: str) -> Failure:
    return Failure("ArchiveInvalid", f"entry `{shown(entry.orig_filename)}` is damaged: {problem}")


def _check_entry(entry: zipfile.ZipInfo) -> None:
    name = shown(entry.orig_filename)
    if entry.flag_bits & _ENCRYPTED_FLAGS:
        raise Failure("ArchiveInvalid", f"entry `{name}` is encrypted; pack it without a password")
    if entry.compress_type not in _METHODS:
        raise Failure(
            "ArchiveInvalid",
            f"entry `{name}` uses compression method {entry.compress_type}; use deflate or none",
        )
    # The upper half is the Unix mode, where the packing program knew one.
    if S_IFMT(entry.external_attr >> 16) not in (0, S_IFREG, S_IFDIR):
        raise Failure(
            "ArchiveInvalid",
            f"entry `{name}` is a link or a device; only files and folders are accepted",
        )


def _name(entry: zipfile.ZipInfo) -> str:
    # `filename` is cut at the first NUL; `orig_filename` is what the archive says.
    name = entry.orig_filename
    if entry.flag_bits & _UTF8_FLAG:
        return name
    # Without the flag the standard says code page 437, but macOS writes UTF-8.
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


def _check_directory_size(path: Path, max_entries: int) -> None:
    """zipfile reads the whole directory into memory; look at its stated size first."""
    size = path.stat().st_size
    with path.open("rb") as file:
        tail_bytes = min(size, _END.size + 0xFFFF)
        file.seek(size - tail_bytes)
        tail = file.read(tail_bytes)
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or at + _END.size > len(tail):
            raise Failure(
                "ArchiveInvalid", "the zip archive is truncated: its directory is missing"
            )
        _, _, _, _, entries, directory, _, _ = _END.unpack_from(tail, at)
        end = size - tail_bytes + at
        if end >= _END_64_LOCATOR.size:
            file.seek(end - _END_64_LOCATOR.size)
            magic, _, offset, _ = _END_64_LOCATOR.unpack(file.read(_END_64_LOCATOR.size))
            if magic == b"PK\x06\x07" and offset <= size - _END_64.size:
                file.seek(offset)
                record = _END_64.unpack(file.read(_END_64.size))
                entries, directory = record[7], record[8]
    if entries > max_entries or directory > _MAX_DIRECTORY_BYTES:
        raise _too_many(max_entries)
