"""A contact sheet: pictures in a grid, lines of text below each."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from .text import face, fit, line_height

INK, FAINT, RIGHT, WRONG = "#1b1f24", "#6e7781", "#1a7f37", "#cf222e"
MARGIN = 14
_GAP = 12
_TITLE, _NOTE, _LINE = 18, 13, 13
_MOST_LINES = 4


@dataclass(frozen=True)
class Tile:
    """A picture and the lines below it, each with its colour. `frame`: the colour around the picture."""

    image: Image.Image
    lines: Sequence[tuple[str, str]]
    frame: str | None = None


def sheet(title: str, note: str, tiles: Sequence[Tile], side: int, columns: int) -> Image.Image:
    """The tiles, row by row. Pictures are at most `side` pixels wide and high; a row is as high as its highest."""
    columns = max(1, min(columns, len(tiles)))
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [max(tile.image.height for tile in row) for row in rows]
    lines = min(_MOST_LINES, max((len(tile.lines) for tile in tiles), default=0))
    below = 4 + lines * line_height(_LINE) + _GAP
    width = max(2 * MARGIN + columns * (side + _GAP) - _GAP, 560)
    top = heading_height(note)
    canvas = Image.new("RGB", (width, top + sum(heights) + len(rows) * below + MARGIN), "white")
    draw_heading(canvas, title, note)
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            left = MARGIN + column * (side + _GAP)
            _draw_tile(canvas, tile, (left, top, left + side, top + height))
        top += height + below
    return canvas


def heading_height(note: str) -> int:
    """Pixels that `draw_heading` takes."""
    return MARGIN + line_height(_TITLE) + (line_height(_NOTE) if note else 0) + _GAP


def draw_heading(canvas: Image.Image, title: str, note: str) -> None:
    """A title and a fainter line below it."""
    draw, width = ImageDraw.Draw(canvas), canvas.width - 2 * MARGIN
    draw.text((MARGIN, MARGIN - 4), fit(title, _TITLE, width), INK, face(_TITLE))
    below = MARGIN - 2 + line_height(_TITLE)
    draw.text((MARGIN, below), fit(note, _NOTE, width), FAINT, face(_NOTE))


def _draw_tile(canvas: Image.Image, tile: Tile, box: tuple[int, int, int, int]) -> None:
    """`box`: left, top, right and bottom of the place for the picture."""
    left, top, right, bottom = box
    draw, image, edge = ImageDraw.Draw(canvas), tile.image, (left, top, right - 1, bottom - 1)
    draw.rectangle(edge, "#f6f8fa")
    canvas.paste(image, ((left + right - image.width) // 2, (top + bottom - image.height) // 2))
    if tile.frame is not None:
        draw.rectangle(edge, outline=tile.frame, width=4)
    for number, (text, colour) in enumerate(tile.lines[:_MOST_LINES]):
        y = bottom + 2 + number * line_height(_LINE)
        draw.text((left, y), fit(text, _LINE, right - left), colour, face(_LINE))
