"""Generated photographs: JPEG files of ten concepts that a network learns within a few epochs. The same bytes always.

Each shows a shape of one concept, of any colour, place and tilt, over a blurred background with sensor noise, so that
files have the sizes, and decoding the cost, of small photos.
"""

from math import cos, pi, sin
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Point = tuple[float, float]

SHORTEST_SIDE, LONGEST_SIDE = 100, 300
_QUALITY = 88


def _regular(corners: int) -> list[Point]:
    return [(cos(2 * pi * n / corners), sin(2 * pi * n / corners)) for n in range(corners)]


def _star(points: int) -> list[Point]:
    radii = [1.0 if n % 2 == 0 else 0.4 for n in range(2 * points)]
    return [(r * cos(pi * n / points), r * sin(pi * n / points)) for n, r in enumerate(radii)]


def _bar(width: float) -> list[Point]:
    return [(-1, -width), (1, -width), (1, width), (-1, width)]


# Polygons in a circle of radius 1: those of one concept are drawn one upon the other.
CONCEPTS: dict[str, list[list[Point]]] = {
    "bar": [_bar(0.2)],
    "bars": [[(x, y - 0.5) for x, y in _bar(0.15)], [(x, y + 0.5) for x, y in _bar(0.15)]],
    "cross": [_bar(0.2), [(y, x) for x, y in _bar(0.2)]],
    "disc": [_regular(40)],
    "halfmoon": [[p for p in _regular(40) if p[1] >= -1e-9]],
    "hexagons": [[(0.45 * x + dx, 0.45 * y) for x, y in _regular(6)] for dx in (-0.55, 0.55)],
    "square": [_regular(4)],
    "star": [_star(5)],
    "thorns": [_star(12)],
    "triangle": [_regular(3)],
}


def write_pictures(folder: Path, train: int, validation: int) -> None:
    """Writes train/<concept>/NNNNN.jpg and validation/<concept>/NNNNN.jpg, equally many of each concept."""
    for split, count in (("train", train), ("validation", validation)):
        for number in range(count):
            concept = list(CONCEPTS)[number % len(CONCEPTS)]
            path = folder / split / concept / f"{number:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            seed = [number, 0 if split == "train" else 1]
            picture(concept, np.random.default_rng(seed)).save(path, "JPEG", quality=_QUALITY)


def picture(concept: str, generator: np.random.Generator) -> Image.Image:
    """One picture of a concept."""
    width, height = (int(n) for n in generator.integers(SHORTEST_SIDE, LONGEST_SIDE + 1, 2))
    background = generator.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    image = Image.fromarray(background).resize((width, height), Image.Resampling.BICUBIC)
    _scribble(image, generator)
    _draw(image, CONCEPTS[concept], generator)
    image = image.filter(ImageFilter.GaussianBlur(generator.uniform(0.4, 1.2)))
    noise = generator.normal(0, 8, (height, width, 1))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def _scribble(image: Image.Image, generator: np.random.Generator) -> None:
    """Thin lines that mean nothing."""
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        ends = generator.uniform(0, 1, 4) * np.array([*image.size, *image.size])
        draw.line([float(v) for v in ends], fill=_colour(generator), width=2)


def _draw(image: Image.Image, polygons: list[list[Point]], generator: np.random.Generator) -> None:
    radius = generator.uniform(0.3, 0.45) * min(image.size)
    x, y = (generator.uniform(radius, side - radius) for side in image.size)
    tilt = generator.uniform(0, 2 * pi)

    def place(point: Point) -> Point:
        return (
            x + radius * (point[0] * cos(tilt) - point[1] * sin(tilt)),
            y + radius * (point[0] * sin(tilt) + point[1] * cos(tilt)),
        )

    draw, fill = ImageDraw.Draw(image), _colour(generator)
    for polygon in polygons:
        draw.polygon([place(point) for point in polygon], fill=fill, outline="black")


def _colour(generator: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (int(v) for v in generator.integers(0, 256, 3))
    return red, green, blue
