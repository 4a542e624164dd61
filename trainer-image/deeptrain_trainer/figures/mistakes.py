"""The worst mistakes of a classifier: a contact sheet, and the same as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..metrics import Truth
from ..report import rounded
from .document import rows_document
from .picture import Pictures, png
from .sheet import INK, WRONG, Tile, sheet
from .text import label

MOST_PICTURES = 24
MOST_ROWS = 200
"""Mistakes in the JSON file."""
_SIDE, _COLUMNS = 160, 6
_MOST_NAMES = 3

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Mistake:
    """One item and the concept that it is most wrongly scored for. `error`: 0 to 1, by which the worst is found."""

    item: int
    kind: Literal["wrong", "falsePositive", "falseNegative"]
    concept: int
    error: float


def exclusive_mistakes(scores: Scores, truth: Truth) -> list[Mistake]:
    """Items whose highest score is another concept's, the surest first: by how far it is above that of the truth."""
    predicted, actual, items = scores.argmax(1), truth.argmax(1), np.arange(len(scores))
    margin = scores[items, predicted].astype(np.float64) - scores[items, actual]
    wrong = items[predicted != actual]
    order = wrong[np.argsort(-margin[wrong], kind="stable")]
    return [Mistake(int(i), "wrong", int(predicted[i]), float(margin[i])) for i in order]


def overlapping_mistakes(scores: Scores, truth: Truth, known: Truth | None = None) -> list[Mistake]:
    """Items with a concept on the wrong side of 0.5, by the distance of its score from the truth, the largest first.

    What is not known is no mistake.
    """
    distance = np.abs(scores.astype(np.float64) - truth)
    distance[(scores >= 0.5) == truth] = 0  # right
    if known is not None:
        distance[~known] = 0
    worst, items = distance.argmax(1), np.arange(len(scores))
    error = distance[items, worst]
    wrong = items[error > 0]
    order = wrong[np.argsort(-error[wrong], kind="stable")]
    return [
        Mistake(
            int(i),
            "falseNegative" if truth[i, worst[i]] else "falsePositive",
            int(worst[i]),
            float(error[i]),
        )
        for i in order
    ]


def mistake_files(
    scores: Scores,
    truth: Truth,
    names: Sequence[str],
    exclusive: bool,
    pictures: Pictures,
    known: Truth | None = None,
) -> dict[str, bytes]:
    """`scores`, `truth` and `known` (None: all is) are [N, C]; `pictures` has the N items."""
    mistakes = (
        exclusive_mistakes(scores, truth)
        if exclusive
        else overlapping_mistakes(scores, truth, known)
    )
    rows = [_row(m, scores, truth, names, pictures) for m in mistakes[:MOST_ROWS]]
    tiles = [_tile(m, scores, truth, names, pictures, known) for m in mistakes[:MOST_PICTURES]]
    title = f"Mistakes: {len(mistakes):,} of {len(scores):,} items"
    if len(tiles) < len(mistakes):
        title = f"The {len(tiles)} worst of {len(mistakes):,} mistakes in {len(scores):,} items"
    note = "Black: what it shows. Red: what was predicted. Each with its score."
    if not exclusive:
        note = "Black: what it shows. Red: the concept that is wrong. Its score counts from 0.5 up."
    head = {"items": len(scores), "mistakes": len(mistakes)}
    return {
        "evaluation/mistakes.json": rows_document(head, "worst", rows),
        "evaluation/mistakes.png": png(sheet(title, note, tiles, _SIDE, _COLUMNS)),
    }


def _row(
    mistake: Mistake, scores: Scores, truth: Truth, names: Sequence[str], pictures: Pictures
) -> dict[str, Any]:
    shown = [int(c) for c in np.flatnonzero(truth[mistake.item])]
    row: dict[str, Any] = {
        "sha256": pictures.sha256(mistake.item),
        "kind": mistake.kind,
        "truth": [names[c] for c in shown],
        "concept": names[mistake.concept],
        "score": rounded(float(scores[mistake.item, mistake.concept])),
    }
    if mistake.kind == "wrong":
        row["truthScore"] = rounded(float(scores[mistake.item, shown[0]]))
    return row


def _tile(
    mistake: Mistake,
    scores: Scores,
    truth: Truth,
    names: Sequence[str],
    pictures: Pictures,
    known: Truth | None,
) -> Tile:
    shown = [int(c) for c in np.flatnonzero(truth[mistake.item])]
    score = f"{scores[mistake.item, mistake.concept]:.2f}"
    labels = [label(names[c], c) for c in shown[:_MOST_NAMES]]
    more = f" +{len(shown) - _MOST_NAMES}" if len(shown) > _MOST_NAMES else ""
    nothing = "no concept" if known is None or known[mistake.item].all() else "none known"
    lines = [(", ".join(labels) + more if labels else nothing, INK)]
    wrong = label(names[mistake.concept], mistake.concept)
    if mistake.kind == "wrong":
        truth_score = f"{scores[mistake.item, shown[0]]:.2f}"
        lines = [(f"{truth_score} {lines[0][0]}", INK), (f"{score} {wrong}", WRONG)]
    else:
        what = "missed" if mistake.kind == "falseNegative" else "not there"
        lines.append((f"{score} {wrong}", WRONG))
        lines.append((what, WRONG))
    return Tile(pictures.thumbnail(mistake.item, _SIDE).image, lines)
