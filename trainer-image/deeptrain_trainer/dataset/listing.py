"""Pictures that an annotation file lists by name, and where in the source they are."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Generic, Protocol, TypeVar

from .layout import BadItem, InvalidLabelsError, split_in_name
from .member import shown
from .store import Split


class Listed(Protocol):
    """What is listed."""

    @property
    def file(self) -> str:
        """Path of the annotation file."""

    @property
    def where(self) -> str:
        """The place in it, for messages."""


_Picture = TypeVar("_Picture", bound=Listed)


class Listing(Generic[_Picture]):
    """The pictures that the annotation files of a source list."""

    def __init__(self) -> None:
        """Nothing is listed."""
        # More than one where splits have equal names, or one picture is in two files.
        self._by_name: dict[str, list[_Picture]] = defaultdict(list)
        self._of_path: dict[str, _Picture | str] = {}
        self.missing: list[BadItem] = []
        """Listed pictures that are not there, and what else of the annotations has no picture."""

    def add(self, name: str, picture: _Picture) -> None:
        """Takes the path of a picture, or an end of it."""
        self._by_name[name.removeprefix("./")].append(picture)

    def find(self, files: Iterable[str]) -> None:
        """Finds all that was added among the paths of the source."""
        ending: dict[str, list[str]] = {}
        for path in files:
            for end in _ends(path):
                if end in self._by_name:
                    ending.setdefault(end, []).append(path)
        while self._by_name:
            listed, pictures = self._by_name.popitem()
            places = _Places(listed, ending.pop(listed, []))
            for picture in pictures:
                self._enter(places, picture)

    def _enter(self, places: "_Places", picture: _Picture) -> None:
        path = places.nearest(picture.file)
        where = shown(picture.where, 100)
        if path is None:
            problem = f"listed in {where}, but "
            unclear = "its folder is not clear: several have it"
            problem += unclear if places.paths else "not there"
            self.missing.append(BadItem(places.listed, problem))
            return
        before = self._of_path.setdefault(path, picture)
        # Two places are enough to be told.
        if before is not picture and not isinstance(before, str):
            first = shown(before.where, 100)
            self._of_path[path] = f"listed twice: in {first}, in {where}; list it once"

    def __contains__(self, path: str) -> bool:
        """Whether the file at `path` is listed."""
        return path in self._of_path

    def __iter__(self) -> Iterator[tuple[str, _Picture]]:
        """The paths that were found, and what is listed of them; without those that are listed twice."""
        for path, picture in self._of_path.items():
            if not isinstance(picture, str):
                yield path, picture

    def at(self, path: str) -> _Picture:
        """What is listed of the picture at `path`.

        Raises:
            InvalidLabelsError: It is listed twice.
        """
        picture = self._of_path[path]
        if isinstance(picture, str):
            raise InvalidLabelsError(picture)
        return picture


def _ends(path: str) -> Iterator[str]:
    """The path, and what is left of it without its first folders."""
    yield path
    while "/" in path:
        path = path.partition("/")[2]
        yield path


class _Places:
    """The paths of the source that end in one listed name. Many may: views of patients, each in a folder of his own."""

    def __init__(self, listed: str, paths: list[str]) -> None:
        self.listed = listed
        self.paths = frozenset(paths)

    def nearest(self, file: str) -> str | None:
        """The one that an annotation file speaks of; None where that is not clear.

        Relative to its own folder, or to the root of the source where folders are named; in its own folder; in a
        folder of its split; at the root.
        """
        if len(self.paths) <= 1:
            return next(iter(self.paths), None)
        beside, split = file.removesuffix(file.rpartition("/")[2]), split_in_name(file)
        exact = [beside + self.listed, beside + self.listed.rpartition("/")[2]]
        if "/" in self.listed:
            exact.insert(1, self.listed)
        for path in exact:
            if path in self.paths:
                return path
        of_split = self._by_split.get(split, [])
        is_at_root = self.listed in self.paths
        if len(of_split) == 1 and not (split is None and is_at_root):
            return of_split[0]
        return self.listed if is_at_root else None

    @cached_property
    def _by_split(self) -> dict[Split | None, list[str]]:
        found: dict[Split | None, list[str]] = defaultdict(list)
        for path in sorted(self.paths):
            found[split_in_name(path)].append(path)
        return dict(found)
