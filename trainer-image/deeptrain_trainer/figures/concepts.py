"""The table of the concepts: whole as JSON and CSV, its worst rows as a picture."""

import csv
import io
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from PIL import Image, ImageDraw

from ..metrics import worst_by, worst_first
from .document import rows_document
from .picture import png
from .sheet import FAINT, INK, MARGIN, draw_heading, heading_height
from .text import face, fit, label

Row = Mapping[str, Any]

MOST_ROWS = 50
# In words, what concepts are compared by.
_COMPARED = {
    "ap": "average precision",
    "video_ap": "average precision of videos",
    "recall": "recall",
}
_NAME_WIDTH, _COLUMN, _ROW_HEIGHT, _TEXT, _GAP = 220, 96, 22, 13, 18
# What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def concept_files(rows: Sequence[Row], title: str) -> dict[str, bytes]:
    """`rows` have `concept`, `support` and metrics by their names in api/metrics.ts; what has no support is absent."""
    return {
        "evaluation/concepts.json": rows_document({}, "concepts", rows),
        "evaluation/concepts.csv": _csv(rows),
        "evaluation/concepts.png": png(_table(rows, title)),
    }


def _columns(rows: Sequence[Row]) -> list[str]:
    """`support` first, then the metrics in the order in which they appear."""
    names = dict.fromkeys(name for row in rows for name in row)
    return ["support", *(name for name in names if name not in ("concept", "support"))]


def _csv(rows: Sequence[Row]) -> bytes:
    out = io.StringIO()
    columns = _columns(rows)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["concept", *columns])
    for row in rows:
        name = str(row["concept"])
        quoted = f"'{name}" if name.startswith(_FORMULA) else name
        writer.writerow([quoted, *(row.get(column, "") for column in columns)])
    return out.getvalue().encode()


def _table(rows: Sequence[Row], title: str) -> Image.Image:
    columns, shown = _columns(rows), worst_first(rows)[:MOST_ROWS]
    note = f"Lowest {_COMPARED[worst_by(rows)]} first."
    if len(shown) < len(rows):
        note += f" The first {len(shown)} of {len(rows):,} concepts; all are in concepts.csv."
    top = heading_height(note)
    font = face(_TEXT)
    widths = [max(_COLUMN, round(font.getlength(column)) + _GAP) for column in columns]
    width = max(2 * MARGIN + _NAME_WIDTH + sum(widths), 560)
    canvas = Image.new("RGB", (width, top + (len(shown) + 1) * _ROW_HEIGHT + MARGIN), "white")
    draw_heading(canvas, title, note)
    draw = ImageDraw.Draw(canvas)
    rights = [MARGIN + _NAME_WIDTH + end - 8 for end in accumulate(widths)]
    for right, column in zip(rights, columns, strict=True):
        draw.text((right, top + _ROW_HEIGHT // 2), column, FAINT, font, anchor="rm")
    for line, place in enumerate(shown):
        row, upper = rows[place], top + (line + 1) * _ROW_HEIGHT
        middle = upper + _ROW_HEIGHT // 2
        name = fit(label(str(row["concept"]), place), _TEXT, _NAME_WIDTH - 10)
        draw.text((MARGIN, middle), name, INK, font, anchor="lm")
        for right, column in zip(rights, columns, strict=True):
            if column in row:
                _draw_value(draw, row[column], (right, upper))
    return canvas


def _draw_value(draw: ImageDraw.ImageDraw, value: float | int, at: tuple[int, int]) -> None:
    """A share of 1 has a bar behind it."""
    right, upper = at
    if isinstance(value, float) and 0 <= value <= 1:
        room = _COLUMN - 14
        left = right + 4 - room
        draw.rectangle((left, upper + 2, right + 4, upper + _ROW_HEIGHT - 3), "#f6f8fa")
        draw.rectangle((left, upper + 2, left + room * value, upper + _ROW_HEIGHT - 3), "#b6d7ff")
    text = f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
    draw.text((right, upper + _ROW_HEIGHT // 2), text, INK, face(_TEXT), anchor="rm")
