"""Metrics of detectors: values worked out by hand, and what has no support."""

import numpy as np

from deeptrain_trainer.detection.evaluator import detector_metrics
from deeptrain_trainer.figures.boxes import PredictedBoxes, TrueBoxes

NAMES = ["a", "b", "c"]
Corners = tuple[float, float, float, float]
SMALL, LARGE = (0.0, 0.0, 20.0, 20.0), (100.0, 100.0, 300.0, 300.0)


def true(*boxes: tuple[Corners, int], ignored: tuple[int, ...] = ()) -> TrueBoxes:
    flags = np.zeros(len(boxes), np.bool_)
    flags[list(ignored)] = True
    corners = np.array([box for box, _ in boxes], np.float32).reshape(-1, 4)
    return TrueBoxes(corners, np.array([c for _, c in boxes], np.int64), flags)


def found(*boxes: tuple[Corners, int, float]) -> PredictedBoxes:
    corners = np.array([box for box, _, _ in boxes], np.float32).reshape(-1, 4)
    concepts = np.array([c for _, c, _ in boxes], np.int64)
    return PredictedBoxes(corners, concepts, np.array([s for *_, s in boxes], np.float32))


def test_all_found_and_nothing_else() -> None:
    measured = detector_metrics(
        [found((SMALL, 0, 0.9), (LARGE, 1, 0.8)), found()],
        [true((SMALL, 0), (LARGE, 1)), true()],
        NAMES,
        0.3,
    )
    assert measured.values == {
        "map": 1.0,
        "map50": 1.0,
        "map75": 1.0,
        "map_small": 1.0,
        "map_large": 1.0,
        "precision": 1.0,
        "recall": 1.0,
        "best_f1_threshold": 0.01,
    }
    assert measured.concepts[0] == {
        "concept": "a",
        "precision": 1.0,
        "recall": 1.0,
        "f1": 1.0,
        "ap": 1.0,
        "support": 1,
    }
    assert measured.table[0]["ap50"] == measured.table[0]["ap75"] == 1.0
    assert measured.concepts[2] == {"concept": "c", "support": 0}
    assert [curve.concept for curve in measured.curves] == ["a", "b"]
    assert measured.curves[0].recall[-1] == 1 and measured.curves[0].ap > 0.9999


def test_the_threshold_is_the_operating_point_and_leaves_average_precision_alone() -> None:
    truth = [true((SMALL, 0), (LARGE, 0))]
    boxes = [found((SMALL, 0, 0.9), ((50, 50, 70, 70), 0, 0.6), (LARGE, 0, 0.4))]
    low, high = (detector_metrics(boxes, truth, ["a"], threshold) for threshold in (0.3, 0.5))
    assert (low.values["precision"], low.values["recall"]) == (0.666667, 1.0)
    assert (high.values["precision"], high.values["recall"]) == (0.5, 0.5)
    assert high.concepts[0]["f1"] == 0.5
    # Precision 1 up to recall .5, then 2/3: 51 and 50 of COCO's 101 levels.
    for measured in (low, high):
        assert abs(measured.values["map50"] - (51 + 50 * 2 / 3) / 101) < 1e-4
        assert measured.values["best_f1_threshold"] == 0.01


def test_a_box_that_is_off_counts_at_the_overlap_that_it_has() -> None:
    # IoU .8: right at .50 to .80, which are 7 of the ten levels.
    measured = detector_metrics([found(((0, 0, 20, 16), 0, 0.9))], [true((SMALL, 0))], ["a"], 0.3)
    assert measured.values["map50"] == measured.values["map75"] == 1
    assert measured.values["map"] == 0.7
    assert measured.table[0]["ap50"] == 1 and measured.concepts[0]["ap"] == 0.7


def test_ignored_boxes_are_neither_missed_nor_wrong() -> None:
    truth = [true((SMALL, 0), (LARGE, 0), ignored=(1,))]
    for boxes in (found((SMALL, 0, 0.9)), found((SMALL, 0, 0.9), (LARGE, 0, 0.95))):
        measured = detector_metrics([boxes], truth, ["a"], 0.3)
        assert measured.concepts[0]["support"] == 1
        assert measured.values["map"] == measured.values["precision"] == 1
        assert "map_large" not in measured.values


def test_boxes_on_background_cost_precision() -> None:
    truth = [true((SMALL, 0)), true()]
    measured = detector_metrics([found((SMALL, 0, 0.5)), found((SMALL, 0, 0.9))], truth, ["a"], 0.3)
    assert measured.values["precision"] == 0.5 and measured.values["map50"] == 0.5


def test_another_concept_is_wrong() -> None:
    measured = detector_metrics([found((SMALL, 1, 0.9))], [true((SMALL, 0))], ["a", "b"], 0.3)
    assert measured.values["map50"] == measured.values["recall"] == 0
    assert measured.concepts[1] == {"concept": "b", "precision": 0.0, "support": 0}


def test_what_has_no_support_is_absent() -> None:
    assert detector_metrics([], [], NAMES, 0.3).values == {}
    nothing = detector_metrics([found()], [true()], NAMES, 0.3)
    assert nothing.values == {} and nothing.curves == []
    assert nothing.concepts == [{"concept": name, "support": 0} for name in NAMES]
    missed = detector_metrics([found()], [true((SMALL, 2))], NAMES, 0.3)
    assert "precision" not in missed.values and missed.values["recall"] == 0
    assert missed.values["map_small"] == 0 and "map_large" not in missed.values
