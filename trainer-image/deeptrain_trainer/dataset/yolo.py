"""The layout `yolo` (as Ultralytics documents it for detection).

`images/<split>/<name>` with `labels/<split>/<name>.txt`, or `<split>/images/<name>` with
`<split>/labels/<name>.txt`; the names of the classes in data.yaml (or classes.txt), which may also
name the folders of the splits (division.py). A line is a class and a box: centre x, centre y,
width, height, as shares of the picture. A picture without lines, or without a file, is background.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final

import yaml

from ..failure import Failure
from .annotation import MAX_BOXES, ConceptNumbers, checked_box, fitted, numbers_shown
from .box import Box
from .division import Division, Places, read_division, split_at
from .layout import BadItem, InvalidLabelsError, Labels, Role, split_of
from .member import shown
from .store import Split

_MAX_LABELS_BYTES: Final = 4 * 1024 * 1024
_MAX_NAMES_BYTES: Final = 1024 * 1024
_MAX_LIST_BYTES: Final = 64 * 1024 * 1024
"""Most bytes of a list of files, and of all of them."""
_MAX_CLASS: Final = 0xFFFF
_IMAGES, _LABELS = "images", "labels"
# A share may be over 1 by what rounding to a few digits leaves.
_MOST: Final = 1.001


class Yolo:
    """The annotations of one source."""

    expected = "images/<split>/<name> or <split>/images/<name>"
    has_boxes = True
    required: tuple[str, ...] = ()

    def __init__(self) -> None:
        """Nothing was given."""
        self._concepts = ConceptNumbers()
        self.names = self._concepts.names
        # By the key that a picture and its label file have in common: five numbers for each box.
        self._lines: dict[str, array[float] | str] = {}
        self._seen: set[str] = set()
        self._names_file = ""
        self._numbers: list[int] = []
        self._divisions: list[Division] = []
        self._lists: dict[str, bytes | str] = {}
        self._lists_bytes = 0
        self._places: Places = {}
        # Listed files that have not come yet.
        self._unseen: set[str] = set()
        self._has_splits = False
        self._first, self._last = _MAX_CLASS, 0

    def annotation_limit(self, path: str) -> int:
        """Label files below `labels`, the file of names, and what may be a list of files."""
        folders, _, name = path.rpartition("/")
        name = name.casefold()
        if name.endswith((".yaml", ".yml")) or name == "classes.txt":
            return _MAX_NAMES_BYTES
        parts = folders.split("/")
        if not name.endswith(".txt"):
            return 0
        if _LABELS in parts:
            return _MAX_LABELS_BYTES
        # Among the pictures it is a label file in the wrong place, which is to be told.
        return 0 if _IMAGES in parts else _MAX_LIST_BYTES

    def annotate(self, path: str, data: bytes) -> None:
        """Takes a label file, the names, or what may be a list of files."""
        limit = self.annotation_limit(path)
        if limit == _MAX_LIST_BYTES:
            self._take_list(path, data)
            return
        if limit == _MAX_NAMES_BYTES:
            self._take_names(path, data)
            return
        try:
            lines = _lines(data)
        except InvalidLabelsError as error:
            self.lose(path, str(error))
            return
        self._lines[_key(path, _LABELS)] = lines
        if lines:
            self._first = min(self._first, int(min(lines[::5])))
            self._last = max(self._last, int(max(lines[::5])))

    def lose(self, path: str, problem: str) -> None:
        """A label file's picture is a bad item; without names nothing has a meaning."""
        limit = self.annotation_limit(path)
        if limit == _MAX_LIST_BYTES:
            self._lists[path] = f"cannot be read: {problem}"
            return
        if limit == _MAX_NAMES_BYTES:
            raise Failure("InputInvalid", f"`{shown(path)}` cannot be read: {problem}")
        self._lines[_key(path, _LABELS)] = f"{shown(path, 100)}: {problem}"

    def complete(self, folders: Collection[str], files: Iterable[str]) -> None:
        """Knows the splits by what data.yaml names, else by the folders of pictures and labels."""
        if not self._numbers:
            raise Failure(
                "NoData", "there is no data.yaml with the classes' names: a list or a map `names`"
            )
        below = {folder for folder in folders if {_IMAGES, _LABELS} & set(folder.split("/"))}
        splits = {_split(folder) for folder in below}
        by_name = "train" in splits and len(splits - {None}) > 1
        self._places = self._divided(folders, files, by_name)
        self._lists.clear()
        self._unseen = {path for path in self._places if path not in folders and path}
        named = set(self._places.values())
        self._has_splits = by_name or len(named) > 1

    def _divided(self, folders: Collection[str], files: Iterable[str], by_name: bool) -> Places:
        """What the files of names agree on.

        One that cannot be followed matters only where the folders' own names say nothing.
        """
        first, found = "", Places()
        problems: list[Failure] = []
        known = frozenset(files) if any(each.names_lists for each in self._divisions) else ()
        for division in sorted(self._divisions):
            try:
                places = division.places(folders, self._lists, known)
            except Failure as problem:
                problems.append(problem)
                continue
            if found and places and places != found:
                raise Failure(
                    "InputInvalid",
                    f"`{shown(first, 80)}` and `{shown(division.file, 80)}` name other folders: keep one",
                )
            if not found:
                first, found = division.file, places
        if not found and problems and not by_name:
            raise problems[0]
        return found

    def _split_of(self, path: str) -> Split | None:
        return split_at(self._places, path) or _split(path.rpartition("/")[0])

    def role(self, path: str) -> Role:
        """Items lie in a folder `images`, or below one; where data.yaml names folders, in those."""
        self._unseen.discard(path)
        if _IMAGES not in path.split("/")[:-1]:
            return "stray"
        self._seen.add(_key(path, _IMAGES))
        return "unlisted" if self._places and self._split_of(path) is None else "item"

    def labels(self, path: str, width: int, height: int) -> Labels:
        """What the lines of the picture's label file say."""
        found = self._lines.get(_key(path, _IMAGES), array("d"))
        if isinstance(found, str):
            raise InvalidLabelsError(found)
        rows = (found[at : at + 5] for at in range(0, len(found), 5))
        boxes = [self._box(row, number, width, height) for number, row in enumerate(rows, 1)]
        packed, clipped = fitted(boxes, width, height)
        split = self._split_of(path) if self._has_splits else None
        return Labels(self._concepts.shown_by(packed), split, packed, clipped)

    def leftovers(self) -> Iterator[BadItem]:
        """Label files without a picture, and listed pictures that are not there."""
        for path in sorted(self._unseen):
            yield BadItem(path, "a list that data.yaml names has it, but it is not there")
        for key in self._lines:
            if key not in self._seen:
                yield BadItem(f"{key}.txt", "it has no picture of its name: add it, or remove this")

    def _take_list(self, path: str, data: bytes) -> None:
        """Kept until it is known whether a data.yaml names it."""
        self._lists_bytes += len(data)
        is_fitting = self._lists_bytes <= _MAX_LIST_BYTES
        self._lists[path] = data if is_fitting else f"lists of more than {_MAX_LIST_BYTES} bytes"

    def _take_names(self, path: str, data: bytes) -> None:
        names = names_in(path, data)
        is_text = path.casefold().endswith(".txt")
        if names is None or (is_text and self._names_file.casefold().endswith((".yaml", ".yml"))):
            return
        if not is_text:
            self._divisions.append(read_division(path, _document(path, data)))
        numbers = [self._concepts.number(name) for name in names]
        both_yaml = not self._names_file.casefold().endswith(".txt")
        if self._names_file and both_yaml and numbers != self._numbers:
            raise Failure(
                "InputInvalid",
                f"`{shown(self._names_file, 80)}` and `{shown(path, 80)}` name other classes: keep one",
            )
        self._names_file, self._numbers = path, numbers

    def _box(self, row: array[float], number: int, width: int, height: int) -> Box:
        which = int(row[0])
        what = f"box {number}"
        if which >= len(self._numbers):
            hint = ""
            if self._first == 1 and self._last == len(self._numbers):
                hint = ": YOLO counts classes from 0, these seem to begin with 1"
            raise InvalidLabelsError(
                f"{what}: class {which}, but `{shown(self._names_file, 60)}` has "
                f"{len(self._numbers)} names{hint}"
            )
        x, y, wide, high = row[1:]
        edges = (
            (x - wide / 2) * width,
            (y - high / 2) * height,
            (x + wide / 2) * width,
            (y + high / 2) * height,
        )
        what += f" [{numbers_shown(f'{share:g}' for share in row[1:])}]"
        return checked_box(self._numbers[which], edges, ignored=False, what=what)


