"""Metrics of a detector by the field's evaluator, pycocotools; their names are those of api/metrics.ts.

Average precision is COCO's: over 101 recall levels, with at most 100 boxes an image. What has no support is absent.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..figures.boxes import PredictedBoxes, TrueBoxes
from ..figures.curves import Curve
from ..report import rounded

# Rows of COCOeval's tables: IoU .50 and .75 of .50:.95, all areas, 100 boxes.
_IOU50, _IOU75 = 0, 5
_ALL_AREAS = 0
_MOST_100 = -1
# Bounds in square pixels of the original (COCO): 32 and 96 squared.
_AREAS = ("all", "small", "medium", "large")


@dataclass(frozen=True)
class DetectorMetrics:
    """`concepts` has a row for each concept, in order: `ap` is the mean over IoU .50:.95, precision, recall and f1 are
    at the score threshold and IoU .50; `support` counts the true boxes that are not ignored. `table` are the same rows
    with `ap50` and `ap75`. `curves` are at IoU .50.
    """

    values: dict[str, float]
    concepts: list[dict[str, Any]]
    table: list[dict[str, Any]]
    curves: list[Curve]


@dataclass(frozen=True)
class _Matches:
    """The boxes found of one concept at IoU .50, best first: their scores and whether they are right."""

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    support: int

    def counts(self, threshold: float) -> tuple[int, int]:
        """How many score above a threshold, and how many of those are right."""
        above = self.scores > threshold
        return int(above.sum()), int((above & self.right).sum())


def detector_metrics(
    found: Sequence[PredictedBoxes], truth: Sequence[TrueBoxes], names: list[str], threshold: float
) -> DetectorMetrics:
    """Compares what was found with what is there, picture by picture. `threshold` is the operating point."""
    if not truth:
        return DetectorMetrics({}, [], [], [])
    evaluator = _evaluated(found, truth, len(names))
    precision = evaluator.eval[
        "precision"
    ]  # [IoU, recall, concept, area, most]; -1 without support
    matches = [_matches(evaluator, c, len(truth)) for c in range(len(names))]
    values = _averages(precision) | _operating_point(matches, threshold) | _best_threshold(matches)
    table, curves = [], []
    for c, name in enumerate(names):
        levels = precision[:, :, c, _ALL_AREAS, _MOST_100]
        scores = evaluator.eval["scores"][_IOU50, :, c, _ALL_AREAS, _MOST_100]
        table.append(_rounded(_row(name, matches[c], levels, threshold)))
        if matches[c].support:
            curves.append(_curve(name, matches[c], levels[_IOU50], scores))
    rows = [{k: v for k, v in row.items() if k not in ("ap50", "ap75")} for row in table]
    return DetectorMetrics(_rounded(values), rows, table, curves)


def _evaluated(found: Sequence[PredictedBoxes], truth: Sequence[TrueBoxes], concepts: int) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations: list[dict[str, Any]] = []
    for image, own in enumerate(truth):
        for box, concept, ignored in zip(own.corners, own.concepts, own.ignored, strict=True):
            row = _annotation(len(annotations) + 1, image, box, int(concept))
            annotations.append(row | {"iscrowd": int(ignored)})
    results: list[dict[str, Any]] = []
    for image, boxes in enumerate(found):
        for box, score, concept in zip(boxes.corners, boxes.scores, boxes.concepts, strict=True):
            row = _annotation(len(results) + 1, image, box, int(concept))
            results.append(row | {"iscrowd": 0, "score": float(score)})
    head = {
        "images": [{"id": image} for image in range(len(truth))],
        "categories": [{"id": concept} for concept in range(concepts)],
    }
    wanted, given = COCO(), COCO()
    wanted.dataset = {**head, "annotations": annotations}
    given.dataset = {**head, "annotations": results}
    with contextlib.redirect_stdout(io.StringIO()):
        wanted.createIndex()
        given.createIndex()
        evaluator = COCOeval(wanted, given, "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
    return evaluator


def _annotation(number: int, image: int, box: NDArray[np.float32], concept: int) -> dict[str, Any]:
    x, y, right, bottom = (float(value) for value in box)
    width, height = right - x, bottom - y
    return {
        "id": number,
        "image_id": image,
        "category_id": concept,
        "bbox": [x, y, width, height],
        "area": width * height,
    }


def _matches(evaluator: Any, concept: int, images: int) -> _Matches:
    """From COCOeval's table of matches, which is ordered by concept, area and image."""
    scores: list[NDArray[np.float64]] = []
    right: list[NDArray[np.bool_]] = []
    support = 0
    first = concept * len(_AREAS) * images
    for image in evaluator.evalImgs[first : first + images]:
        if image is None:
            continue
        counted = ~np.asarray(image["dtIgnore"][_IOU50], bool)
        scores.append(np.asarray(image["dtScores"], np.float64)[counted])
        right.append((np.asarray(image["dtMatches"][_IOU50]) > 0)[counted])
        support += int((~np.asarray(image["gtIgnore"], bool)).sum())
    if not scores:
        return _Matches(np.empty(0), np.empty(0, np.bool_), support)
    return _Matches(np.concatenate(scores), np.concatenate(right), support)


