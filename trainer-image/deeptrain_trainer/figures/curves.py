"""Precision against recall, for each concept: as JSON, and as one picture with the worst concepts named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..report import rounded
from .document import rows_document, short
from .picture import png
from .sheet import FAINT, INK, MARGIN, draw_heading, heading_height
from .text import face, fit, label

Values = NDArray[np.float64]

MOST_POINTS = 101
"""Points of a curve in the JSON file: at most one for each hundredth of recall, as COCO's evaluator samples."""
MOST_NAMED = 10
_MOST_FAINT = 300
_SIDE = 520
_LEGEND = 300
# Where nothing is recalled yet, precision says nothing.
_GRID = np.maximum(np.linspace(0, 1, MOST_POINTS), 1e-9)
# Lines are drawn this many times larger and reduced: Pillow's own are jagged.
_FINE = 3
_COLOURS = (
    "#0969da", "#cf222e", "#1a7f37", "#bf8700", "#8250df",
    "#bf3989", "#1b7c83", "#953800", "#57606a", "#6fdd8b",
)  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """`precision` and `recall` of one concept, by falling threshold, so that recall rises.

    `threshold`: the lowest score that counts as positive at each point; detectors' evaluators do not give them.
    """

    concept: str
    support: int
    ap: float
    recall: Values
    precision: Values
    threshold: Values | None = None


def classifier_curves(
    scores: NDArray[np.float32],
    truth: NDArray[np.bool_],
    rows: Sequence[Mapping[str, Any]],
    known: NDArray[np.bool_] | None = None,
) -> list[Curve]:
    """The curves of the concepts that have positives.

    `scores`, `truth` and `known` are [N, C]; what is not known does not count. `rows` are the C concepts' metrics, `ap`
    of which is the area under the curve.
    """
    from sklearn.metrics import precision_recall_curve

    curves = []
    for c, row in enumerate(rows):
        if "ap" not in row:
            continue
        counted = slice(None) if known is None else known[:, c]
        precision, recall, threshold = precision_recall_curve(truth[counted, c], scores[counted, c])
        # By falling threshold. The last point (nothing predicted, precision 1) is no measurement.
        precision, recall, threshold = precision[-2::-1], recall[-2::-1], threshold[::-1]
        kept = _sampled(recall)
        name, support, ap = str(row["concept"]), int(row["support"]), float(row["ap"])
        curves.append(Curve(name, support, ap, recall[kept], precision[kept], threshold[kept]))
    return curves


def curve_files(curves: Sequence[Curve], names: Sequence[str], title: str) -> dict[str, bytes]:
    """The files of all curves. `names` are the run's concepts, `title` says what was measured."""
    rows = []
    for curve in curves:
        kept = _sampled(curve.recall)
        row = {
            "concept": curve.concept,
            "support": curve.support,
            "ap": rounded(curve.ap),
            "recall": short(curve.recall[kept]),
            "precision": short(curve.precision[kept]),
        }
        if curve.threshold is not None:
            row["threshold"] = short(curve.threshold[kept])
        rows.append(row)
    return {
        "evaluation/precision-recall.json": rows_document({}, "concepts", rows),
        "evaluation/precision-recall.png": png(_plot(curves, names, title)),
    }


def _sampled(recall: Values) -> NDArray[np.int64]:
    """Places of the first points that reach each hundredth of recall, where precision is highest."""
    places = np.searchsorted(recall, _GRID)
    return np.unique(np.minimum(places, max(len(recall) - 1, 0)))


def _mean_precision(curves: Sequence[Curve]) -> Values:
    """At each hundredth of recall, the mean over the concepts; 0 beyond the recall that one reaches."""
    at_grid = np.zeros((len(curves), MOST_POINTS))
    for row, curve in zip(at_grid, curves, strict=True):
        places = np.searchsorted(curve.recall, _GRID)
        reached = places < len(curve.recall)
        row[reached] = curve.precision[places[reached]]
    mean: Values = at_grid.mean(0)
    return mean


