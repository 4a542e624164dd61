"""How a data.yaml divides the pictures of a YOLO dataset: the folders behind `train`, `val` and `test`.

What it names is compared with the paths of the source and never opened: a path that leads elsewhere
leads nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any, Final, NamedTuple

from ..failure import Failure
from .layout import split_of
from .member import shown
from .store import SPLITS, Split

Places = dict[str, Split]
"""The split of all that lies in a folder, unless a folder within it has another one."""

_ABSENT: Final = ("", "~", "null")
# Absolute paths, drive letters and addresses; what has backslashes is no path here.
_ELSEWHERE: Final = re.compile(r"/|[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]*://")


class Division(NamedTuple):
    """What one file says."""

    file: str
    root: str
    """Its `path`: the folder that the others are relative to. Often one of its author's machine."""
    entries: tuple[tuple[Split, str], ...]

    def places(self, folders: Collection[str]) -> Places:
        """The folders that it names and that are there. What a second split names again stays with the first.

        A folder that is not there is none: exports name `val` and `test` even where they have none.

        Raises:
            Failure: `InputInvalid`: a path leads out of the source, or to a list of files, or train
                is not there while others are.
        """
        places: Places = {}
        for split, text in self.entries:
            place = self._found(split, text, folders)
            if place is not None:
                places.setdefault(place, split)
        if places and "train" not in places.values():
            raise self._failure("train", "", "is not there: name a folder of pictures")
        return places

    def _found(self, split: Split, text: str, folders: Collection[str]) -> str | None:
        if text.casefold().endswith(".txt"):
            raise self._failure(
                split, text, "is a list of files, which is not read: name a folder of pictures"
            )
        beside = self.file.rpartition("/")[0]
        bases = [base for base in (_joined(beside, self.root), beside) if base is not None]
        # As Ultralytics does: exports of Roboflow write `../` and mean `./`.
        texts = (text, text.removeprefix("../"))
        candidates = [_joined(base, each) for each in texts for base in bases]
        if all(candidate is None for candidate in candidates):
            raise self._failure(
                split,
                text,
                "leads out of the dataset: name a folder of it, relative to this file, with `/` "
                "between its parts",
            )
        there = (each for each in candidates if each == "" or each in folders)
        return next(there, None)

    def _failure(self, split: Split, text: str, problem: str) -> Failure:
        what = f"{split} `{shown(text, 100)}`" if text else split
        return Failure("InputInvalid", f"`{shown(self.file, 80)}`: {what} {problem}")


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
            raise Failure(
                "InputInvalid",
                f"`{shown(file, 80)}`: {shown(key, 20)} is neither a path nor a list of paths",
            )
        found[split] += [text for text in map(str.strip, texts) if text not in _ABSENT]
    entries = tuple((split, text) for split in SPLITS for text in found[split])
    return Division(file, root if isinstance(root, str) else "", entries)


def split_at(places: Places, path: str) -> Split | None:
    """The split of the nearest folder around a file that has one."""
    while path:
        path = path.rpartition("/")[0]
        if path in places:
            return places[path]
    return None


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
