"""The rows of a CSV file (RFC 4180: commas, double quotes, a header), as `csvlist.py` reads them."""

import csv
import difflib
import io
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Final, Literal, NamedTuple

from ..failure import Failure
from .member import shown

EDGES: Final = ("x_min", "y_min", "x_max", "y_max")
_OF_CONCEPTS: Final = ("path", "concepts", "not_concepts", "split", "group")
_OF_BOXES: Final = ("path", "concept", *EDGES, "split", "group")
_COLUMNS: Final = (*_OF_CONCEPTS, "concept", *EDGES)
# How much of its letters a column has in common with the one that it seems to be meant as.
_LIKENESS: Final = 0.75
_MOST_HEADER_BYTES: Final = 1024 * 1024

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
    header = _header(data)
    kind = _kind(name, header)
    if kind is None:
        return None
    places = {column: place for place, column in enumerate(header) if column in _COLUMNS}
    return Table(kind, frozenset(places), _rows(name, data, places, len(header)))


def _header(data: bytes) -> list[str]:
    """The names of the columns, of a file that may be anything."""
    start = io.StringIO(data[:_MOST_HEADER_BYTES].decode("utf-8-sig", "replace"), newline="")
    try:
        return [cell.strip().casefold() for cell in next(csv.reader(start), [])]
    except csv.Error:
        return []


def _rows(name: str, data: bytes, places: Mapping[str, int], width: int) -> Iterator[Row]:
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline=""), strict=True)
    line = 0
    try:
        for cells in reader:
            before, line = line, reader.line_num
            if before == 0 or not any(cell.strip() for cell in cells):
                continue
            present = {column: at for column, at in places.items() if at < len(cells)}
            found = {column: cells[at].strip() for column, at in present.items()}
            yield Row(line, found, _problem(len(cells), width))
    except csv.Error as error:
        raise Failure(
            "InputInvalid",
            f"`{name}`: the row that begins in line {line + 1} cannot be read as CSV: {error}; is a double quote "
            "left open?",
        ) from error
    except UnicodeDecodeError as error:
        raise Failure(
            "InputInvalid", f"`{name}` is not UTF-8 after line {line}: save it as CSV in UTF-8"
        ) from error


def _problem(cells: int, width: int) -> str:
    """What is wrong with a row of so many cells; empty where nothing is."""
    if cells > width:
        return f"{cells} cells for {width} columns: a cell with a comma needs double quotes"
    if cells < width:
        return f"cells of {width - cells} columns are missing: what is empty needs its comma too"
    return ""


def _kind(name: str, header: Sequence[str]) -> Kind | None:
    """What a file with these columns lists; None: it is another file."""
    for separator, what in ((";", "semicolons"), ("\t", "tabs")):
        columns = {cell.strip(' "') for cell in header[0].split(separator)} if header else set()
        if len(header) == 1 and _is_ours(columns):
            raise Failure(
                "InputInvalid", f"`{name}` has {what} between its columns: save it with commas"
            )
    if not _is_ours(set(header)):
        return None
    known = [column for column in header if column in _COLUMNS]
    twice = next((column for column in known if known.count(column) > 1), None)
    if twice is not None:
        raise Failure("InputInvalid", f"`{name}` has the column `{twice}` twice")
    kind: Kind = "boxes" if set(EDGES) & set(known) else "concepts"
    own = _OF_BOXES if kind == "boxes" else _OF_CONCEPTS
    _check_meant(name, header, own)
    foreign = next((column for column in known if column not in own), None)
    if foreign is not None:
        raise Failure(
            "InputInvalid",
            f"`{name}` lists {kind}, for which the column `{foreign}` has no meaning",
        )
    needed = ("concept", *EDGES) if kind == "boxes" else ("concepts",)
    missing = next((column for column in needed if column not in known), None)
    if missing is not None:
        raise Failure(
            "InputInvalid", f"`{name}` has the columns {', '.join(known)}, but no `{missing}`"
        )
    return kind


def _is_ours(columns: Set[str]) -> bool:
    """Whether a file with these columns says what pictures show."""
    return "path" in columns and bool(columns & {"concepts", "not_concepts", "concept", *EDGES})


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
