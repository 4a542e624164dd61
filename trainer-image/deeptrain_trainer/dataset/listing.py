"""Pictures that an annotation file lists by name, and where in the source they are."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from .layout import BadItem, InvalidLabelsError, split_in_name
from .member import shown


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
        places: dict[str, list[str]] = defaultdict(list)
        for path in files:
            for end in _ends(path):
                if end in self._by_name:
                    places[end].append(path)
        while self._by_name:
            listed, pictures = self._by_name.popitem()
            for picture in pictures:
                self._enter(listed, picture, places.get(listed, []))

    def _enter(self, listed: str, picture: _Picture, paths: list[str]) -> None:
        path = _nearest(picture.file, listed, paths)
        where = shown(picture.where, 100)
        if path is None:
            problem = f"listed in {where}, but "
            problem += "its folder is not clear: several have it" if paths else "not there"
            self.missing.append(BadItem(listed, problem))
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


def _nearest(file: str, listed: str, paths: list[str]) -> str | None:
    """The one of `paths` that an annotation file speaks of; None where that is not clear.

    Relative to its own folder; in its own folder; in a folder of its split; relative to the root of the source.
    """
    if len(paths) <= 1:
        return paths[0] if paths else None
    folder, split = file.rpartition("/")[0], split_in_name(file)
    of_split = [path for path in paths if split_in_name(path) == split]
    candidates = (
        [path for path in paths if path == f"{folder}/{listed}".removeprefix("/")],
        [path for path in paths if path.rpartition("/")[0] == folder],
        of_split if split is not None else [],
        [path for path in paths if path == listed],
        of_split,
    )
    return next((found[0] for found in candidates if len(found) == 1), None)
