"""The rows of a CSV file (RFC 4180: commas, double quotes, a header), as `csvlist.py` reads them."""

import csv
import difflib
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from ..failure import Failure
from .member import shown

EDGES: Final = ("x_min", "y_min", "x_max", "y_max")
_OF_CONCEPTS: Final = ("path", "concepts", "not_concepts", "split", "group")
_OF_BOXES: Final = ("path", "concept", *EDGES, "split", "group")
_COLUMNS: Final = (*_OF_CONCEPTS, "concept", *EDGES)
# How much of its letters a column has in common with the one that it seems to be meant as.
_LIKENESS: Final = 0.75

Kind = Literal["concepts", "boxes"]


class Row(NamedTuple):
    """A row that is not empty."""

    line: int
    """Number of its last line in the file."""
    cells: Mapping[str, str]
    """By the names of the columns that we know, without white space around."""
    problem: str
    """Why it cannot be read; empty if it can."""


class Table(NamedTuple):
    """A CSV file that lists pictures."""

    kind: Kind
    columns: frozenset[str]
    rows: Iterator[Row]
    """Raises Failure where the file is not CSV any more."""


def read_table(path: str, data: bytes) -> Table | None:
    """The file at `path`; None where it does not list pictures with their labels.

    Raises:
        Failure: `InputInvalid`: it seems to, but cannot be read.
    """
    name = shown(path, 80)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Failure("InputInvalid", f"`{name}` is not UTF-8: save it as CSV in UTF-8") from error
    lines = _lines(name, text)
    _, first = next(lines, (0, list[str]()))
    header = [cell.strip().casefold() for cell in first]
    kind = _kind(name, header)
    if kind is None:
        return None
    places = {column: place for place, column in enumerate(header) if column in _COLUMNS}
    return Table(kind, frozenset(places), _rows(lines, places, len(header)))


def _lines(name: str, text: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row, with the number of its last line."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise Failure(
            "InputInvalid", f"`{name}` line {reader.line_num} cannot be read as CSV: {error}"
        ) from error


def _rows(
    lines: Iterator[tuple[int, list[str]]], places: Mapping[str, int], width: int
) -> Iterator[Row]:
    for line, cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        problem = ""
        if len(cells) != width:
            problem = (
                f"{len(cells)} cells for {width} columns: a cell with a comma needs double quotes"
            )
        present = {column: place for column, place in places.items() if place < len(cells)}
        yield Row(
            line, {column: cells[place].strip() for column, place in present.items()}, problem
        )


def _kind(name: str, header: Sequence[str]) -> Kind | None:
    """What a file with these columns lists; None: it is another file."""
    for separator, what in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and "path" in header[0].split(separator) != ["path"]:
            raise Failure(
                "InputInvalid", f"`{name}` has {what} between its columns: save it with commas"
            )
    known = [column for column in header if column in _COLUMNS]
    if "path" not in known or len(known) == 1:
        return None
    twice = next((column for column in known if known.count(column) > 1), None)
    if twice is not None:
        raise Failure("InputInvalid", f"`{name}` has the column `{twice}` twice")
    kind: Kind = "boxes" if set(EDGES) & set(known) else "concepts"
    _check_meant(name, header, _OF_BOXES if kind == "boxes" else _OF_CONCEPTS)
    needed = ("concept", *EDGES) if kind == "boxes" else ("concepts",)
    missing = next((column for column in needed if column not in known), None)
    if missing is not None:
        raise Failure(
            "InputInvalid", f"`{name}` has the columns {', '.join(known)}, but no `{missing}`"
        )
    return kind


def _check_meant(name: str, header: Sequence[str], columns: Sequence[str]) -> None:
    """A column that nobody reads is welcome, unless it seems to be meant as one that is."""
    for column in header:
        meant = difflib.get_close_matches(column, columns, 1, _LIKENESS)
        if column not in columns and meant and meant[0] not in header:
            raise Failure(
                "InputInvalid",
                f"`{name}`: is the column `{shown(column, 40)}` meant as `{meant[0]}`? "
                "Give it that name, or one that is less alike",
            )
