"""The order of the images and their random numbers are pure functions of seed and position."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrain_trainer.order import batch_items, evaluation_batches, uniforms
from deeptrain_trainer.share import Share, take_share

seeds = st.integers(0, 2**31 - 1)


@given(seed=seeds, items=st.integers(1, 60), batch_size=st.integers(1, 60))
def test_each_pass_shows_every_item_once(seed: int, items: int, batch_size: int) -> None:
    steps = -(-3 * items // batch_size)
    stream = np.concatenate([batch_items(seed, s, batch_size, items)[0] for s in range(steps)])
    for data_pass in range(3):
        shown = stream[data_pass * items : (data_pass + 1) * items]
        assert sorted(shown) == list(range(items))


def test_passes_count_the_items_that_were_shown() -> None:
    assert batch_items(0, 2, 4, 10)[1].tolist() == [0, 0, 1, 1]


def test_another_seed_and_another_pass_are_another_order() -> None:
    first = batch_items(0, 0, 100, 100)[0]
    assert first.tolist() != batch_items(1, 0, 100, 100)[0].tolist()
    assert first.tolist() != batch_items(0, 1, 100, 100)[0].tolist()
    assert first.tolist() == batch_items(0, 0, 100, 100)[0].tolist()


def test_numbers_of_an_item_do_not_depend_on_its_batch() -> None:
    passes, items = np.array([0, 0, 3]), np.array([5, 6, 7])
    together = uniforms(1, passes, items, 8)
    alone = uniforms(1, passes[2:], items[2:], 8)
    assert together[2].tolist() == alone[0].tolist()


def test_numbers_differ_by_seed_pass_and_item_and_are_uniform() -> None:
    passes, items = np.repeat(np.arange(50), 200), np.tile(np.arange(200), 50)
    draws = uniforms(0, passes, items, 8)
    assert len(np.unique(draws[:, 0])) > 9_900
    assert draws.min() >= 0 and draws.max() < 1
    counts = np.histogram(draws, 10, (0, 1))[0]
    assert abs(counts - 8_000).max() < 400
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.05
    assert not np.array_equal(draws, uniforms(1, passes, items, 8))


@pytest.mark.parametrize(
    ("items", "batch_size", "sizes"),
    [(40, 64, [16, 16, 8]), (5, 2, [2, 2, 1]), (3, 1, [1, 1, 1]), (0, 8, [])],
)
def test_an_evaluation_takes_all_in_order_and_no_more_at_a_time_than_a_step(
    items: int, batch_size: int, sizes: list[int]
) -> None:
    batches = list(evaluation_batches(items, batch_size))
    assert [len(batch) for batch in batches] == sizes
    assert [i for batch in batches for i in batch] == list(range(items))


def test_of_several_processes_one_evaluates_no_more_at_a_time_than_its_own_share() -> None:
    take_share(Share(rank=0, processes=4))
    try:
        assert [len(batch) for batch in evaluation_batches(5, 8)] == [2, 2, 1]
        assert [len(batch) for batch in evaluation_batches(2, 4)] == [1, 1]
    finally:
        take_share(Share())
