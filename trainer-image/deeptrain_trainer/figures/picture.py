"""Pictures of evaluated items, as small as figures need them."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from ..dataset.image import decode_rgb
from ..dataset.index import Item
from ..dataset.store import StoredDataset


@dataclass(frozen=True)
class Thumbnail:
    """A picture of which the longest side is as asked for. `scale`: its pixels for one of the original."""

    image: Image.Image
    scale: float


class Pictures(Protocol):
    """The pictures of the items of a split, by their place in it."""

    def thumbnail(self, item: int, side: int) -> Thumbnail:
        """The picture, upright, its longest side of `side` pixels."""

    def sha256(self, item: int) -> str:
        """Hexadecimal SHA-256 of the item's file: how its owner finds it."""


class StoredPictures:
    """Pictures of a stored dataset, read when they are asked for."""

    def __init__(self, dataset: StoredDataset, items: Sequence[Item]) -> None:
        self._dataset, self._items = dataset, items

    def thumbnail(self, item: int, side: int) -> Thumbnail:
        """See Pictures."""
        return thumbnail(Image.fromarray(decode_rgb(self._dataset.read(self._items[item]))), side)

    def sha256(self, item: int) -> str:
        """See Pictures."""
        return self._items[item].sha256.hex()


def thumbnail(image: Image.Image, side: int) -> Thumbnail:
    """The image with a longest side of `side` pixels, smaller ones enlarged."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    # The gap makes large photos quick to reduce, with no difference that can be seen.
    return Thumbnail(image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0), scale)


def png(image: Image.Image) -> bytes:
    """The image as a PNG file without metadata."""
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
