"""The worst mistakes of a detector: pictures with what was missed and what was found in its place."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ..figures.document import rows_document
from ..figures.picture import Pictures, Thumbnail, png
from ..figures.sheet import INK, RIGHT, WRONG, Tile, sheet
from ..figures.text import face, label
from ..report import rounded
from .matching import MATCH_IOU, Floats, Matched, PredictedBoxes, TrueBoxes, matched

MOST_PICTURES = 12
MOST_ROWS = 200
"""Pictures in the JSON file."""
_SIDE, _COLUMNS = 380, 3
_FOUND = "#d0d7de"


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
