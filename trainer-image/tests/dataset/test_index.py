"""The index file."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrain_trainer.dataset.box import Box, pack_boxes
from deeptrain_trainer.dataset.index import Item, pack, unpack

Row = tuple[
    tuple[int, ...], int, int, int, int, bytes, int, int, int, bytes, tuple[int, ...] | None
]
labels = st.lists(st.integers(0, 999), max_size=4, unique=True).map(lambda v: tuple(sorted(v)))
rows = st.lists(
    st.tuples(
        labels,
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**64 - 1),
        st.integers(0, 2**32 - 1),
        st.binary(min_size=32, max_size=32),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**32 - 1),
        st.integers(0, 3).flatmap(lambda n: st.binary(min_size=20 * n, max_size=20 * n)),
        st.none() | labels,
    ),
    max_size=40,
)


@given(rows)
def test_what_is_packed_is_unpacked(
    values: list[Row],
) -> None:
    items = [Item(place, *value) for place, value in enumerate(values)]
    assert unpack(pack(items)) == items


@given(rows, st.data())
def test_a_part_of_an_index_is_not_an_index(values: list[Row], data: st.DataObject) -> None:
    packed = pack([Item(place, *value) for place, value in enumerate(values)])
    cut = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(ValueError, match="index"):
        unpack(packed[:cut])


@given(st.binary(max_size=200))
def test_noise_is_not_an_index(noise: bytes) -> None:
    with pytest.raises(ValueError, match="index"):
        unpack(noise)


def test_boxes_are_read_as_they_were_given() -> None:
    boxes = [Box(3, 0.5, 1, 20.25, 30), Box(0, 0, 0, 4, 4, True)]
    item = Item(0, (3,), 0, 0, 0, 9, b"x" * 32, 640, 480, 0, pack_boxes(boxes))
    (read,) = unpack(pack([item]))
    assert (read.width, read.height, set(read.boxes)) == (640, 480, set(boxes))
    assert unpack(pack([Item(0, (3,), 0, 0, 0, 9, b"x" * 32)]))[0].boxes == ()


def test_only_partial_items_need_the_newest_format() -> None:
    whole, partial = (Item(0, (3,), 0, 0, 0, 9, b"x" * 32, denied=d) for d in (None, ()))
    assert pack([whole]).startswith(b"DTINDEX2")
    assert pack([whole, partial]).startswith(b"DTINDEX3")


def index_of_the_format_before() -> bytes:
    record = struct.pack("<32sIIQIIH", b"a" * 32, 5, 1, 70, 9, 0, 2)
    return struct.pack("<8sQQ", b"DTINDEX1", 1, 2) + record + struct.pack("<2H", 3, 8)


def test_an_index_of_the_format_before_is_read() -> None:
    assert unpack(index_of_the_format_before()) == [Item(0, (3, 8), 5, 1, 70, 9, b"a" * 32)]
    (item,) = unpack(index_of_the_format_before())
    assert (item.width, item.height, item.boxes) == (0, 0, ())


@given(st.integers(0, 24 + 58 + 3))
def test_a_part_of_an_index_of_the_format_before_is_none(cut: int) -> None:
    with pytest.raises(ValueError, match="index"):
        unpack(index_of_the_format_before()[:cut])
