"""Cuts boxes out of a feature pyramid (RoIAlign, He et al. 2017): each from the level that fits its size."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

from ..models.fasterrcnn import POOLED_SIDE
from .boxes import areas, at_least_single

# Of the levels that boxes are cut out of.
POOLED_STRIDES = (4, 8, 16, 32)
# From these areas on a box belongs to the next level: sides of 112, 224 and 448 pixels (Lin et al. 2017).
LEVEL_AREAS = (112.0**2, 224.0**2, 448.0**2)
# Of each side of a cell.
SAMPLES = 2


def level_of(boxes: Tensor) -> Tensor:
    """[R, 4] to the number of its level, int64 [R]. Compared, not computed by a logarithm, so that ONNX agrees."""
    bounds = torch.tensor(LEVEL_AREAS, device=boxes.device, dtype=boxes.dtype)
    return (areas(boxes).unsqueeze(1) >= bounds).sum(1)


def pooled(levels: Sequence[Tensor], boxes: Tensor, images: Tensor) -> Tensor:
    """[R, channels, 7, 7] of boxes [R, 4], finite, in pixels, each in the image of that number; in single precision at
    least. The boxes learn nothing by it.
    """
    maps = [at_least_single(level) for level in levels]
    regions = torch.cat((images.unsqueeze(1), boxes), 1).to(maps[0].dtype)
    squares = regions.new_empty(len(boxes), maps[0].shape[1], POOLED_SIDE, POOLED_SIDE)
    level = level_of(boxes)
    for number, (features, stride) in enumerate(zip(maps, POOLED_STRIDES, strict=True)):
        rows = torch.nonzero(level == number).flatten()
        part = roi_align(features, regions[rows], POOLED_SIDE, 1 / stride, SAMPLES, aligned=True)
        squares.index_copy_(0, rows, part)
    return squares
