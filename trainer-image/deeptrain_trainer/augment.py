"""What training images go through: crop, flip, brightness, contrast, saturation. Evaluation sees none of it."""

import torch
from torch import Tensor
from torch.nn import functional as F

# Numbers in [0, 1) that one image needs, in the order in which `augment` reads them.
DRAWS = 8
# Smaller crops, such as ImageNet's .08, were measured to harm small sets of images.
SMALLEST_CROP_AREA = 0.35
WIDEST_RATIO = 4 / 3
JITTER = 0.2
# ITU-R BT.601
_LUMA = (0.299, 0.587, 0.114)


def augment(pixels: Tensor, draws: Tensor, flips: bool) -> Tensor:
    """uint8 [N, S, S, 3] and draws [N, DRAWS] to float [N, 3, S, S] from 0 to 255.

    Each image is cropped to .35 to 1 of its area at a ratio of 3:4 to 4:3 and scaled back, flipped horizontally with
    probability .5 where `flips`, and its brightness, contrast and saturation are changed by up to 20 %.
    """
    images = to_planes(pixels)
    size = list(images.shape)
    grid = F.affine_grid(_crop(draws, flips), size, align_corners=False)
    images = F.grid_sample(images, grid, "bilinear", padding_mode="border", align_corners=False)
    images = images.contiguous(memory_format=torch.channels_last)
    return _jitter(images, 1 + JITTER * (2 * draws[:, 5:8] - 1))


def to_planes(pixels: Tensor) -> Tensor:
    """uint8 [N, S, S, 3] to float [N, 3, S, S] in channels-last layout, values unchanged."""
    return pixels.permute(0, 3, 1, 2).float()


def _crop(draws: Tensor, flips: bool) -> Tensor:
    """Affine maps [N, 2, 3] from output to input coordinates, both in [-1, 1]."""
    area = SMALLEST_CROP_AREA + (1 - SMALLEST_CROP_AREA) * draws[:, 0]
    ratio = WIDEST_RATIO ** (2 * draws[:, 1] - 1)
    width = (area * ratio).sqrt().clamp(max=1)
    height = (area / ratio).sqrt().clamp(max=1)
    theta = draws.new_zeros(len(draws), 2, 3)
    flipped = (draws[:, 4] < 0.5) & flips
    theta[:, 0, 0] = torch.where(flipped, -width, width)
    theta[:, 1, 1] = height
    theta[:, 0, 2] = (1 - width) * (2 * draws[:, 2] - 1)
    theta[:, 1, 2] = (1 - height) * (2 * draws[:, 3] - 1)
    return theta


def _jitter(images: Tensor, factors: Tensor) -> Tensor:
    """`factors` [N, 3]: of brightness, contrast (around the image's mean grey), saturation (around each grey)."""
    brightness, contrast, saturation = (f.view(-1, 1, 1, 1) for f in factors.unbind(1))
    luma = images.new_tensor(_LUMA).view(1, 3, 1, 1)
    images = (images * brightness).clamp_(0, 255)
    mean = (images * luma).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    images = ((images - mean) * contrast + mean).clamp_(0, 255)
    grey = (images * luma).sum(1, keepdim=True)
    return ((images - grey) * saturation + grey).clamp_(0, 255)
