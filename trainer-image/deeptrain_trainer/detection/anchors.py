"""Anchors: the boxes that a dense detector starts from, several at each cell of each level (Ren et al. 2015)."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor


@dataclass(frozen=True)
class AnchorShapes:
    """The anchors of one cell: all pairs of `sides` (in strides of the level) and `ratios` (height over width)."""

    sides: tuple[float, ...]
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)

    @property
    def count(self) -> int:
        """Anchors at each cell."""
        return len(self.sides) * len(self.ratios)


def octaves(first: float) -> tuple[float, ...]:
    """Three sides, a third of an octave apart, as in RetinaNet (Lin et al. 2017)."""
    return (first, first * 2 ** (1 / 3), first * 2 ** (2 / 3))


def anchor_boxes(image_size: int, strides: Sequence[int], shapes: AnchorShapes) -> Tensor:
    """The anchors of all levels, float [A, 4]."""
    return torch.cat(anchor_levels(image_size, strides, shapes))


def anchor_levels(image_size: int, strides: Sequence[int], shapes: AnchorShapes) -> list[Tensor]:
    """Corners x_min, y_min, x_max, y_max in pixels, float [A_l, 4] of each level.

    Ordered as the heads' outputs: by row, column, then anchor of the cell. They reach beyond the picture.
    """
    sizes = torch.tensor(
        [(side / sqrt(r), side * sqrt(r)) for side in shapes.sides for r in shapes.ratios]
    )
    levels = []
    for stride in strides:
        cells = -(-image_size // stride)
        centres = (torch.arange(cells) + 0.5) * stride
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        middle = torch.stack((x, y), -1).view(-1, 1, 2)
        half = sizes * (stride / 2)
        levels.append(torch.cat((middle - half, middle + half), -1).view(-1, 4))
    return levels
