"""A file or folder of a source, and the rules for its name.

Names come from strangers. One that could reach outside a folder, that hides what it is, or that
another file system would merge with a second one, refuses the whole source: nothing honest has such
names.
"""

import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from ..failure import Failure

MAX_PATH_BYTES = 1024
MAX_PART_BYTES = 255
MAX_FILE_BYTES = 128 * 1024 * 1024
"""Most bytes of one image file."""
WHY_SO_FEW = "which is what the importer's memory allows (the operator's --import-memory)"
"""Why there is a limit to the number of entries."""

_DRIVE = re.compile(r"[A-Za-z]:")
# Control characters, line separators, and the marks that turn the reading direction.
_INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# What operating systems and file systems strew into folders.
_LITTER = frozenset(
    {
        "__macosx",
        "icon\r",
        "thumbs.db",
        "desktop.ini",
        "@eadir",
        "$recycle.bin",
        "system volume information",
        "lost+found",
    }
)


class Member(NamedTuple):
    """A file or a folder of a source."""

    path: str
    """Parts joined by `/`, without `.` and empty parts; it has passed `Names.admit`."""
    size: int
    read: Callable[[], bytes] | None
    """Gives the bytes of a file; valid until the next member is asked for. None for a folder.

    Raises `UnreadableError`: this one file cannot be read.
    """


class UnreadableError(Exception):
    """One file cannot be read; the message says why. The others can."""


class LostLinkError(UnreadableError):
    """It is a link that leads nowhere: what it stood for, a file or a folder, is unknown."""


def is_litter(name: str) -> bool:
    """Whether a name is left out without a word: hidden, or the litter of operating systems.

    It is not looked at any further, so it may be as odd as it likes.
    """
    parts = name.split("/")
    return ".." not in parts and any(
        part.startswith(".") or part.casefold() in _LITTER for part in parts if part != "."
    )


def shown(text: str, units: int = 160) -> str:
    """`text` for a message: one line, nothing invisible, at most `units` UTF-16 code units.

    The middle is left out of what is longer: the end of a path tells most.
    """
    visible = _INVISIBLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    if _units(visible) <= units:
        return visible
    tail = visible[-(units // 3) :]
    while _units(tail) > units // 2:
        tail = tail[1:]
    return cut(visible[: -len(tail)], units - _units(tail)) + tail


def cut(text: str, units: int) -> str:
    """At most `units` UTF-16 code units of `text`; what was cut off is shown by an ellipsis."""
    if _units(text) <= units:
        return text
    kept = text[: units - 1]
    while _units(kept) > units - 1:
        kept = kept[:-1]
    return f"{kept}…"


def _units(text: str) -> int:
    """How long JavaScript finds the text."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


class Names:
    """The names of one source, as far as they were seen."""

    def __init__(self) -> None:
        """Nothing was seen."""
        # For each folder: from what a file system that ignores case and Unicode forms would call an
        # entry, to its spelling, which ends in a slash for a folder.
        self._entries: dict[str, dict[str, str]] = {"": {}}

    def admit(self, name: str, *, is_folder: bool) -> str | None:
        """Checks a name.

        Returns:
            The path in its plain form; None for what is left out without a word: the root, hidden
            files, and the litter of operating systems.

        Raises:
            Failure: `ArchiveInvalid`, and the message names the entry.
        """
        if is_litter(name):
            return None
        problem = _problem(name)
        if problem is not None:
            raise Failure("ArchiveInvalid", f"entry `{shown(name)}` {problem}")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if not parts:
            return None
        path = "/".join(parts)
        self._register(path, is_folder=is_folder)
        return path

    def _register(self, path: str, *, is_folder: bool) -> None:
        parent, _, name = path.rpartition("/")
        if parent not in self._entries:
            parts = parent.split("/")
            for depth, part in enumerate(parts):
                self._enter("/".join(parts[:depth]), part, is_folder=True)
        is_new = self._enter(parent, name, is_folder=is_folder)
        if not is_new and not is_folder:
            raise Failure("ArchiveInvalid", f"entry `{shown(path)}` is there twice")

    def _enter(self, folder: str, name: str, *, is_folder: bool) -> bool:
        """Enters a file or a folder into a folder that is known; whether it was not there yet."""
        entries = self._entries[folder]
        folded = _folded(name)
        spelling = f"{name}/" if is_folder else name
        known = entries.get(folded)
        if known is None:
            # One string for both, where they are equal: there are millions.
            entries[spelling if folded == spelling else folded] = spelling
            if is_folder:
                self._entries[_joined(folder, name)] = {}
            return True
        if known == spelling:
            return False
        path, other = _joined(folder, name), _joined(folder, known.rstrip("/"))
        if path == other:
            raise Failure("ArchiveInvalid", f"entry `{shown(path)}` is a file and a folder")
        raise Failure(
            "ArchiveInvalid",
            f"entries `{shown(path)}` and `{shown(other)}` differ only in case or in Unicode form; "
            "rename one",
        )


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _folded(path: str) -> str:
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _problem(name: str) -> str | None:
    if _INVISIBLE.search(name):
        return "has control characters or is not UTF-8"
    parts = name.split("/")
    problems = (
        ("\\" in name, "has a backslash"),
        (name.startswith("/"), "is an absolute path"),
        (_DRIVE.match(name) is not None, "begins with a drive letter"),
        (".." in parts, "leads out of its folder"),
        (len(name.encode()) > MAX_PATH_BYTES, f"is longer than {MAX_PATH_BYTES} bytes"),
        (
            any(len(part.encode()) > MAX_PART_BYTES for part in parts),
            f"has a part longer than {MAX_PART_BYTES} bytes",
        ),
    )
    return next((problem for holds, problem in problems if holds), None)
