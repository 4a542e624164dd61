"""Bounding boxes of a picture, and their packed form: 20 bytes each, because there are millions."""

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

# Concept, flags, then the four edges.
_BOX = struct.Struct("<HH4f")
_IGNORED = 1
BOX_BYTES = _BOX.size


class Box(NamedTuple):
    """One box, in pixels of the upright picture (after its EXIF orientation).

    Edges count from 0 at the picture's left and upper border; the maxima are exclusive, so width is
    `x_max - x_min`. They lie within the picture, and are rounded to 32-bit floats.
    """

    concept: int
    """Number of its concept: a place in the dataset's concepts."""
    x_min: float
    y_min: float
    x_max: float
    y_max: float
    ignored: bool = False
    """Neither to be found nor to be missed: VOC's `difficult`, COCO's `iscrowd`."""


def pack_boxes(boxes: Iterable[Box]) -> bytes:
    """The packed form, sorted: a picture's boxes have no order of their own."""
    return b"".join(
        sorted(_BOX.pack(box.concept, _IGNORED if box.ignored else 0, *box[1:5]) for box in boxes)
    )


def unpack_boxes(packed: bytes) -> Iterator[Box]:
    """The boxes of a packed form."""
    for concept, flags, x_min, y_min, x_max, y_max in _BOX.iter_unpack(packed):
        yield Box(concept, x_min, y_min, x_max, y_max, bool(flags & _IGNORED))


def renumbered(packed: bytes, numbers: Mapping[int, int]) -> bytes:
    """With other numbers for the concepts; boxes of a concept that has none are left out."""
    return pack_boxes(
        box._replace(concept=numbers[box.concept])
        for box in unpack_boxes(packed)
        if box.concept in numbers
    )
