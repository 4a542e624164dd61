"""The layout `imageFolder`: one folder for each concept, optionally below folders for the splits.

`<concept>/<file>` or `<split>/<concept>/<file>`; folders that wrap all of it are seen through.
"""

import unicodedata
from collections.abc import Iterable
from typing import Final, NamedTuple

from ..failure import Failure
from .member import shown
from .store import Split

MAX_CONCEPTS: Final = 1000
MAX_CONCEPT_BYTES: Final = 64

SPLIT_FOLDERS: Final[dict[str, Split]] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


class Place(NamedTuple):
    """What an item's path says."""

    concepts: tuple[str]
    split: Split | None


class ImageFolder:
    """The layout of one source, told from the names of its folders."""

    def __init__(self, folders: Iterable[str]) -> None:
        """`folders` are all folders, those that only hold folders too.

        Raises:
            Failure: `InputInvalid`, `NoData` or `SingleConcept`'s kin: the folders make no sense as
                concepts.
        """
        tree = {tuple(folder.split("/")) for folder in folders}
        self._depth = _wrapping(tree)
        below = {parts[self._depth :] for parts in tree if len(parts) > self._depth}
        self._has_splits = _has_splits(below)
        level = 2 if self._has_splits else 1
        self.concepts = _concepts({parts[level - 1] for parts in below if len(parts) == level})
        """Names of the concepts, sorted, also of those whose folder is empty."""
        self._places: dict[str, Place | None] = {}
        if self._has_splits and not any(_split(parts[0]) == "train" for parts in below):
            raise Failure("NoData", "there are folders for validation or test, but none for train")

    @property
    def expected(self) -> str:
        """How an item's path should look."""
        return "<split>/<concept>/<file>" if self._has_splits else "<concept>/<file>"

    def place(self, path: str) -> Place | None:
        """What the path of a file says; None when the file is not directly in a concept's folder."""
        folder = path.rpartition("/")[0]
        # One for each folder: the files are many.
        if folder not in self._places:
            self._places[folder] = self._place_below(folder)
        return self._places[folder]

    def _place_below(self, folder: str) -> Place | None:
        parts = folder.split("/")[self._depth :] if folder else []
        if len(parts) != (2 if self._has_splits else 1):
            return None
        split = _split(parts[0]) if self._has_splits else None
        return Place((_concept(parts[-1]),), split)


def _split(folder: str) -> Split | None:
    return SPLIT_FOLDERS.get(folder.casefold())


def _concept(folder: str) -> str:
    # macOS writes decomposed names; the manifest that names the concept was typed elsewhere.
    return unicodedata.normalize("NFC", folder)


def _wrapping(tree: set[tuple[str, ...]]) -> int:
    """How many folders wrap everything: a single folder that has folders is no concept."""
    depth = 0
    while True:
        here = {parts[depth] for parts in tree if len(parts) > depth}
        deeper = any(len(parts) > depth + 1 for parts in tree)
        if len(here) != 1 or not deeper:
            return depth
        depth += 1


def _has_splits(below: set[tuple[str, ...]]) -> bool:
    top = {parts[0] for parts in below}
    with_folders = {parts[0] for parts in below if len(parts) > 1}
    if not any(_split(folder) for folder in with_folders):
        return False
    others = sorted(folder for folder in top if _split(folder) is None)
    if others:
        splits = sorted(folder for folder in with_folders if _split(folder))
        raise Failure(
            "InputInvalid",
            f"folder `{shown(others[0], 80)}` lies beside the splits {', '.join(splits)}: put concepts "
            "inside the split folders, or have no split folders",
        )
    return True


def _concepts(folders: set[str]) -> tuple[str, ...]:
    concepts = sorted({_concept(folder) for folder in folders})
    if len(concepts) > MAX_CONCEPTS:
        raise Failure(
            "InputInvalid", f"{len(concepts)} concepts are more than the {MAX_CONCEPTS} allowed"
        )
    known: dict[str, str] = {}
    for concept in concepts:
        if len(concept.encode()) > MAX_CONCEPT_BYTES:
            raise Failure(
                "InputInvalid",
                f"concept `{shown(concept, 80)}` is longer than {MAX_CONCEPT_BYTES} bytes; rename its "
                "folder",
            )
        twin = known.setdefault(concept.casefold(), concept)
        if twin != concept:
            raise Failure(
                "InputInvalid", f"concepts `{twin}` and `{concept}` differ only in case; rename one"
            )
    return tuple(concepts)
