"""Boxes relative to anchors, and overlaps. Corners are x_min, y_min, x_max, y_max in pixels of the square."""

from math import log

import torch
from torch import Tensor

# exp() of more would be a box of over 60 times its anchor: it only overflows early in training (Detectron).
_MOST_LOG_SIZE = log(1000 / 16)


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Offsets of the centre in anchor sizes and logarithms of the size ratio [..., 4] (Girshick et al. 2014)."""
    size, anchor_size = boxes[..., 2:] - boxes[..., :2], anchors[..., 2:] - anchors[..., :2]
    shift = (boxes[..., :2] + boxes[..., 2:] - anchors[..., :2] - anchors[..., 2:]) / 2
    # A box that clipping made thin must not become an infinite target.
    return torch.cat((shift / anchor_size, (size.clamp(min=0.1) / anchor_size).log()), -1)


def decode(deltas: Tensor, anchors: Tensor) -> Tensor:
    """The boxes [..., 4] that `encode` gave the deltas for."""
    anchor_size = anchors[..., 2:] - anchors[..., :2]
    middle = (anchors[..., :2] + anchors[..., 2:]) / 2 + deltas[..., :2] * anchor_size
    half = deltas[..., 2:].clamp(max=_MOST_LOG_SIZE).exp() * anchor_size / 2
    return torch.cat((middle - half, middle + half), -1)


def at_least_single(values: Tensor) -> Tensor:
    """The same in single precision, where it was half: corners need more than that."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def areas(boxes: Tensor) -> Tensor:
    """[..., 4] to [...]."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def intersections(a: Tensor, b: Tensor) -> Tensor:
    """Areas that each of a [A, 4] shares with each of b [B, 4]: [A, B].

    Fastest where b is the longer one and its columns are contiguous.
    """
    # Widths and heights apart, each made along b: corners [A, B, 2] would be made in steps of two numbers.
    a_left, a_top, a_right, a_bottom = a[:, None].unbind(2)
    left, top, right, bottom = b.unbind(1)
    width = torch.minimum(a_right, right).sub_(torch.maximum(a_left, left)).clamp_(min=0)
    height = torch.minimum(a_bottom, bottom).sub_(torch.maximum(a_top, top)).clamp_(min=0)
    return width.mul_(height)


def ious(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of each of a [A, 4] with each of b [B, 4]: [A, B]."""
    shared = intersections(a, b)
    united = (areas(a)[:, None] + areas(b)[None]).sub_(shared).clamp_(min=1e-9)
    return shared.div_(united)
