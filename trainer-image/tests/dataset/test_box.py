"""Boxes, packed and read back."""

from hypothesis import given
from hypothesis import strategies as st

from deeptrain_trainer.dataset.box import BOX_BYTES, Box, pack_boxes, renumbered, unpack_boxes

edges = st.floats(0, 10_000, width=32)
boxes = st.lists(
    st.builds(Box, st.integers(0, 999), edges, edges, edges, edges, st.booleans()), max_size=20
)


@given(boxes)
def test_what_is_packed_is_unpacked_in_an_order_of_its_own(some: list[Box]) -> None:
    packed = pack_boxes(some)
    assert sorted(unpack_boxes(packed)) == sorted(some)
    assert pack_boxes(reversed(some)) == packed
    assert len(packed) == BOX_BYTES * len(some)


def test_concepts_get_other_numbers_and_the_nameless_are_left_out() -> None:
    one, two = Box(4, 0, 1, 2, 3), Box(7, 0, 1, 2, 3, True)
    assert list(unpack_boxes(renumbered(pack_boxes([one, two]), {7: 0}))) == [
        two._replace(concept=0)
    ]
