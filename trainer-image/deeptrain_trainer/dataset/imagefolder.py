"""The layout `imageFolder`: one folder for each concept, optionally below folders for the splits.

`<concept>/<file>` or `<split>/<concept>/<file>`; folders that wrap all of it are seen through.
"""

from collections.abc import Collection, Iterable, Iterator

from ..failure import Failure
from .layout import BadItem, Labels, Role, checked_concepts, concept_name, split_of
from .member import shown


class ImageFolder:
    """The layout of one source, told from the names of its folders."""

    has_boxes = False

    def __init__(self) -> None:
        """Nothing is known."""
        self.names: list[str] = []
        self.required: tuple[str, ...] = ()
        """Names of the concepts, sorted, also of those whose folder is empty."""
        self._depth = 0
        self._has_splits = False
        self._places: dict[str, Labels | None] = {}

    def annotation_limit(self, path: str) -> int:
        """The folders' names are all that there is."""
        return 0

    def annotate(self, path: str, data: bytes) -> None:
        """Is never called."""

    def lose(self, path: str, problem: str) -> None:
        """Is never called."""

    def complete(self, folders: Collection[str], files: Iterable[str]) -> None:
        """Tells concepts from splits and wrappings.

        Raises:
            Failure: `InputInvalid`, `NoData`: the folders make no sense as concepts.
        """
        tree = {tuple(folder.split("/")) for folder in folders}
        self._depth = _wrapping(tree)
        below = {parts[self._depth :] for parts in tree if len(parts) > self._depth}
        self._has_splits = _has_splits(below)
        level = 2 if self._has_splits else 1
        self.required = checked_concepts(
            concept_name(parts[level - 1]) for parts in below if len(parts) == level
        )
        if self._has_splits and not any(split_of(parts[0]) == "train" for parts in below):
            raise Failure("NoData", "there are folders for validation or test, but none for train")

    @property
    def expected(self) -> str:
        """How an item's path should look."""
        return "<split>/<concept>/<file>" if self._has_splits else "<concept>/<file>"

    def role(self, path: str) -> Role:
        """Items lie directly in a concept's folder."""
        return "stray" if self._place(path) is None else "item"

    def labels(self, path: str, width: int, height: int) -> Labels:
        """The concept and the split that the folders name."""
        place = self._place(path)
        assert place is not None
        return place

    def leftovers(self) -> Iterator[BadItem]:
        """None: nothing is said of items that are not there."""
        return iter(())

    def _place(self, path: str) -> Labels | None:
        folder = path.rpartition("/")[0]
        # One for each folder: the files are many.
        if folder not in self._places:
            self._places[folder] = self._place_below(folder)
        return self._places[folder]

    def _place_below(self, folder: str) -> Labels | None:
        parts = folder.split("/")[self._depth :] if folder else []
        if len(parts) != (2 if self._has_splits else 1):
            return None
        split = split_of(parts[0]) if self._has_splits else None
        return Labels((concept_name(parts[-1]),), split)


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
    if not any(split_of(folder) for folder in with_folders):
        return False
    others = sorted(folder for folder in top if split_of(folder) is None)
    if others:
        splits = sorted(folder for folder in with_folders if split_of(folder))
        raise Failure(
            "InputInvalid",
            f"folder `{shown(others[0], 80)}` lies beside the splits {', '.join(splits)}: put concepts "
            "inside the split folders, or have no split folders",
        )
    return True
