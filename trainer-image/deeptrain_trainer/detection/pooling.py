"""Cuts boxes out of a feature pyramid (RoIAlign, He et al. 2017): each from the level that fits its size."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import roi_align

from ..models.fasterrcnn import POOLED_SIDE
from .boxes import areas

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
    """[R, channels, 7, 7] of boxes [R, 4], finite, in pixels, each in the image of that number, in single precision
    at least. The boxes teach nothing by it.
    """
    dtype = torch.promote_types(levels[0].dtype, torch.float32)
    regions = torch.cat((images.unsqueeze(1).to(dtype), boxes.to(dtype)), 1)
    level = level_of(boxes)
    rows = [torch.nonzero(level == number).flatten() for number in range(len(levels))]
    parts = [
        roi_align(features.to(dtype), regions[own], POOLED_SIDE, 1 / stride, SAMPLES, aligned=True)
        for features, own, stride in zip(levels, rows, POOLED_STRIDES, strict=True)
    ]
    return torch.cat(parts).index_select(0, torch.cat(rows).argsort())
