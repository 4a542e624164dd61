"""Metrics of whole videos from the scores of their frames."""

import numpy as np
import pytest

from deeptrain_trainer.dataset.index import Item
from deeptrain_trainer.videos import are_frames, by_video, video_values


def frame(group: int, time_ms: int) -> Item:
    return Item(0, (0,), group, 0, 0, 1, bytes(32), 8, 8, time_ms)


ITEMS = [frame(7, 0), frame(7, 1000), frame(7, 2000), frame(3, 0), frame(9, 0), frame(9, 1000)]
TRUTH = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 1]], np.bool_)
# One frame of the first video is taken for the other concept; of the last both are nearly so.
SCORES = np.array(
    [[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.1, 0.9], [0.6, 0.4], [0.3, 0.7]], np.float32
)


def test_a_video_has_the_mean_of_its_frames_scores() -> None:
    groups = np.array([item.group for item in ITEMS])
    scores, truth = by_video(SCORES, TRUTH, groups, exclusive=True)
    np.testing.assert_allclose(scores, [[0.1, 0.9], [0.6, 0.4], [0.45, 0.55]], atol=1e-6)
    assert truth.tolist() == [[False, True], [True, False], [False, True]]


def test_frames_that_are_wrong_do_not_make_a_video_wrong() -> None:
    values = video_values(SCORES, TRUTH, ITEMS, ["a", "b"], exclusive=True, softmax=True)
    assert values["video_top1"] == 1
    assert values["video_log_loss"] == pytest.approx(-np.log([0.9, 0.6, 0.55]).mean(), rel=1e-5)
    assert set(values) == {
        "video_top1",
        "video_macro_f1",
        "video_macro_ap",
        "video_macro_roc_auc",
        "video_log_loss",
    }


def test_overlapping_concepts_have_the_names_of_the_contract() -> None:
    values = video_values(SCORES, TRUTH, ITEMS, ["a", "b"], exclusive=False, softmax=False)
    assert set(values) == {"video_macro_ap", "video_macro_f1"}


def test_a_video_shows_what_most_of_its_frames_show_or_what_any_shows() -> None:
    truth = np.array([[1, 0], [0, 1], [0, 1]], np.bool_)
    scores, groups = np.zeros((3, 2), np.float32), np.array([4, 4, 4])
    assert by_video(scores, truth, groups, exclusive=True)[1].tolist() == [[False, True]]
    assert by_video(scores, truth, groups, exclusive=False)[1].tolist() == [[True, True]]


def test_pictures_are_no_frames() -> None:
    assert are_frames(ITEMS)
    assert not are_frames([frame(1, 0), frame(2, 0)])
    assert not are_frames([])
