"""What every format of labels can do: the protocol that the import speaks, and the rules for names.

A format is one file beside this one, one line in `layouts.py`, and one in `autoformat.py` where it has annotations.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from typing import Final, Literal, NamedTuple, Protocol

from ..failure import Failure
from .member import shown
from .store import Split

MAX_CONCEPTS: Final = 1000
MAX_CONCEPT_BYTES: Final = 64
_WORD: Final = re.compile(r"[A-Za-z]+")

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


Role = Literal["item", "stray", "unlisted"]
"""An item; a file where none is expected, which is told if it is a picture; or a file that the
source leaves out of the dataset by its own lists.
"""


class Labels(NamedTuple):
    """What the source says of one item."""

    concepts: tuple[str, ...]
    """Names, sorted."""
    split: Split | None
    boxes: bytes = b""
    """Packed; their concepts' numbers are places in `Layout.names`."""
    clipped: int = 0
    """How many of the boxes reached beyond the picture."""
    denied: tuple[str, ...] | None = None
    """Names of the concepts that it is known not to show, sorted: of the others nothing is known. None: it shows
    nothing but `concepts`.
    """
    group: str = ""
    """Items of one name belong in one split; empty: of none."""


class BadItem(NamedTuple):
    """An item that is left out."""

    path: str
    problem: str

    def to_json(self, path_units: int = 512, problem_units: int = 256) -> dict[str, str]:
        """As the contract spells it, on one line, within bounds that count UTF-16 code units."""
        return {
            "path": shown(self.path, path_units),
            "problem": shown(self.problem, problem_units),
        }


class InvalidLabelsError(Exception):
    """What the source says of an item cannot be used; the message says why and what to do."""


class Layout(Protocol):
    """One source in one format: takes its annotations, then tells what each item shows."""

    @property
    def names(self) -> list[str]:
        """Names of all concepts so far; boxes have places in it."""

    @property
    def has_boxes(self) -> bool:
        """Whether the labels are boxes. Asked once the annotations are complete."""

    @property
    def required(self) -> Iterable[str]:
        """Concepts that the source declares with a place for their items: one without is a fault."""

    @property
    def expected(self) -> str:
        """How an item's path should look."""

    def annotation_limit(self, path: str) -> int:
        """Most bytes of the annotation file `path`; 0 where it is no annotation file."""

    def annotate(self, path: str, data: bytes) -> None:
        """Takes an annotation file.

        Raises:
            Failure: `InputInvalid`: it damages more than one item's labels.
        """

    def lose(self, path: str, problem: str) -> None:
        """Takes note of an annotation file that cannot be read. Raises as `annotate`."""

    def complete(self, folders: Collection[str], files: Iterable[str]) -> None:
        """Says that all annotations were given, and which folders and other files there are.

        Raises:
            Failure: They make no sense together.
        """

    def role(self, path: str) -> Role:
        """What the file at `path` is. Called once for each file that is no annotation."""

    def labels(self, path: str, width: int, height: int) -> Labels:
        """What an item shows, whose picture has so many pixels.

        Raises:
            InvalidLabelsError: The labels cannot be used.
        """

    def leftovers(self) -> Iterator[BadItem]:
        """What was annotated and never came. Called last."""


def split_of(name: str) -> Split | None:
    """The split that a folder or a file is named after."""
    return SPLIT_FOLDERS.get(name.casefold())


def split_in_name(path: str) -> Split | None:
    """The split that a word of a file's name is (`instances_train2017.json`), or one of its nearest folder's."""
    *folders, name = path.split("/")
    for text in (name.rpartition(".")[0], *reversed(folders)):
        found = [split for word in _WORD.findall(text) if (split := split_of(word))]
        if found:
            return found[-1]
    return None


def concept_name(name: str) -> str:
    """The one spelling: macOS writes decomposed names, and the manifest was typed elsewhere."""
    return unicodedata.normalize("NFC", name)


def checked_concepts(names: Iterable[str]) -> tuple[str, ...]:
    """The names, sorted.

    Raises:
        Failure: `InputInvalid`: too many, one is too long, has control characters or is empty, or
            two differ only in case.
    """
    concepts = sorted(set(names))
    if len(concepts) > MAX_CONCEPTS:
        raise Failure(
            "InputInvalid", f"{len(concepts)} concepts are more than the {MAX_CONCEPTS} allowed"
        )
    known: dict[str, str] = {}
    for concept in concepts:
        if len(concept.encode("utf-8", "surrogatepass")) > MAX_CONCEPT_BYTES:
            raise Failure(
                "InputInvalid",
                f"concept `{shown(concept, 80)}` is longer than {MAX_CONCEPT_BYTES} bytes; rename it",
            )
        if not concept.strip() or shown(concept, 1000) != concept:
            raise Failure(
                "InputInvalid",
                f"concept `{shown(concept, 80)}` is blank or has control characters; rename it",
            )
        twin = known.setdefault(concept.casefold(), concept)
        if twin != concept:
            raise Failure(
                "InputInvalid", f"concepts `{twin}` and `{concept}` differ only in case; rename one"
            )
    return tuple(concepts)
