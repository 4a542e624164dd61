"""Steps, epochs and learning rates, as the catalogue of templates says."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deeptrain_trainer.run import Hyperparameters
from deeptrain_trainer.schedule import schedule_of


def hyperparameters(**changes: Any) -> Hyperparameters:
    values: dict[str, Any] = {
        "average_horizontal_flips": True,
        "base_gradient_multiplier": 1,
        "batch_size": 10,
        "image_size": 32,
        "init_epochs": 4,
        "step_epochs": 2,
        "logreg": True,
        "lrate": 1.0,
        "num_epochs": 10,
        "num_items_per_epoch": 0,
        "test_freq": 1,
    }
    return Hyperparameters(**(values | changes))


@pytest.mark.parametrize(
    ("items_per_epoch", "training_items", "want"),
    [(0, 100, 10), (0, 101, 11), (1, 100, 1), (250, 100, 25), (251, 100, 26)],
)
def test_an_epoch_is_its_items_rounded_up_to_whole_batches(
    items_per_epoch: int, training_items: int, want: int
) -> None:
    schedule = schedule_of(hyperparameters(num_items_per_epoch=items_per_epoch), training_items)
    assert schedule.steps_per_epoch == want
    assert schedule.steps == 10 * want


def test_the_rate_drops_after_init_epochs_and_then_after_each_step_epochs() -> None:
    schedule = schedule_of(hyperparameters(), 1_000)
    rates = [schedule.lrate_at((epoch + 1) * 100 - 1) for epoch in range(10)]
    drops = [0, 0, 0, 0, 1, 1, 2, 2, 3, 3]
    assert rates == pytest.approx([0.3**drop for drop in drops])
    first_step_after = schedule.lrate_at(400)
    assert first_step_after == pytest.approx(0.3)


def test_the_rate_rises_linearly_over_5_percent_of_the_steps_at_most_500() -> None:
    schedule = schedule_of(hyperparameters(), 1_000)
    assert schedule.warmup_steps == 50
    assert [schedule.lrate_at(s) for s in (0, 24, 49)] == pytest.approx([1 / 51, 25 / 51, 50 / 51])
    assert schedule.lrate_at(50) == 1.0
    assert schedule_of(hyperparameters(), 1_000_000).warmup_steps == 500


def test_a_cosine_falls_by_half_a_wave_over_all_the_steps() -> None:
    schedule = schedule_of(hyperparameters(lrate_schedule="cosine", lrate=2.0), 1_000)
    assert schedule.steps == 1_000 and schedule.warmup_steps == 50
    # 1 + the cosines of 45, 90, 135 and 180 degrees.
    rates = {250: 1 + 0.5**0.5, 500: 1.0, 750: 1 - 0.5**0.5, 1_000: 0.0}
    assert [schedule.lrate_at(step) for step in rates] == pytest.approx(list(rates.values()))
    assert 0 < schedule.lrate_at(999) < 1e-5
    assert schedule.lrate_at(0) == pytest.approx(2 / 51)


def test_a_cosine_is_not_moved_by_the_epochs_of_drops() -> None:
    one = schedule_of(hyperparameters(lrate_schedule="cosine"), 70)
    other = schedule_of(hyperparameters(lrate_schedule="cosine", init_epochs=1, step_epochs=1), 70)
    assert [one.lrate_at(step) for step in range(70)] == [other.lrate_at(s) for s in range(70)]


@pytest.mark.parametrize(
    ("test_freq", "want"), [(1, list(range(1, 11))), (3, [3, 6, 9, 10]), (5, [5, 10]), (10, [10])]
)
def test_evaluation_is_at_each_test_freq_th_epoch_and_the_last(
    test_freq: int, want: list[int]
) -> None:
    schedule = schedule_of(hyperparameters(test_freq=test_freq), 100)
    assert [epoch for epoch in range(1, 11) if schedule.evaluates_after(epoch)] == want
    assert schedule.evaluations_after(0) == len(want)
    assert schedule.evaluations_after(99) == 1
    assert schedule.evaluations_after(100) == 0


@given(
    lrate_schedule=st.sampled_from(["step", "cosine"]),
    lrate_decay=st.floats(0.01, 1),
    init_epochs=st.integers(1, 20),
    step_epochs=st.integers(1, 20),
    num_epochs=st.integers(1, 40),
    lrate=st.floats(1e-6, 10),
)
def test_after_warmup_the_rate_never_rises(
    lrate_schedule: str,
    lrate_decay: float,
    init_epochs: int,
    step_epochs: int,
    num_epochs: int,
    lrate: float,
) -> None:
    chosen = hyperparameters(
        lrate_schedule=lrate_schedule,
        lrate_decay=lrate_decay,
        init_epochs=init_epochs,
        step_epochs=step_epochs,
        num_epochs=num_epochs,
        lrate=lrate,
    )
    schedule = schedule_of(chosen, 70)
    rates = [schedule.lrate_at(step) for step in range(schedule.warmup_steps, schedule.steps)]
    assert all(0 < later <= earlier <= lrate for earlier, later in pairwise(rates))


@pytest.mark.parametrize(
    ("patience", "measured", "finished", "is_over"),
    [
        pytest.param(0, {1: 0.5, 2: 0.4, 3: 0.3}, 3, False, id="none"),
        pytest.param(0, {}, 10, True, id="the last epoch"),
        pytest.param(2, {}, 9, False, id="nothing to measure on"),
        pytest.param(2, {1: 0.5}, 1, False, id="the first"),
        pytest.param(2, {1: 0.5, 2: 0.4}, 2, False, id="one without a rise"),
        pytest.param(2, {1: 0.5, 2: 0.4, 3: 0.45}, 3, True, id="two without a rise"),
        pytest.param(2, {1: 0.5, 2: 0.5, 3: 0.5}, 3, True, id="equal is no rise"),
        pytest.param(2, {1: 0.5, 2: 0.4, 3: 0.51}, 3, False, id="a late rise"),
        pytest.param(2, {4: 0.5}, 7, False, id="not between evaluations"),
        pytest.param(2, {4: 0.5, 8: 0.4}, 8, True, id="at the next evaluation"),
    ],
)
def test_it_is_over_after_so_many_epochs_without_a_rise(
    patience: int, measured: dict[int, float], finished: int, is_over: bool
) -> None:
    schedule = schedule_of(hyperparameters(early_stop_epochs=patience), 100)
    assert schedule.is_over(finished, measured) == is_over
