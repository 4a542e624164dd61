"""What training images and their boxes go through: zoom, shift, flip, brightness. Evaluation sees none of it."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ..augment import to_planes
from .letterbox import PAD_LEVEL
from .targets import Truth

# Numbers in [0, 1) that one image needs, in the order in which `augment` reads them.
DRAWS = 7
# An image is scaled to .8 to 1.25 of its size.
WIDEST_SCALE = 1.25
# A crop keeps at least so much of both sides.
SMALLEST_CROP = 0.5
BRIGHTNESS = 0.2


def augment(
    pixels: Tensor, inside: Tensor, truth: Truth, draws: Tensor, flips: bool, crops: bool
) -> tuple[Tensor, Truth]:
    """uint8 [N, S, S, 3] and draws [N, DRAWS] to float [N, 3, S, S] from 0 to 255, and the boxes there.

    `inside` [N, 2] is the width and height of the picture within its letterbox. It is scaled, put anywhere that it
    fits (where it is larger than the square, a part of it fills the square), flipped with probability .5 where
    `flips`, and its brightness is changed by up to 20 %. Half of the images are enlarged further, up to twofold, where
    `crops`. A box whose centre is cut off becomes ignored: what is left of it is neither an example nor background.
    """
    images = to_planes(pixels) - PAD_LEVEL
    size = images.shape[-1]
    scale = WIDEST_SCALE ** (2 * draws[:, 0] - 1)
    if crops:
        crop = SMALLEST_CROP + (1 - SMALLEST_CROP) * draws[:, 5]
        scale = torch.where(draws[:, 6] < 0.5, scale / crop, scale)
    # x' = scale * x + shift, then flipped: x'' = size - x'.
    shift = (size - scale[:, None] * inside) * draws[:, 1:3]
    flipped = (draws[:, 3] < 0.5) & flips
    images = F.grid_sample(
        images,
        _grid(scale, shift, flipped, size, images),
        "bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    images = images.contiguous(memory_format=torch.channels_last) + PAD_LEVEL
    brightness = 1 + BRIGHTNESS * (2 * draws[:, 4] - 1)
    return (images * brightness.view(-1, 1, 1, 1)).clamp_(0, 255), _moved(
        truth, scale, shift, flipped, size
    )


def _grid(scale: Tensor, shift: Tensor, flipped: Tensor, size: int, images: Tensor) -> Tensor:
    """Where each output pixel is read, both from -1 to 1."""
    theta = scale.new_zeros(len(scale), 2, 3)
    # In [-1, 1]: u' = scale * u + (scale - 1) + 2 * shift / size; the inverse of it, flipped before.
    offset = ((scale[:, None] - 1) + 2 * shift / size) / scale[:, None]
    theta[:, 0, 0] = torch.where(flipped, -1 / scale, 1 / scale)
    theta[:, 1, 1] = 1 / scale
    theta[:, :, 2] = -offset
    return F.affine_grid(theta, list(images.shape), align_corners=False)


def _moved(truth: Truth, scale: Tensor, shift: Tensor, flipped: Tensor, size: int) -> Truth:
    boxes = truth.boxes * scale.view(-1, 1, 1) + shift.repeat(1, 2)[:, None]
    mirrored = torch.stack(
        (size - boxes[..., 2], boxes[..., 1], size - boxes[..., 0], boxes[..., 3]), -1
    )
    boxes = torch.where(flipped.view(-1, 1, 1), mirrored, boxes)
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    kept = ((middle > 0) & (middle < size)).all(-1)
    clipped = boxes.clamp(0, size)
    visible = (clipped[..., 2:] > clipped[..., :2]).all(-1)
    return replace(
        truth,
        boxes=clipped,
        concepts=torch.where(visible, truth.concepts, -1),
        ignored=truth.ignored | ~kept,
    )
