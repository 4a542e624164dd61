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
    """The tiles, row by row, each picture in a square of `side` pixels."""
    columns = max(1, min(columns, len(tiles)))
    lines = min(_MOST_LINES, max((len(tile.lines) for tile in tiles), default=0))
    cell_height = side + 4 + lines * line_height(_LINE) + _GAP
    rows = -(-len(tiles) // columns)
    head = heading_height(note)
    width = max(2 * MARGIN + columns * (side + _GAP) - _GAP, 560)
    canvas = Image.new("RGB", (width, head + rows * cell_height + MARGIN), "white")
    draw_heading(canvas, title, note)
    for place, tile in enumerate(tiles):
        left = MARGIN + place % columns * (side + _GAP)
        top = head + place // columns * cell_height
        _draw_tile(canvas, tile, (left, top), side)
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


def _draw_tile(canvas: Image.Image, tile: Tile, at: tuple[int, int], side: int) -> None:
    draw, (left, top) = ImageDraw.Draw(canvas), at
    draw.rectangle((left, top, left + side - 1, top + side - 1), "#f6f8fa")
    image = tile.image
    canvas.paste(image, (left + (side - image.width) // 2, top + (side - image.height) // 2))
    if tile.frame is not None:
        draw.rectangle((left, top, left + side - 1, top + side - 1), outline=tile.frame, width=4)
    for number, (text, colour) in enumerate(tile.lines[:_MOST_LINES]):
        y = top + side + 2 + number * line_height(_LINE)
        draw.text((left, y), fit(text, _LINE, side), colour, face(_LINE))
