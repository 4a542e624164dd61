"""The layout `csv`: CSV files that list pictures with their concepts, or with boxes.

`path,concepts[,not_concepts][,split][,group]`, several concepts separated by semicolons; or
`path,concept,x_min,y_min,x_max,y_max[,split][,group]` in pixels, a row for each box, and one without
concept for a picture that shows none. Splits may also be told by the names of the files, or of the
pictures' folders.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final, NamedTuple

from ..failure import Failure
from .annotation import MAX_BOXES, ConceptNumbers, Kept, checked_box, fitted, numbers_shown
from .box import BOX_BYTES, Box, pack_boxes, unpack_boxes
from .csvtable import EDGES, Kind, Row, Table, read_table
from .layout import (
    SPLIT_FOLDERS,
    BadItem,
    InvalidLabelsError,
    Labels,
    Role,
    concept_name,
    split_in_name,
    split_of,
)
from .listing import Listing
from .member import shown
from .store import Split

MAX_CSV_BYTES: Final = 128 * 1024 * 1024
_SEPARATOR: Final = ";"

Concepts = tuple[str, ...]


class _Listed(NamedTuple):
    """A picture that a file lists."""

    file: str
    """Path of the CSV file."""
    line: int
    """Of its last row."""
    concepts: Concepts = ()
    denied: Concepts | None = None
    boxes: Kept = b""
    split: Split | None = None
    group: str = ""
    problem: str = ""

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.file} line {self.line}"


class CsvList:
    """The lists of one source."""

    expected = "a path that a CSV file lists in its column path"
    required: tuple[str, ...] = ()

    def __init__(self) -> None:
        """Nothing was given."""
        self._concepts = ConceptNumbers()
        self.names = self._concepts.names
        self.has_boxes = False
        self._listing: Listing[_Listed] = Listing()
        self._files: dict[str, Kind] = {}
        # One tuple for each set of concepts: the pictures are many, the sets are few.
        self._sets: dict[Concepts, Concepts] = {}
        self._has_splits = False

    def annotation_limit(self, path: str) -> int:
        """All CSV files."""
        return MAX_CSV_BYTES if path.casefold().endswith(".csv") else 0

    def annotate(self, path: str, data: bytes) -> None:
        """Takes a CSV file; one that lists no pictures is not ours."""
        table = read_table(path, data)
        if table is None:
            return
        for other, kind in self._files.items():
            if kind != table.kind:
                raise Failure(
                    "InputInvalid",
                    f"`{shown(other, 80)}` lists {kind}, `{shown(path, 80)}` lists {table.kind}: "
                    "make two Datasets of them",
                )
        self._files[path] = table.kind
        self.has_boxes = table.kind == "boxes"
        listed = self._boxes(path, table) if self.has_boxes else self._tags(path, table)
        for name, picture in listed:
            self._listing.add(name, picture)

    def lose(self, path: str, problem: str) -> None:
        """Nobody knows how many pictures it speaks of."""
        raise Failure("InputInvalid", f"`{shown(path)}` cannot be read: {problem}")

    def complete(self, folders: Collection[str], files: Iterable[str]) -> None:
        """Finds the pictures that are listed, and whether they have splits.

        Raises:
            Failure: `NoData`: nothing is listed, or nothing to learn from.
        """
        if not self._files:
            raise Failure(
                "NoData",
                "there is no CSV file in UTF-8 whose first line has the columns path and concepts, or path, concept, "
                f"{', '.join(EDGES)}",
            )
        self._listing.find(files)
        splits = {_split(path, picture) for path, picture in self._listing} - {None}
        if len(splits) > 1 and "train" not in splits:
            raise Failure(
                "NoData", "there are pictures for validation and test, but none for train"
            )
        self._has_splits = len(splits) > 1

    def role(self, path: str) -> Role:
        """Items are those that are listed."""
        return "item" if path in self._listing else "stray"

    def labels(self, path: str, width: int, height: int) -> Labels:
        """What the picture's rows say."""
        picture = self._listing.at(path)
        split = _split(path, picture) if self._has_splits else None
        problem = picture.problem
        if self._has_splits and split is None:
            problem = problem or "it has no split, although others have one"
        if problem:
            raise InvalidLabelsError(f"{shown(picture.where, 100)}: {problem}")
        if not self.has_boxes:
            return Labels(picture.concepts, split, denied=picture.denied, group=picture.group)
        if isinstance(picture.boxes, str):
            raise InvalidLabelsError(picture.boxes)
        packed, clipped = fitted(unpack_boxes(picture.boxes), width, height)
        shows = self._concepts.shown_by(packed)
        return Labels(shows, split, packed, clipped, group=picture.group)

    def leftovers(self) -> Iterator[BadItem]:
        """Listed pictures that are not there, and rows of no picture."""
        return iter(self._listing.missing)

    def _tags(self, file: str, table: Table) -> Iterator[tuple[str, _Listed]]:
        """A picture of each row."""
        is_partial = "not_concepts" in table.columns
        for row in self._rows(file, table):
            concepts = self._names(row.cells.get("concepts", ""))
            denied = self._names(row.cells.get("not_concepts", "")) if is_partial else None
            both = sorted(set(concepts) & set(denied or ()))
            problem = f"`{shown(both[0], 80)}` is in concepts and in not_concepts" if both else ""
            yield (
                row.cells["path"],
                _placed(_Listed(file, row.line, concepts, denied), row, problem),
            )

    def _boxes(self, file: str, table: Table) -> Iterator[tuple[str, _Listed]]:
        """A picture of all rows with one path."""
        boxes: dict[str, bytearray] = {}
        pictures: dict[str, _Listed] = {}
        for row in self._rows(file, table):
            path, problem = row.cells["path"], ""
            found = boxes.setdefault(path, bytearray())
            try:
                # Packed at once: a file may have millions.
                found += pack_boxes(self._box(row))
            except InvalidLabelsError as error:
                problem = str(error)
            picture = _placed(_Listed(file, row.line), row, problem)
            pictures[path] = _merged(pictures[path], picture) if path in pictures else picture
        for path, picture in pictures.items():
            packed = bytes(boxes.pop(path))
            if len(packed) > MAX_BOXES * BOX_BYTES:
                yield path, picture._replace(boxes=f"more than {MAX_BOXES} boxes")
            else:
                yield path, picture._replace(boxes=pack_boxes(unpack_boxes(packed)))

    def _rows(self, file: str, table: Table) -> Iterator[Row]:
        """The rows that have a path; the others are told as bad."""
        for row in table.rows:
            if row.cells.get("path"):
                yield row
            else:
                self._listing.missing.append(BadItem(file, f"line {row.line} has no path"))

    def _box(self, row: Row) -> list[Box]:
        """The row's box; none where concept and edges are empty."""
        texts = [row.cells.get(column, "") for column in ("concept", *EDGES)]
        if not any(texts) or row.problem:
            return []
        what = f"box [{numbers_shown(texts[1:])}]"
        if not all(texts):
            empty = ("concept", *EDGES)[texts.index("")]
            raise InvalidLabelsError(
                f"{what}: {empty} is empty; of a picture without boxes, all are"
            )
        try:
            x_min, y_min, x_max, y_max = (float(text) for text in texts[1:])
        except ValueError:
            raise InvalidLabelsError(f"{what}: not four numbers") from None
        number = self._concepts.number(texts[0])
        edges = (x_min, y_min, x_max, y_max)
        return [checked_box(number, edges, ignored=False, what=what)]

    def _names(self, cell: str) -> Concepts:
        """The concepts of a cell, sorted."""
        parts = (part.strip() for part in cell.split(_SEPARATOR))
        names = tuple(sorted({concept_name(part) for part in parts if part}))
        return self._sets.setdefault(names, names)


def _placed(picture: _Listed, row: Row, problem: str) -> _Listed:
    """With the row's split and group, and its first problem."""
    text = row.cells.get("split", "")
    split = split_of(text)
    if split is None and text:
        problem = problem or f"split `{shown(text, 40)}` is none of {', '.join(SPLIT_FOLDERS)}"
    group = row.cells.get("group", "")
    return picture._replace(split=split, group=group, problem=row.problem or problem)


def _merged(before: _Listed, after: _Listed) -> _Listed:
    """What two rows say of one picture; the first problem stays, with its line."""
    if before.problem or after.problem:
        return before if before.problem else after
    if (before.split, before.group) != (after.split, after.group):
        return after._replace(problem=f"another split or group than in line {before.line}")
    return after


def _split(path: str, picture: _Listed) -> Split | None:
    """What its row says, else the name of the CSV file, else one of the folders that it lies in."""
    named = picture.split or split_in_name(picture.file.rpartition("/")[2])
    folders = reversed(path.split("/")[:-1])
    return named or next((split for folder in folders if (split := split_of(folder))), None)
