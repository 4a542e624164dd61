"""What the formats with boxes share: numbers for concepts, and boxes that fit their picture.

Of each picture, what its annotation says is kept as packed boxes in the annotation's own measure,
or as the problem that it has: a million pictures need little more than their names.
"""

import math
from collections.abc import Iterable

from .box import Box, pack_boxes, unpack_boxes
from .layout import InvalidLabelsError, concept_name
from .member import shown

MAX_BOXES = 10_000
"""Most boxes of one picture."""
# What rounding in annotation files may amount to, in pixels.
_ROUNDING = 0.1

Kept = bytes | str
"""Packed boxes, or the problem of the annotation."""


class ConceptNumbers:
    """Numbers for concepts in the order in which they are met."""

    def __init__(self) -> None:
        """None was met."""
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._sets: dict[tuple[int, ...], tuple[str, ...]] = {}

    def number(self, name: str) -> int:
        """The concept's number."""
        name = concept_name(name)
        number = self._numbers.setdefault(name, len(self.names))
        if number == len(self.names):
            if number > 0xFFFF:
                raise InvalidLabelsError("there are more than 65,536 concepts")
            self.names.append(name)
        return number

    def shown_by(self, boxes: bytes) -> tuple[str, ...]:
        """Names of the concepts of the boxes that are not ignored, sorted."""
        numbers = tuple(sorted({box.concept for box in unpack_boxes(boxes) if not box.ignored}))
        # One tuple for each set: the items are many, the sets are few.
        if numbers not in self._sets:
            self._sets[numbers] = tuple(sorted(self.names[number] for number in numbers))
        return self._sets[numbers]


def checked_box(
    concept: int, edges: tuple[float, float, float, float], *, ignored: bool, what: str
) -> Box:
    """A box in the measure of its annotation: finite, and of some size.

    Args:
        concept: Number of its concept.
        edges: x_min, y_min, x_max, y_max.
        ignored: Whether it is `difficult` or a crowd.
        what: What the box is called in the message: where it stands, its numbers.

    Raises:
        InvalidLabelsError: It is not a box.
    """
    x_min, y_min, x_max, y_max = edges
    # Beyond 32-bit floats' whole numbers no picture has edges.
    if not all(math.isfinite(edge) and abs(edge) < 2**24 for edge in edges):
        raise InvalidLabelsError(f"{what}: not finite numbers of pixels; correct or remove the box")
    if x_max <= x_min or y_max <= y_min:
        raise InvalidLabelsError(f"{what}: the box has no area; correct or remove it")
    return Box(concept, x_min, y_min, x_max, y_max, ignored)


def kept(boxes: list[Box]) -> bytes:
    """The boxes of a picture, packed.

    Raises:
        InvalidLabelsError: They are too many.
    """
    if len(boxes) > MAX_BOXES:
        raise InvalidLabelsError(f"{len(boxes)} boxes are more than the {MAX_BOXES} allowed")
    return pack_boxes(boxes)


def fitted(boxes: Iterable[Box], width: int, height: int) -> tuple[bytes, int]:
    """The boxes within a picture of so many pixels, packed, and how many had to be clipped.

    Raises:
        InvalidLabelsError: A box lies outside of the picture.
    """
    inside: list[Box] = []
    clipped = 0
    for box in boxes:
        fit = box._replace(
            x_min=max(box.x_min, 0.0),
            y_min=max(box.y_min, 0.0),
            x_max=min(box.x_max, float(width)),
            y_max=min(box.y_max, float(height)),
        )
        if fit.x_max - fit.x_min <= 0 or fit.y_max - fit.y_min <= 0:
            edges = ", ".join(f"{edge:g}" for edge in box[1:5])
            raise InvalidLabelsError(
                f"box [{edges}] (x_min, y_min, x_max, y_max) lies outside of the picture of "
                f"{width}x{height} pixels; correct or remove it"
            )
        clipped += any(abs(a - b) > _ROUNDING for a, b in zip(fit[1:5], box[1:5], strict=True))
        inside.append(fit)
    return pack_boxes(inside), clipped


def check_size(stated: tuple[int, int], width: int, height: int) -> None:
    """Compares the size that an annotation states, 0 for unknown, with the picture's.

    Raises:
        InvalidLabelsError: They differ, so that nobody knows where the boxes are.
    """
    if 0 in stated or stated == (width, height):
        return
    cause = "annotate the picture as it is now"
    if stated == (height, width):
        cause = "turn its pixels, so that it needs no EXIF orientation, or correct the annotation"
    raise InvalidLabelsError(
        f"annotated at {stated[0]}x{stated[1]} pixels, but the upright picture has "
        f"{width}x{height}: {cause}"
    )


def numbers_shown(values: Iterable[object]) -> str:
    """Numbers of an annotation for a message."""
    return shown(", ".join(str(value)[:24] for value in values), 100)
