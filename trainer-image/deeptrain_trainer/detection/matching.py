"""The boxes of one picture, true and found, and which of them are mistakes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MATCH_IOU = 0.5

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class TrueBoxes:
    """What one picture shows. `corners` [n, 4]: x_min, y_min, x_max, y_max in pixels of the upright original."""

    corners: Floats
    concepts: Numbers
    ignored: NDArray[np.bool_]
    """[n]: difficult or a crowd: neither a miss where not found, nor a mistake where found."""


@dataclass(frozen=True)
class PredictedBoxes:
    """What was found in one picture, with the `corners` of TrueBoxes and `scores` [n] from 0 to 1, in any order."""

    corners: Floats
    concepts: Numbers
    scores: Floats


@dataclass(frozen=True)
class Matched:
    """Of one picture, places of the true boxes that were missed and of the predicted ones that are wrong."""

    missed: list[int]
    wrong: list[int]


def matched(truth: TrueBoxes, predicted: PredictedBoxes, score_threshold: float) -> Matched:
    """Matches as COCO's evaluator does: by falling score, each to the true box of its concept that it overlaps most.

    A prediction that only meets ignored boxes counts as nothing: of a crowd it may be one, so it is to lie within.
    Those below the threshold are not there.
    """
    overlaps = overlap(predicted.corners, truth.corners, truth.ignored)
    is_free = np.ones(len(truth.corners), np.bool_)
    wrong = []
    for p in np.argsort(-predicted.scores, kind="stable"):
        if predicted.scores[p] < score_threshold:
            break
        close = (overlaps[p] >= MATCH_IOU) & (truth.concepts == predicted.concepts[p])
        candidates = np.flatnonzero(close & is_free & ~truth.ignored)
        if len(candidates):
            is_free[candidates[overlaps[p, candidates].argmax()]] = False
        elif not (close & truth.ignored).any():
            wrong.append(int(p))
    missed = np.flatnonzero(is_free & ~truth.ignored)
    return Matched([int(t) for t in missed], wrong)


def overlap(a: Floats, b: Floats, is_crowd: NDArray[np.bool_]) -> Floats:
    """Intersection over union of boxes [n, 4] and [m, 4], as [n, m]; where b is a crowd, over the area of a."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inner = np.prod(np.maximum(high - low, 0), axis=2)
    area_a = np.prod(a[:, 2:] - a[:, :2], axis=1)
    area_b = np.prod(b[:, 2:] - b[:, :2], axis=1)
    union = area_a[:, None] + np.where(is_crowd, 0, area_b - inner)
    result: Floats = (inner / np.maximum(union, 1e-9)).astype(np.float32)
    return result
