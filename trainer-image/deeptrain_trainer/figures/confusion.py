"""The confusion matrix of concepts that exclude one another: all of it as JSON, the most confused part as a picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .document import rows_document
from .picture import png
from .sheet import INK, MARGIN, draw_heading, heading_height
from .text import face, fit, label

MOST_CONCEPTS = 40
"""Rows of the picture. A matrix of more shows those that are confused most often."""
_LABEL, _LABEL_WIDTH = 13, 150
_BLUE = np.array([9, 105, 218])
_RED = np.array([207, 34, 46])


def confusion_files(counts: NDArray[np.int64], names: Sequence[str]) -> dict[str, bytes]:
    """`counts[i, j]`: items of concept i that were taken for concept j.

    The JSON has the cells that are not 0, as [i, j, count]: a thousand concepts have a million cells.
    """
    rows, columns = np.nonzero(counts)
    cells = [[int(i), int(j), int(counts[i, j])] for i, j in zip(rows, columns, strict=True)]
    head: dict[str, Any] = {"concepts": list(names), "cells are": ["truth", "predicted", "items"]}
    return {
        "evaluation/confusion.json": rows_document(head, "cells", cells),
        "evaluation/confusion.png": png(_matrix(counts, names)),
    }


def most_confused(counts: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """The numbers, ascending, of at most `most` concepts: those of the most frequent confusions, whole pairs."""
    if len(counts) <= most:
        return np.arange(len(counts))
    wrong = counts - np.diag(np.diagonal(counts))
    chosen: set[int] = set()
    for cell in np.argsort(-wrong, axis=None, kind="stable"):
        pair = {int(cell) // len(counts), int(cell) % len(counts)}
        if len(chosen | pair) > most:
            break
        chosen |= pair
    return np.array(sorted(chosen))


def _matrix(counts: NDArray[np.int64], names: Sequence[str]) -> Image.Image:
    chosen = most_confused(counts, MOST_CONCEPTS)
    shown = counts[np.ix_(chosen, chosen)]
    # Of all items of a concept, also those that were taken for one that is not shown.
    shares = shown / np.maximum(counts[chosen].sum(1, keepdims=True), 1)
    cell = int(np.clip(720 // max(len(chosen), 1), 24, 64))
    right = int((counts * np.eye(len(counts), dtype=np.int64)).sum())
    title = f"Confusion: {right:,} of {int(counts.sum()):,} items right"
    note = "Rows: truth. Columns: predicted. Colour: share of the row."
    if len(chosen) < len(names):
        note += f" The {len(chosen)} most confused of {len(names):,} concepts."
    texts = [fit(label(names[c], int(c)), _LABEL, _LABEL_WIDTH) for c in chosen]
    longest = int(max((face(_LABEL).getlength(text) for text in texts), default=0)) + 8
    left, top = MARGIN + longest, heading_height(note) + longest
    size = len(chosen) * cell
    canvas = Image.new("RGB", (max(left + size + MARGIN, 640), top + size + MARGIN), "white")
    draw_heading(canvas, title, note)
    draw = ImageDraw.Draw(canvas)
    for place, text in enumerate(texts):
        middle = place * cell + cell // 2
        draw.text((left - 6, top + middle), text, INK, face(_LABEL), anchor="rm")
        _draw_upward(canvas, text, (left + middle, top - 6))
    for i, j in np.ndindex(shown.shape):
        box = (left + j * cell, top + i * cell, left + (j + 1) * cell - 2, top + (i + 1) * cell - 2)
        _draw_cell(draw, box, int(shown[i, j]), float(shares[i, j]), bool(i == j))
    return canvas


def _draw_cell(
    draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], count: int, share: float, right: bool
) -> None:
    """The square root lets rare confusions be seen."""
    depth = share**0.5
    colour = np.rint(255 + ((_BLUE if right else _RED) - 255) * depth * 0.9).astype(int)
    if not count:
        colour = np.array([246, 248, 250])
    draw.rectangle(box, (int(colour[0]), int(colour[1]), int(colour[2])))
    if count:
        text, width = f"{count}", box[2] - box[0]
        size = next((s for s in (15, 13, 11, 9) if face(s).getlength(text) < width - 2), None)
        if size is not None:
            middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
            ink = "white" if depth > 0.6 else INK
            draw.text(middle, text, ink, face(size), anchor="mm")


def _draw_upward(canvas: Image.Image, text: str, at: tuple[int, int]) -> None:
    """Text that reads from the bottom up and begins at `at`."""
    width, height = int(face(_LABEL).getlength(text)) + 2, _LABEL + 8
    strip = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(strip).text((1, height // 2), text, INK, face(_LABEL), anchor="lm")
    turned = strip.transpose(Image.Transpose.ROTATE_90)
    canvas.paste(turned, (at[0] - height // 2, at[1] - width))
