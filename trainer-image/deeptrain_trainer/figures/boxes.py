"""The worst mistakes of a detector: pictures with what was missed and what was found in its place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..report import rounded
from .document import rows_document
from .picture import Pictures, Thumbnail, png
from .sheet import INK, RIGHT, WRONG, Tile, sheet
from .text import face, label

MOST_PICTURES = 12
MOST_ROWS = 200
"""Pictures in the JSON file."""
MATCH_IOU = 0.5
_SIDE, _COLUMNS = 380, 3
_FOUND = "#d0d7de"

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


def box_mistake_files(
    truth: Sequence[TrueBoxes],
    predicted: Sequence[PredictedBoxes],
    names: Sequence[str],
    pictures: Pictures,
    score_threshold: float,
) -> dict[str, bytes]:
    """Of pictures, the worst first: a missed box counts 1, a wrong one its score.

    `truth`, `predicted` and `pictures` have the same items; concepts are places in `names`. `score_threshold`:
    detection_score_threshold, below which boxes are not returned.
    """
    matches = [
        matched(own, found, score_threshold) for own, found in zip(truth, predicted, strict=True)
    ]
    errors = [
        len(match.missed) + float(found.scores[match.wrong].sum())
        for match, found in zip(matches, predicted, strict=True)
    ]
    order = [i for i in np.argsort(-np.array(errors), kind="stable") if errors[i] > 0]
    rows = [
        _row(truth[i], predicted[i], matches[i], names, pictures.sha256(int(i)))
        for i in order[:MOST_ROWS]
    ]
    tiles = []
    for i in order[:MOST_PICTURES]:
        thumbnail = pictures.thumbnail(int(i), _SIDE)
        _draw_boxes(thumbnail, truth[i], predicted[i], matches[i], names)
        text = f"{len(matches[i].missed)} missed, {len(matches[i].wrong)} wrong"
        tiles.append(Tile(thumbnail.image, [(text, INK)]))
    title = (
        f"The {len(tiles)} worst of {len(order):,} pictures with mistakes, {len(truth):,} in all"
    )
    note = (
        f"Green: truth that was missed. Red: wrong boxes of a score from {score_threshold:g} up. "
        f"Grey: found (IoU from {MATCH_IOU:g} up)."
    )
    head = {
        "pictures": len(truth),
        "withMistakes": len(order),
        "scoreThreshold": score_threshold,
        "iou": MATCH_IOU,
    }
    return {
        "evaluation/mistakes.json": rows_document(head, "worst", rows),
        "evaluation/mistakes.png": png(sheet(title, note, tiles, _SIDE, _COLUMNS)),
    }


def _row(
    truth: TrueBoxes, found: PredictedBoxes, match: Matched, names: Sequence[str], sha256: str
) -> dict[str, Any]:
    def box(corners: Floats, concept: int) -> dict[str, Any]:
        return {"concept": names[concept], "box": [rounded(float(x), 5) for x in corners]}

    return {
        "sha256": sha256,
        "missed": [box(truth.corners[t], int(truth.concepts[t])) for t in match.missed],
        "wrong": [
            {
                **box(found.corners[p], int(found.concepts[p])),
                "score": rounded(float(found.scores[p])),
            }
            for p in match.wrong
        ],
    }


def _draw_boxes(
    thumbnail: Thumbnail,
    truth: TrueBoxes,
    found: PredictedBoxes,
    match: Matched,
    names: Sequence[str],
) -> None:
    image, scale = thumbnail.image, thumbnail.scale
    draw = ImageDraw.Draw(image)
    for t in range(len(truth.corners)):
        if t not in match.missed and not truth.ignored[t]:
            draw.rectangle(_scaled(truth.corners[t], scale, image), outline=_FOUND, width=1)
    for t in match.missed:
        text = label(names[truth.concepts[t]], int(truth.concepts[t]))
        _draw_box(image, _scaled(truth.corners[t], scale, image), RIGHT, text)
    for p in reversed(match.wrong):  # the surest on top
        text = f"{found.scores[p]:.2f} {label(names[found.concepts[p]], int(found.concepts[p]))}"
        _draw_box(image, _scaled(found.corners[p], scale, image), WRONG, text)


def _scaled(corners: Floats, scale: float, image: Image.Image) -> tuple[int, int, int, int]:
    """Pixels of the thumbnail, inside it: a box may end beyond the picture."""
    x_min, y_min, x_max, y_max = (float(value) * scale for value in corners)
    left = int(np.clip(x_min, 0, image.width - 1))
    top = int(np.clip(y_min, 0, image.height - 1))
    right = int(np.clip(x_max - 1, left, image.width - 1))
    bottom = int(np.clip(y_max - 1, top, image.height - 1))
    return left, top, right, bottom


def _draw_box(image: Image.Image, box: tuple[int, int, int, int], colour: str, text: str) -> None:
    draw, font = ImageDraw.Draw(image), face(11)
    draw.rectangle(box, outline=colour, width=2)
    width = int(font.getlength(text)) + 6
    left = max(0, min(box[0], image.width - width))
    top = max(0, box[1] - 14)
    draw.rectangle((left, top, left + width, top + 14), colour)
    draw.text((left + 3, top + 7), text, "white", font, anchor="lm")