def _key(path: str, place: str) -> str:
    """Folders and name, which a picture and its label file have in common."""
    folder, _, file = path.rpartition("/")
    parts = folder.split("/")
    # The last one, as Ultralytics does.
    del parts[len(parts) - 1 - parts[::-1].index(place)]
    return "/".join([*parts, file.rpartition(".")[0] or file])


def _split(folder: str) -> Split | None:
    """The split whose folder is next to `images` or `labels`, above or below."""
    parts = folder.split("/")
    place = _IMAGES if _IMAGES in parts else _LABELS
    at = len(parts) - 1 - parts[::-1].index(place)
    near = parts[at + 1 : at + 2] + parts[max(0, at - 1) : at]
    return next((split for name in near if (split := split_of(name))), None)


def _lines(data: bytes) -> array[float]:
    """Class, centre x, centre y, width and height of each line, one after the other."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidLabelsError("not a text file") from error
    found = array("d")
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        found.extend(_row(f"line {number}", words))
        if len(found) > 5 * MAX_BOXES:
            raise InvalidLabelsError(f"more than {MAX_BOXES} boxes")
    return found


def _row(what: str, words: list[str]) -> list[float]:
    if len(words) != 5:
        why = "a class and four numbers are expected"
        if len(words) == 6:
            why = "a sixth is a confidence or a track, not a label: remove it"
        elif len(words) >= 7:
            why = "polygons and rotated boxes are not accepted, only upright boxes of 4 numbers"
        raise InvalidLabelsError(f"{what} has {len(words)} columns: {why}")
    try:
        row = [float(word) for word in words]
    except ValueError:
        raise InvalidLabelsError(f"{what} [{numbers_shown(words)}]: not five numbers") from None
    if not (row[0].is_integer() and 0 <= row[0] <= _MAX_CLASS):
        raise InvalidLabelsError(f"{what}: class {shown(words[0], 24)} is no whole number from 0")
    shares = row[1:]
    if any(share > _MOST for share in shares):
        raise InvalidLabelsError(
            f"{what} [{numbers_shown(words)}]: larger than 1, as if in pixels or percent: YOLO has "
            "shares of the picture, from 0 to 1"
        )
    if not all(share >= 0 for share in shares) or shares[2] <= 0 or shares[3] <= 0:
        raise InvalidLabelsError(
            f"{what} [{numbers_shown(words)}]: not a box: centre x, centre y, width and height are "
            "shares from 0 to 1"
        )
    return row


def names_in(path: str, data: bytes) -> list[str] | None:
    """The names of the classes by their numbers, of a data.yaml or a classes.txt; None where it has none.

    Raises:
        Failure: `InputInvalid`: it cannot be read, or the names are no names.
    """
    if path.casefold().endswith(".txt"):
        lines = (line.strip() for line in data.decode("utf-8", "replace").splitlines())
        return [line for line in lines if line]
    return _yaml_names(path, _document(path, data))


def _document(path: str, data: bytes) -> dict[Any, Any]:
    try:
        # Without any types: the classes `no` and `1` are named so.
        document = yaml.load(data, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        detail = shown(" ".join(str(error).split()), 120) or "nested too deeply"
        raise Failure(
            "InputInvalid", f"`{shown(path)}` is not readable as YAML: {detail}"
        ) from error
    return document if isinstance(document, dict) else {}


def _yaml_names(path: str, document: dict[Any, Any]) -> list[str] | None:
    """The names of the classes in the order of their numbers; None where the file has none."""
    names = document.get("names")
    if names is None:
        return None
    if isinstance(names, dict):
        places = [str(place) for place in range(len(names))]
        if set(names) != set(places):
            raise Failure(
                "InputInvalid", f"`{shown(path)}`: the keys of names are not 0, 1, 2, ..."
            )
        names = [names[place] for place in places]
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise Failure(
            "InputInvalid", f"`{shown(path)}`: names is neither a list nor a map of texts"
        )
    if len(names) > _MAX_CLASS:
        raise Failure("InputInvalid", f"`{shown(path)}`: {len(names)} names are too many")
    return list(names)
