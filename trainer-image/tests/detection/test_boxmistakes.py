"""The worst mistakes of a detector."""

import json

import numpy as np
import pytest
from figures.painted import Painted, has_colour, pixels, rgb

from deeptrain_trainer.detection.boxmistakes import box_mistake_files
from deeptrain_trainer.detection.matching import (
    PredictedBoxes,
    TrueBoxes,
    matched,
    overlap,
)
from deeptrain_trainer.figures.sheet import RIGHT, WRONG

BOX = [10, 10, 50, 50]
FAR = [60, 60, 90, 90]


def true(*boxes: tuple[list[int], int, bool]) -> TrueBoxes:
    return TrueBoxes(
        np.array([box for box, _, _ in boxes], np.float32).reshape(-1, 4),
        np.array([concept for _, concept, _ in boxes], np.int64),
        np.array([ignored for _, _, ignored in boxes], np.bool_),
    )


def predicted(*boxes: tuple[list[int], int, float]) -> PredictedBoxes:
    return PredictedBoxes(
        np.array([box for box, _, _ in boxes], np.float32).reshape(-1, 4),
        np.array([concept for _, concept, _ in boxes], np.int64),
        np.array([score for _, _, score in boxes], np.float32),
    )


def test_intersection_over_union_or_of_a_crowd_over_the_prediction() -> None:
    a, b = np.array([[0, 0, 10, 10]], np.float32), np.array([[5, 0, 15, 10], [20, 20, 30, 30]])
    b = b.astype(np.float32)
    assert overlap(a, b, np.array([False, False]))[0].tolist() == [pytest.approx(1 / 3), 0]
    assert overlap(a, b, np.array([True, True]))[0].tolist() == [0.5, 0]


@pytest.mark.parametrize(
    ("truth", "found", "missed", "wrong"),
    [
        (true((BOX, 0, False)), predicted((BOX, 0, 0.9)), [], []),
        (true((BOX, 0, False)), predicted((BOX, 1, 0.9)), [0], [0]),
        (true((BOX, 0, False)), predicted((FAR, 0, 0.9)), [0], [0]),
        (true((BOX, 0, False)), predicted((BOX, 0, 0.2)), [0], []),
        # The surer of two is the one that counts.
        (true((BOX, 0, False)), predicted((BOX, 0, 0.5), (BOX, 0, 0.8)), [], [0]),
        (true((BOX, 0, True)), predicted((BOX, 0, 0.9)), [], []),
        (true(([0, 0, 100, 100], 0, True)), predicted((BOX, 0, 0.9)), [], []),
        (true(([0, 0, 100, 100], 1, True)), predicted((BOX, 0, 0.9)), [], [0]),
        (true(), predicted(), [], []),
        (true(), predicted((BOX, 0, 0.9)), [], [0]),
        (true((BOX, 0, False)), predicted(), [0], []),
    ],
)
def test_matches(
    truth: TrueBoxes, found: PredictedBoxes, missed: list[int], wrong: list[int]
) -> None:
    match = matched(truth, found, score_threshold=0.3)
    assert (match.missed, match.wrong) == (missed, wrong)


def test_the_sheet_has_what_was_missed_in_green_and_what_is_wrong_in_red() -> None:
    truth = [true((BOX, 0, False)), true((BOX, 0, False)), true(([-5, -5, 400, 300], 1, False))]
    found = [predicted((BOX, 0, 0.9)), predicted((FAR, 1, 0.75)), predicted()]
    pictures = Painted(size=(100, 80))
    files = box_mistake_files(truth, found, ["cell", "猫"], pictures, 0.3)
    assert pictures.asked == [1, 2]
    picture = pixels(files["evaluation/mistakes.png"])
    assert has_colour(picture, rgb(RIGHT)) and has_colour(picture, rgb(WRONG))
    document = json.loads(files["evaluation/mistakes.json"])
    assert (document["pictures"], document["withMistakes"]) == (3, 2)
    assert document["worst"][0] == {
        "sha256": f"{1:064x}",
        "missed": [{"concept": "cell", "box": BOX}],
        "wrong": [{"concept": "猫", "box": FAR, "score": 0.75}],
    }
    assert box_mistake_files(truth, found, ["cell", "猫"], Painted(size=(100, 80)), 0.3) == files
