"""The worst mistakes of a classifier."""

import json

import numpy as np

from deeptrain_trainer.figures.mistakes import (
    Mistake,
    exclusive_mistakes,
    mistake_files,
    overlapping_mistakes,
)

from .painted import Painted, colour, has_colour, pixels

NAMES = ["a", "猫", "c"]
# Right, narrowly wrong, surely wrong, right.
SCORES = np.array(
    [[0.8, 0.1, 0.1], [0.3, 0.4, 0.3], [0.05, 0.05, 0.9], [0.1, 0.6, 0.3]], np.float32
)
TRUTH = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0]], np.bool_)


def test_the_surest_mistake_comes_first() -> None:
    first, second = exclusive_mistakes(SCORES, TRUTH)
    assert (first.item, first.concept, second.item, second.concept) == (2, 2, 1, 1)
    assert np.isclose(first.error, 0.85) and np.isclose(second.error, 0.1)


def test_the_json_says_which_file_it_was_and_what_was_predicted() -> None:
    files = mistake_files(SCORES, TRUTH, NAMES, True, Painted())
    document = json.loads(files["evaluation/mistakes.json"])
    assert (document["items"], document["mistakes"]) == (4, 2)
    assert document["worst"][0] == {
        "sha256": f"{2:064x}",
        "kind": "wrong",
        "truth": ["猫"],
        "concept": "c",
        "score": 0.9,
        "truthScore": 0.05,
    }


def test_the_sheet_shows_the_pictures_of_the_mistakes() -> None:
    files = mistake_files(SCORES, TRUTH, NAMES, True, Painted())
    picture = pixels(files["evaluation/mistakes.png"])
    assert [has_colour(picture, colour(i)) for i in range(4)] == [False, True, True, False]
    # The surest is on the left.
    first, second = (np.nonzero((picture == colour(i)).all(2))[1].max() for i in (2, 1))
    assert first < second


def test_overlapping_concepts_are_missed_or_not_there() -> None:
    scores = np.array([[0.95, 0.1], [0.2, 0.5], [0.6, 0.4], [0.9, 0.9]], np.float32)
    truth = np.array([[0, 0], [1, 1], [1, 0], [1, 1]], np.bool_)
    mistakes = overlapping_mistakes(scores, truth)
    assert [(m.item, m.kind, m.concept) for m in mistakes] == [
        (0, "falsePositive", 0),
        (1, "falseNegative", 0),
    ]
    files = mistake_files(scores, truth, ["a", "b"], False, Painted())
    rows = json.loads(files["evaluation/mistakes.json"])["worst"]
    assert rows[0]["truth"] == [] and rows[1]["truth"] == ["a", "b"]
    assert rows[1]["score"] == 0.2


def test_what_is_not_known_is_no_mistake() -> None:
    scores, truth = np.array([[0.95, 0.1], [0.2, 0.9]], np.float32), np.zeros((2, 2), np.bool_)
    known = np.array([[False, True], [True, True]])
    mistakes = overlapping_mistakes(scores, truth, known)
    assert [(m.item, m.kind, m.concept) for m in mistakes] == [(1, "falsePositive", 1)]


def test_without_mistakes_the_sheet_is_empty() -> None:
    assert exclusive_mistakes(TRUTH.astype(np.float32), TRUTH) == []
    files = mistake_files(TRUTH.astype(np.float32), TRUTH, NAMES, True, Painted())
    assert json.loads(files["evaluation/mistakes.json"])["worst"] == []
    assert pixels(files["evaluation/mistakes.png"]).shape[0] < 100


def test_many_mistakes_are_bounded_and_equal_ones_keep_their_order() -> None:
    truth = np.zeros((900, 2), np.bool_)
    truth[:, 0] = True
    scores = np.tile(np.array([0.25, 0.75], np.float32), (900, 1))
    assert exclusive_mistakes(scores, truth)[:2] == [
        Mistake(0, "wrong", 1, 0.5),
        Mistake(1, "wrong", 1, 0.5),
    ]
    painted = Painted()
    files = mistake_files(scores, truth, ["a", "b"], True, painted)
    assert painted.asked == list(range(24))
    assert len(json.loads(files["evaluation/mistakes.json"])["worst"]) == 200
    assert mistake_files(scores, truth, ["a", "b"], True, Painted()) == files
