"""Metrics of detectors: values worked out by hand, and what has no support."""

import contextlib
import io
import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from deeptrain_trainer.detection import evaluator
from deeptrain_trainer.detection.evaluator import detector_metrics
from deeptrain_trainer.detection.matching import PredictedBoxes, TrueBoxes
from deeptrain_trainer.report import rounded

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


Pictures = tuple[list[PredictedBoxes], list[TrueBoxes]]


def drawn(pictures: int, boxes: int, concepts: int) -> Pictures:
    """Predictions scattered about the truth, with equal scores, ignored boxes, and pictures without either."""
    random = np.random.default_rng(0)
    predicted, truth = [], []
    for number in range(pictures):
        corner, side = random.random((8, 2)) * 300, random.random((8, 2)) * 150 + 5
        own = np.concatenate((corner, corner + side), 1).astype(np.float32)
        own_concepts = random.integers(0, concepts, 8)
        kept = 8 if number % 3 else 0
        truth.append(TrueBoxes(own[:kept], own_concepts[:kept], random.random(kept) < 0.2))
        meant, count = random.integers(0, 8, boxes), boxes if number % 4 else 0
        near = own[meant] + random.normal(0, 6, (boxes, 4)).astype(np.float32)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        guessed = np.where(
            random.random(boxes) < 0.8, own_concepts[meant], random.integers(0, concepts, boxes)
        )
        scores = (random.integers(0, 50, boxes) / 50).astype(np.float32)
        predicted.append(PredictedBoxes(near[:count], guessed[:count], scores[:count]))
    return predicted, truth


def rows_of(
    boxes: list[PredictedBoxes] | list[TrueBoxes], marks: list[NDArray[np.generic]], name: str
) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for image, (own, own_marks) in enumerate(zip(boxes, marks, strict=True)):
        for corners, concept, mark in zip(own.corners, own.concepts, own_marks, strict=True):
            x, y, right, bottom = corners.tolist()
            row = {"id": len(rows) + 1, "image_id": image, "category_id": int(concept)}
            size = (right - x, bottom - y)
            rows.append(row | {"bbox": [x, y, *size], "area": size[0] * size[1], name: mark.item()})
    return rows


def coco_precision(pictures: Pictures, concepts: int) -> NDArray[np.float64]:
    """COCOeval's table [IoU, recall, concept, area] at 100 boxes, of everything at once."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    predicted, truth = pictures
    head = {"images": [{"id": i} for i in range(len(truth))]}
    head["categories"] = [{"id": c} for c in range(concepts)]
    wanted, given = COCO(), COCO()
    wanted.dataset = head | {"annotations": rows_of(truth, [t.ignored for t in truth], "iscrowd")}
    given.dataset = head | {
        "annotations": rows_of(predicted, [p.scores for p in predicted], "score")
    }
    with contextlib.redirect_stdout(io.StringIO()):
        wanted.createIndex()
        given.createIndex()
        whole = COCOeval(wanted, given, "bbox")
        whole.evaluate()
        whole.accumulate()
    table: NDArray[np.float64] = whole.eval["precision"][..., -1]
    return table


@pytest.mark.parametrize("at_once", [1, 200, 1_000_000])
@pytest.mark.parametrize(("boxes", "concepts"), [(30, 3), (130, 1)])
def test_values_are_those_of_all_boxes_at_once(
    monkeypatch: pytest.MonkeyPatch, at_once: int, boxes: int, concepts: int
) -> None:
    monkeypatch.setattr(evaluator, "_BOXES_AT_ONCE", at_once)
    pictures = drawn(10, boxes, concepts)
    # The last concept is nowhere.
    names = [str(c) for c in range(concepts + 1)]
    measured = detector_metrics(*pictures, names, 0.3)
    table = coco_precision(pictures, len(names))

    def mean(part: NDArray[np.float64]) -> float:
        return rounded(float(part[part > -1].mean()))

    expected = {"map": table[..., 0], "map50": table[0, ..., 0], "map75": table[5, ..., 0]}
    expected |= {f"map_{a}": table[..., i + 1] for i, a in enumerate(("small", "medium", "large"))}
    for name, part in expected.items():
        assert measured.values[name] == mean(part), name
    for c, row in enumerate(measured.concepts[:-1]):
        assert row["ap"] == mean(table[:, :, c, 0])
        assert row["support"] == sum(
            int(((t.concepts == c) & ~t.ignored).sum()) for t in pictures[1]
        )
        reached = measured.curves[c].precision
        assert np.array_equal(reached, table[0, : len(reached), c, 0])
    assert measured.concepts[-1] == {"concept": names[-1], "support": 0}


def test_memory_grows_by_less_than_300_bytes_a_box(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluator, "_BOXES_AT_ONCE", 100)
    boxes, counts = 20, (50, 150)
    one = found(*[(SMALL, 0, score / boxes) for score in range(boxes)])
    # All but the first show background: that is fast, and takes the same memory.
    truth = [true((SMALL, 0))] + [true()] * counts[1]
    detector_metrics([one], truth[:1], ["a"], 0.3)
    peaks = []
    for count in counts:
        tracemalloc.start()
        detector_metrics([one] * count, truth[:count], ["a"], 0.3)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 300 * boxes * (counts[1] - counts[0])
