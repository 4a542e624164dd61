"""Pictures for the tests: item i is of one colour, which tells where it is on a sheet."""

import io
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deeptrain_trainer.figures.picture import Thumbnail, thumbnail


@dataclass
class Painted:
    """Pictures of `size` pixels. `asked`: which thumbnails were made."""

    size: tuple[int, int] = (30, 20)
    asked: list[int] = field(default_factory=list)

    def thumbnail(self, item: int, side: int) -> Thumbnail:
        self.asked.append(item)
        return thumbnail(Image.new("RGB", self.size, colour(item)), side)

    def sha256(self, item: int) -> str:
        return f"{item:064x}"


def colour(item: int) -> tuple[int, int, int]:
    return (10 + item % 20 * 5, 90, 100 + item // 20)


def pixels(content: bytes) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] of a PNG file, which has no metadata."""
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG" and not image.info
        return np.asarray(image.convert("RGB"))


def has_colour(picture: NDArray[np.uint8], want: tuple[int, int, int]) -> bool:
    return bool((picture == want).all(2).any())


def rgb(text: str) -> tuple[int, int, int]:
    """Of `#rrggbb`."""
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