def _averages(precision: NDArray[np.float64]) -> dict[str, float]:
    values = {}
    for name, table in (
        ("map", precision[:, :, :, _ALL_AREAS, _MOST_100]),
        ("map50", precision[_IOU50, :, :, _ALL_AREAS, _MOST_100]),
        ("map75", precision[_IOU75, :, :, _ALL_AREAS, _MOST_100]),
        *((f"map_{a}", precision[:, :, :, i, _MOST_100]) for i, a in enumerate(_AREAS) if i),
    ):
        supported = table[table > -1]
        if len(supported):
            values[name] = float(supported.mean())
    return values


def _operating_point(matches: list[_Matches], threshold: float) -> dict[str, float]:
    """Over the boxes of all concepts."""
    counts = np.array([m.counts(threshold) for m in matches])
    found, right = counts.sum(0)
    support = sum(m.support for m in matches)
    values = {}
    if found:
        values["precision"] = float(right / found)
    if support:
        values["recall"] = float(right / support)
    return values


def _best_threshold(matches: list[_Matches]) -> dict[str, float]:
    """The one threshold, in steps of .01, at which the mean F1 of the concepts is highest."""
    supported = [m for m in matches if m.support]
    if not supported:
        return {}
    thresholds = np.arange(1, 100) / 100
    means = [float(np.mean([_f1(m, t) for m in supported])) for t in thresholds]
    return {"best_f1_threshold": float(thresholds[int(np.argmax(means))])}


def _f1(matches: _Matches, threshold: float) -> float:
    found, right = matches.counts(threshold)
    return 2 * right / (found + matches.support)


def _row(
    name: str, matches: _Matches, precision: NDArray[np.float64], threshold: float
) -> dict[str, Any]:
    found, right = matches.counts(threshold)
    row: dict[str, Any] = {"concept": name}
    if found:
        row["precision"] = right / found
    if matches.support:
        row["recall"] = right / matches.support
        row["f1"] = _f1(matches, threshold)
        row["ap"] = float(precision.mean())
        row["ap50"] = float(precision[_IOU50].mean())
        row["ap75"] = float(precision[_IOU75].mean())
    row["support"] = matches.support
    return row


def _curve(
    name: str, matches: _Matches, precision: NDArray[np.float64], scores: NDArray[np.float64]
) -> Curve:
    """As far as recall goes: beyond it COCOeval's precision is 0."""
    reached = np.flatnonzero(precision > 0)
    points = int(reached[-1]) + 1 if len(reached) else 0
    recall = np.linspace(0, 1, len(precision))
    ap50 = float(precision.mean())
    kept = (recall[:points], precision[:points], scores[:points])
    return Curve(name, matches.support, ap50, *kept)


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {k: rounded(v) if isinstance(v, float) else v for k, v in row.items()}
