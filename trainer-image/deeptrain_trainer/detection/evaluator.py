"""Metrics of a detector by the field's evaluator, pycocotools; their names are those of api/metrics.ts.

Average precision is COCO's: over 101 recall levels, with at most 100 boxes an image. What has no support is absent.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..figures.curves import Curve
from ..report import rounded
from .matching import PredictedBoxes, TrueBoxes

# Rows of COCOeval's tables: IoU .50 and .75 of .50:.95, and all areas.
_IOU50, _IOU75 = 0, 5
_ALL_AREAS = 0
# Bounds in square pixels of the original (COCO): 32 and 96 squared.
_AREAS = ("all", "small", "medium", "large")
# Boxes that COCOeval is given at once: it takes 2.4 KB for each.
_BOXES_AT_ONCE = 4096


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
    predicted = _ordered(found, [boxes.scores for boxes in found])
    wanted = _ordered(truth, [boxes.ignored for boxes in truth])
    results = [_concept(predicted.of(c), wanted.of(c)) for c in range(len(names))]
    # [IoU, recall, concept, area]; -1 without support
    precision = np.stack([result.precision for result in results], 2)
    matches = [result.matches for result in results]
    values = _averages(precision) | _operating_point(matches, threshold) | _best_threshold(matches)
    table, curves = [], []
    for c, name in enumerate(names):
        levels = precision[:, :, c, _ALL_AREAS]
        table.append(_rounded(_row(name, matches[c], levels, threshold)))
        if matches[c].support:
            curves.append(_curve(name, matches[c], levels[_IOU50], results[c].scores))
    rows = [{k: v for k, v in row.items() if k not in ("ap50", "ap75")} for row in table]
    return DetectorMetrics(_rounded(values), rows, table, curves)


class _Ordered(NamedTuple):
    """Boxes of all pictures by concept, then picture. `marks` are scores, or whether a true box is ignored."""

    concepts: NDArray[np.int32]
    pictures: NDArray[np.int32]
    corners: NDArray[np.float32]
    marks: NDArray[Any]

    def of(self, concept: int) -> "_Ordered":
        """Those of one concept."""
        return self._part(self.concepts, concept, concept)

    def within(self, first: int, last: int) -> "_Ordered":
        """Of those of one concept, the ones in a range of pictures."""
        return self._part(self.pictures, first, last)

    def _part(self, keys: NDArray[np.int32], first: int, last: int) -> "_Ordered":
        start, end = np.searchsorted(keys, first), np.searchsorted(keys, last, "right")
        return _Ordered._make(column[start:end] for column in self)


class _Chunk(NamedTuple):
    """What COCOeval matched in some pictures, for boxes found D and true ones G, at each area and IoU."""

    scores: NDArray[np.float64]
    """[D]"""
    right: NDArray[np.bool_]
    """[areas, IoUs, D]: has its true box."""
    ignored: NDArray[np.bool_]
    """[areas, IoUs, D]: counts as nothing."""
    truth_ignored: NDArray[np.bool_]
    """[areas, G]"""


class _Concept(NamedTuple):
    """`precision` [IoU, recall, area], -1 without support; `scores` [recall] at IoU .50 and all areas."""

    precision: NDArray[np.float64]
    scores: NDArray[np.float64]
    matches: _Matches


def _ordered(
    boxes: Sequence[PredictedBoxes] | Sequence[TrueBoxes], marks: Sequence[NDArray[Any]]
) -> _Ordered:
    concepts = np.concatenate([own.concepts for own in boxes], dtype=np.int32)
    counts = [len(own.concepts) for own in boxes]
    pictures = np.repeat(np.arange(len(boxes), dtype=np.int32), counts)
    order = np.argsort(concepts, kind="stable")
    corners = np.concatenate([own.corners for own in boxes])[order]
    return _Ordered(concepts[order], pictures[order], corners, np.concatenate(marks)[order])


def _concept(found: _Ordered, truth: _Ordered) -> _Concept:
    """Chunk by chunk, of which only the matches are kept: memory must not grow by COCOeval's tables."""
    both = np.concatenate((found.pictures, truth.pictures))
    pictures, counts = np.unique(both, return_counts=True)
    cuts = np.flatnonzero(np.diff(np.cumsum(counts) // _BOXES_AT_ONCE)) + 1
    chunks = [
        _evaluated(own, found.within(own[0], own[-1]), truth.within(own[0], own[-1]))
        for own in np.split(pictures, cuts)
        if len(own)
    ]
    return _Concept(*_accumulated(chunks), _matches(chunks))


def _evaluated(pictures: NDArray[np.int32], found: _Ordered, truth: _Ordered) -> _Chunk:
    """Each of the pictures has a box, found or true."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    head = {"images": [{"id": int(p)} for p in pictures], "categories": [{"id": 0}]}
    wanted, given = COCO(), COCO()
    wanted.dataset = {**head, "annotations": _annotations(truth, "iscrowd", int)}
    given.dataset = {**head, "annotations": _annotations(found, "score", float)}
    with contextlib.redirect_stdout(io.StringIO()):
        wanted.createIndex()
        given.createIndex()
        evaluator = COCOeval(wanted, given, "bbox")
        evaluator.evaluate()
    # Its list is ordered by area and picture.
    images, n = evaluator.evalImgs, len(pictures)
    areas = [images[a * n : (a + 1) * n] for a in range(len(_AREAS))]
    return _Chunk(
        np.concatenate([image["dtScores"] for image in areas[_ALL_AREAS]], dtype=np.float64),
        np.stack([np.concatenate([i["dtMatches"] > 0 for i in area], 1) for area in areas]),
        np.stack([np.concatenate([i["dtIgnore"] for i in area], 1) for area in areas]),
        np.stack([np.concatenate([i["gtIgnore"] for i in area]) > 0 for area in areas]),
    )


def _annotations(boxes: _Ordered, mark: str, kind: type) -> list[dict[str, Any]]:
    rows = []
    for number, (picture, corners) in enumerate(zip(boxes.pictures, boxes.corners, strict=True)):
        x, y, right, bottom = (float(value) for value in corners)
        width, height = right - x, bottom - y
        rows.append(
            {
                "id": number + 1,
                "image_id": int(picture),
                "category_id": 0,
                "bbox": [x, y, width, height],
                "area": width * height,
                mark: kind(boxes.marks[number]),
            }
        )
    return rows


def _accumulated(chunks: list[_Chunk]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """COCOeval's precision and scores. It sees a chunk as one picture, and an area and IoU at a time: that takes a
    fraction of the memory, and to its formula all is the same.
    """
    from pycocotools.cocoeval import COCOeval

    evaluator = COCOeval(iouType="bbox")
    params = evaluator.params
    ious, areas = params.iouThrs, params.areaRng
    precision = np.full((len(ious), len(params.recThrs), len(areas)), -1.0)
    scores = np.full(len(params.recThrs), -1.0)
    params.imgIds, params.catIds = list(range(len(chunks))), [0]
    # The bound for each picture was kept when they were matched.
    params.maxDets = [sum(len(chunk.scores) for chunk in chunks)]
    evaluator._paramsEval = params  # what evaluate() leaves behind
    for a, i in np.ndindex(len(areas), len(ious)):
        params.areaRng, params.iouThrs = [areas[a]], ious[i : i + 1]
        evaluator.evalImgs = [
            {
                "dtScores": chunk.scores,
                "dtMatches": chunk.right[a, i : i + 1],
                "dtIgnore": chunk.ignored[a, i : i + 1],
                "gtIgnore": chunk.truth_ignored[a],
            }
            for chunk in chunks
        ]
        with contextlib.redirect_stdout(io.StringIO()):
            evaluator.accumulate()
        precision[i, :, a] = evaluator.eval["precision"][0, :, 0, 0, 0]
        if (a, i) == (_ALL_AREAS, _IOU50):
            scores = evaluator.eval["scores"][0, :, 0, 0, 0]
    return precision, scores


def _matches(chunks: list[_Chunk]) -> _Matches:
    counted = [~chunk.ignored[_ALL_AREAS, _IOU50] for chunk in chunks]
    pairs = list(zip(chunks, counted, strict=True))
    return _Matches(
        np.concatenate([np.empty(0), *(c.scores[own] for c, own in pairs)]),
        np.concatenate(
            [np.empty(0, np.bool_), *(c.right[_ALL_AREAS, _IOU50][own] for c, own in pairs)]
        ),
        sum(int((~chunk.truth_ignored[_ALL_AREAS]).sum()) for chunk in chunks),
    )


def _averages(precision: NDArray[np.float64]) -> dict[str, float]:
    values = {}
    for name, table in (
        ("map", precision[:, :, :, _ALL_AREAS]),
        ("map50", precision[_IOU50, :, :, _ALL_AREAS]),
        ("map75", precision[_IOU75, :, :, _ALL_AREAS]),
        *((f"map_{a}", precision[:, :, :, i]) for i, a in enumerate(_AREAS) if i),
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