def _plot(curves: Sequence[Curve], names: Sequence[str], title: str) -> Image.Image:
    numbers = {name: number for number, name in enumerate(names)}
    worst = sorted(curves, key=lambda curve: (curve.ap, numbers[curve.concept]))
    named, faint = worst[:MOST_NAMED], worst[MOST_NAMED:][:_MOST_FAINT]
    note = "Precision (up) against recall (right)."
    if faint:
        note += f" The {len(named)} concepts with the lowest average precision are named."
    head = heading_height(note)
    left, top = MARGIN + 34, head
    canvas = Image.new("RGB", (left + _SIDE + _LEGEND + 2 * MARGIN, top + _SIDE + 40), "white")
    draw_heading(canvas, title, note)
    lines = [(curve.recall, curve.precision, "#d8dee4", 1) for curve in faint]
    lines += [
        (curve.recall, curve.precision, colour, 2)
        for curve, colour in zip(named, _COLOURS, strict=False)
    ]
    mean = float(np.mean([curve.ap for curve in curves])) if curves else None
    if len(curves) > 1:
        lines.append((_GRID, _mean_precision(curves), INK, 4))
    canvas.paste(_lines(lines), (left, top))
    _draw_axes(canvas, left, top)
    legend = [
        (label(curve.concept, numbers[curve.concept]), f"{curve.ap:.3f}", colour)
        for curve, colour in zip(named, _COLOURS, strict=False)
    ]
    if mean is not None and len(curves) > 1:
        legend.insert(0, (f"mean of {len(curves):,} concepts", f"{mean:.3f}", INK))
    _draw_legend(canvas, legend, (left + _SIDE + 20, top))
    return canvas


def _lines(lines: Sequence[tuple[Values, Values, str, int]]) -> Image.Image:
    fine = Image.new("RGB", (_SIDE * _FINE, _SIDE * _FINE), "white")
    draw, end = ImageDraw.Draw(fine), _SIDE * _FINE - 1
    for tick in np.linspace(0, 1, 6):
        at = round(float(tick) * end)
        for line in ((0, at, end, at), (at, 0, at, end)):
            draw.line(line, "#eaeef2", _FINE)
    for recall, precision, colour, width in lines:
        # A curve begins at the precision of its first point.
        xs = np.concatenate([[0.0], recall]) * end
        ys = (1 - np.concatenate([precision[:1], precision])) * end
        points = [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]
        if len(points) > 1:
            draw.line(points, colour, width * _FINE, joint="curve")
    return fine.resize((_SIDE, _SIDE), Image.Resampling.BOX)


def _draw_axes(canvas: Image.Image, left: int, top: int) -> None:
    draw, font = ImageDraw.Draw(canvas), face(12)
    draw.rectangle((left, top, left + _SIDE, top + _SIDE), outline="#8c959f")
    for tick in range(0, 11, 2):
        text, along = f"{tick / 10:.1f}", _SIDE * tick // 10
        draw.text((left - 6, top + _SIDE - along), text, FAINT, font, anchor="rm")
        draw.text((left + along, top + _SIDE + 12), text, FAINT, font, anchor="mm")


def _draw_legend(
    canvas: Image.Image, rows: Sequence[tuple[str, str, str]], at: tuple[int, int]
) -> None:
    draw, font, (left, top) = ImageDraw.Draw(canvas), face(13), at
    right = canvas.width - MARGIN
    draw.text((right, top), "average precision", FAINT, face(12), anchor="ra")
    for number, (name, value, colour) in enumerate(rows):
        middle = top + 34 + number * 22
        draw.line((left, middle, left + 20, middle), colour, 4 if colour == INK else 3)
        draw.text((right, middle), value, INK, font, anchor="rm")
        room = right - left - 32 - font.getlength(value) - 8
        draw.text((left + 30, middle), fit(name, 13, room), INK, font, anchor="lm")
