"""How a data.yaml divides the pictures of a YOLO dataset: folders or lists of files behind `train`, `val` and `test`.

What it names is compared with the paths of the source and never opened: a path that leads elsewhere
leads nowhere.
"""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, NamedTuple

from ..failure import Failure
from .layout import split_of
from .member import shown
from .store import SPLITS, Split

Places = dict[str, Split]
"""The split of all that lies in a folder, unless a folder within it, or the file, has another one."""
Lists = Mapping[str, bytes | str]
"""Text files by their paths, or why one cannot be read."""

_ABSENT: Final = ("", "~", "null")
# Absolute paths, drive letters and addresses; what has backslashes is no path here.
_ELSEWHERE: Final = re.compile(r"/|[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]*://")
# Of listed files, beside twice as many as there are: what is not there takes memory that no limit of items counts.
_LISTED: Final = 100_000
_ADVICE: Final = "leads out of the dataset: name a part of it, relative to this file, with `/`"


class Division(NamedTuple):
    """What one file says."""

    file: str
    root: str
    """Its `path`: the folder that the others are relative to. Often one of its author's machine."""
    entries: tuple[tuple[Split, str], ...]

    @property
    def names_lists(self) -> bool:
        """Whether any entry is a list of files."""
        return any(_is_list(text) for _, text in self.entries)

    def places(self, folders: Collection[str], lists: Lists, files: Collection[str]) -> Places:
        """The folders that it names and that are there, and the files that its lists name, there or not.

        What a second split names again stays with the first. A folder or a list that is not there is none:
        exports name `val` and `test` even where they have none. `files` matter where it names lists.

        Raises:
            Failure: `InputInvalid`: a path leads out of the source, a list cannot be read or names far more files
                than there are, or train is not there while others are.
        """
        places: Places = {}
        read: set[str] = set()
        for split, text in self.entries:
            known: Collection[str] = lists.keys() if _is_list(text) else folders
            place = self._found(self.file, text, known, split)
            if place not in known and place != "":
                continue
            if not _is_list(text):
                places.setdefault(place, split)
            elif place not in read:
                read.add(place)
                self._follow(place, lists[place], files, places, split)
        if places and "train" not in places.values():
            raise _failure(self.file, "train is not there: name a folder of pictures")
        return places

    def _follow(
        self,
        file: str,
        content: bytes | str,
        files: Collection[str],
        places: Places,
        split: Split,
    ) -> None:
        """Adds what a list names to `places`."""
        listed, is_any_there = 0, False
        for number, line in enumerate(_lines(file, content), 1):
            if not line:
                continue
            path = self._found(file, line, files, f"line {number}")
            listed += 1
            is_any_there = is_any_there or path in files
            places.setdefault(path, split)
            if len(places) > _LISTED + 2 * len(files):
                raise _failure(file, f"more files are listed than are there: {len(files):,}")
        if listed and not is_any_there:
            raise _failure(file, f"none of its {listed:,} files is there")

    def _found(self, file: str, text: str, known: Collection[str], what: str) -> str:
        """What a text of a file means: one that is known if it can, else where it would be."""
        beside = file.rpartition("/")[0]
        root = _joined(self.file.rpartition("/")[0], self.root)
        bases = [beside] if root is None else [root, beside]
        # As Ultralytics does: exports of Roboflow write `../` and mean `./`.
        texts = (text, text.removeprefix("../"))
        meant = [_joined(base, each) for each in texts for base in bases]
        inside = [each for each in meant if each is not None]
        if not inside:
            raise _failure(file, f"{what}: `{shown(text, 100)}` {_ADVICE}")
        return next((each for each in inside if each in known), inside[0])


def _is_list(text: str) -> bool:
    return text.casefold().endswith(".txt")


def _lines(file: str, content: bytes | str) -> Iterator[str]:
    """The paths of a list, some of them blank."""
    if isinstance(content, str):
        raise _failure(file, content)
    try:
        for line in io.TextIOWrapper(io.BytesIO(content), "utf-8-sig"):
            yield line.strip()
    except UnicodeDecodeError:
        raise _failure(file, "is no text file: a path on each line is expected") from None


def _failure(file: str, problem: str) -> Failure:
    return Failure("InputInvalid", f"`{shown(file, 80)}`: {problem}")


def read_division(file: str, document: dict[Any, Any]) -> Division:
    """What a data.yaml says; all its scalars are texts.

    Raises:
        Failure: `InputInvalid`: an entry is neither a path nor a list of paths.
    """
    root = document.get("path")
    found: dict[Split, list[str]] = {split: [] for split in SPLITS}
    for key, value in document.items():
        split = split_of(key) if isinstance(key, str) else None
        if split is None:
            continue
        texts = value if isinstance(value, list) else [value]
        if not all(isinstance(text, str) for text in texts):
            raise _failure(file, f"{shown(key, 20)} is neither a path nor a list of paths")
        found[split] += [text for text in map(str.strip, texts) if text not in _ABSENT]
    entries = tuple((split, text) for split in SPLITS for text in found[split])
    return Division(file, root if isinstance(root, str) else "", entries)


def split_at(places: Places, path: str) -> Split | None:
    """The split of a file, or of the nearest folder around it that has one."""
    while path not in places:
        if not path:
            return None
        path = path.rpartition("/")[0]
    return places[path]


def _joined(folder: str, text: str) -> str | None:
    """`text` relative to a folder of the source, in its plain form; None where it leads out of the source."""
    if _ELSEWHERE.match(text) or "\\" in text:
        return None
    parts = folder.split("/") if folder else []
    for part in text.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
