"""The index of a stored dataset: where each item lies, what it shows and which items are the same
picture.

One binary file, little-endian: a header (magic, items, labels, boxes), one fixed record for each
item, then all label numbers as 16-bit integers, then all boxes in their packed form. It opens in
about a second for a million items. Of the format before, which had neither sizes nor boxes, all is
still read.

Where any item is partial, the format is the third: the labels of a partial item are followed by those
that it denies, each with the highest bit set, and by 0xFFFF.
"""

import struct
import sys
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .box import BOX_BYTES, Box, unpack_boxes

_MAGIC = b"DTINDEX2"
# Only where it is needed, so that the data of all others are read by every release.
_MAGIC_PARTIAL = b"DTINDEX3"
_DENIED, _PARTIAL = 0x8000, 0xFFFF
_HEADER = struct.Struct("<8sQQQ")
# SHA-256, group, shard, offset in the shard, bytes, width, height, time, first label, number of
# labels, first box, number of boxes.
_RECORD = struct.Struct("<32sIIQIIIIQHQI")

_MAGIC_1 = b"DTINDEX1"
_HEADER_1 = struct.Struct("<8sQQ")
# SHA-256, group, shard, offset in the shard, bytes, first label, number of labels.
_RECORD_1 = struct.Struct("<32sIIQIIH")


@dataclass(frozen=True, slots=True)
class Item:
    """One picture of a dataset."""

    index: int
    """Place in the dataset. The order depends on content and labels alone, so equal data have equal
    indices. The frames of a video lie side by side, in the order of their times.
    """
    labels: tuple[int, ...]
    """Numbers of the concepts it shows, ascending: places in `StoredDataset.concepts`. Where there
    are boxes: the concepts of those that are not ignored.
    """
    group: int
    """Items of one group are the same picture, or frames of one video, and belong in one split."""
    shard: int
    offset: int
    length: int
    """Bytes of the file."""
    sha256: bytes
    """Digest of the file's bytes."""
    width: int = 0
    """Pixels of the upright picture (after its EXIF orientation); 0 in an index of the format
    before.
    """
    height: int = 0
    time_ms: int = 0
    """Of a frame: milliseconds since the beginning of its video."""
    packed_boxes: bytes = b""
    """The boxes as `pack_boxes` gives them."""
    denied: tuple[int, ...] | None = None
    """Of a partial item: numbers of the concepts that it is known not to show, ascending; of those that are
    neither here nor in `labels` nothing is known. None: it shows nothing but `labels`.
    """

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Its boxes; none where it is background, or where the dataset has no boxes."""
        return tuple(unpack_boxes(self.packed_boxes))


def pack(items: Iterable[Item]) -> bytes:
    """The index file of `items`, which are in the order of their `index`."""
    labels = array("H")
    boxes = bytearray()
    records = bytearray()
    magic = _MAGIC
    for item in items:
        marks = list(item.labels)
        if item.denied is not None:
            magic = _MAGIC_PARTIAL
            marks += [*(_DENIED | label for label in item.denied), _PARTIAL]
        records += _RECORD.pack(
            item.sha256,
            item.group,
            item.shard,
            item.offset,
            item.length,
            item.width,
            item.height,
            item.time_ms,
            len(labels),
            len(marks),
            len(boxes) // BOX_BYTES,
            len(item.packed_boxes) // BOX_BYTES,
        )
        labels.extend(marks)
        boxes += item.packed_boxes
    header = _HEADER.pack(magic, len(records) // _RECORD.size, len(labels), len(boxes) // BOX_BYTES)
    if sys.byteorder == "big":
        labels.byteswap()
    return b"".join((header, records, labels, boxes))


def unpack(data: bytes) -> list[Item]:
    """The items of an index file.

    Raises:
        ValueError: The bytes are not an index file, or not all of one.
    """
    if data.startswith(_MAGIC_1):
        return list(_unpack_1(data))
    return list(_unpack_2(data))


def _unpack_2(data: bytes) -> Iterator[Item]:
    if len(data) < _HEADER.size:
        raise ValueError("the index is truncated")
    magic, count, label_count, box_count = _HEADER.unpack_from(data)
    if magic not in (_MAGIC, _MAGIC_PARTIAL):
        raise ValueError("not an index of this format")
    labels_at = _HEADER.size + count * _RECORD.size
    boxes_at = labels_at + 2 * label_count
    if len(data) != boxes_at + BOX_BYTES * box_count:
        raise ValueError("the index has a wrong size")
    all_labels = struct.unpack_from(f"<{label_count}H", data, labels_at)
    records = memoryview(data)[_HEADER.size : labels_at]
    for index, record in enumerate(_RECORD.iter_unpack(records)):
        sha256, group, shard, offset, length, width, height, time_ms = record[:8]
        first, number, first_box, boxes = record[8:]
        _check_range(index, "labels", first + number, label_count)
        _check_range(index, "boxes", first_box + boxes, box_count)
        labels, denied = _told_apart(all_labels[first : first + number])
        at = boxes_at + BOX_BYTES * first_box
        packed = data[at : at + BOX_BYTES * boxes]
        place = (group, shard, offset, length)
        yield Item(index, labels, *place, sha256, width, height, time_ms, packed, denied)


def _told_apart(marks: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...] | None]:
    """The labels of an item, and those that it denies."""
    if not marks or marks[-1] != _PARTIAL:
        return marks, None
    denied = tuple(mark ^ _DENIED for mark in marks[:-1] if mark & _DENIED)
    return marks[: len(marks) - 1 - len(denied)], denied


def _unpack_1(data: bytes) -> Iterator[Item]:
    if len(data) < _HEADER_1.size:
        raise ValueError("the index is truncated")
    _, count, label_count = _HEADER_1.unpack_from(data)
    labels_at = _HEADER_1.size + count * _RECORD_1.size
    if len(data) != labels_at + 2 * label_count:
        raise ValueError("the index has a wrong size")
    all_labels = struct.unpack_from(f"<{label_count}H", data, labels_at)
    records = memoryview(data)[_HEADER_1.size : labels_at]
    for index, record in enumerate(_RECORD_1.iter_unpack(records)):
        sha256, group, shard, offset, length, first, number = record
        _check_range(index, "labels", first + number, label_count)
        yield Item(index, all_labels[first : first + number], group, shard, offset, length, sha256)


def _check_range(index: int, what: str, end: int, count: int) -> None:
    if end > count:
        raise ValueError(f"item {index} has {what} beyond the end of the index")
