"""The index file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrain_trainer.dataset.index import Item, pack, unpack

rows = st.lists(
    st.tuples(
        st.lists(st.integers(0, 999), max_size=4, unique=True).map(lambda v: tuple(sorted(v))),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**64 - 1),
        st.integers(0, 2**32 - 1),
        st.binary(min_size=32, max_size=32),
    ),
    max_size=40,
)


@given(rows)
def test_what_is_packed_is_unpacked(
    values: list[tuple[tuple[int, ...], int, int, int, int, bytes]],
) -> None:
    items = [Item(place, *value) for place, value in enumerate(values)]
    assert unpack(pack(items)) == items


@given(rows, st.data())
def test_a_part_of_an_index_is_not_an_index(
    values: list[tuple[tuple[int, ...], int, int, int, int, bytes]], data: st.DataObject
) -> None:
    packed = pack([Item(place, *value) for place, value in enumerate(values)])
    cut = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(ValueError, match="index"):
        unpack(packed[:cut])


@given(st.binary(max_size=200))
def test_noise_is_not_an_index(noise: bytes) -> None:
    with pytest.raises(ValueError, match="index"):
        unpack(noise)
