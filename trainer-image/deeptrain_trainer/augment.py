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
# On a CPU so many values go through all of it before the next ones do: they stay in its cache. Measured at 224 pixels,
# a seventh of the time of the whole batch at once.
_VALUES_AT_ONCE = 1 << 20
# ITU-R BT.601
_LUMA = (0.299, 0.587, 0.114)


def augment(pixels: Tensor, draws: Tensor, flips: bool) -> Tensor:
    """uint8 [N, S, S, 3] and draws [N, DRAWS] to float [N, 3, S, S] from 0 to 255, in channels-last layout.

    Each image is cropped to .35 to 1 of its area at a ratio of 3:4 to 4:3 and scaled back, flipped horizontally with
    probability .5 where `flips`, and its brightness, contrast and saturation are changed by up to 20 %.
    """
    count, size = pixels.shape[:2]
    images = torch.empty(
        (count, 3, size, size), device=pixels.device, memory_format=torch.channels_last
    )
    at_once = count if pixels.is_cuda else max(1, _VALUES_AT_ONCE // (3 * size * size))
    for start in range(0, count, at_once):
        part = slice(start, start + at_once)
        cropped = F.grid_sample(
            to_planes(pixels[part]),
            _crop(draws[part], flips, size),
            "bilinear",
            padding_mode="border",
            align_corners=False,
        )
        images[part] = _jitter(cropped, 1 + JITTER * (2 * draws[part, 5:8] - 1))
    return images


def to_planes(pixels: Tensor) -> Tensor:
    """uint8 [N, S, S, 3] to float [N, 3, S, S] in channels-last layout, values unchanged."""
    return pixels.permute(0, 3, 1, 2).float()


def _crop(draws: Tensor, flips: bool, size: int) -> Tensor:
    """Where each pixel of the results lies in its image: [N, size, size, 2] of x and y, from -1 to 1."""
    area = SMALLEST_CROP_AREA + (1 - SMALLEST_CROP_AREA) * draws[:, 0:1]
    ratio = WIDEST_RATIO ** (2 * draws[:, 1:2] - 1)
    width = (area * ratio).sqrt().clamp(max=1)
    height = (area / ratio).sqrt().clamp(max=1)
    flipped = (draws[:, 4:5] < 0.5) & flips
    centres = (2 * torch.arange(size, device=draws.device) + 1) / size - 1
    x = torch.where(flipped, -width, width) * centres + (1 - width) * (2 * draws[:, 2:3] - 1)
    y = height * centres + (1 - height) * (2 * draws[:, 3:4] - 1)
    shape = (len(draws), size, size)
    return torch.stack((x[:, None, :].expand(shape), y[:, :, None].expand(shape)), 3)


def _jitter(images: Tensor, factors: Tensor) -> Tensor:
    """`factors` [N, 3]: of brightness, contrast (around the image's mean grey), saturation (around each grey).

    One after the other they would be b x, then c (x - m) + m, then s (x - grey(x)) + grey(x). All are linear, so that
    they come to b c s x + b c (1 - s) grey(x) + b (1 - c) mean: two passes over the pixels instead of nine.
    """
    brightness, contrast, saturation = factors.unbind(1)
    grey = torch.einsum("nchw,c->nhw", images, images.new_tensor(_LUMA))
    mean = grey.mean((1, 2))
    of_grey = brightness * contrast * (1 - saturation)
    added = of_grey.view(-1, 1, 1) * grey + (brightness * (1 - contrast) * mean).view(-1, 1, 1)
    of_image = (brightness * contrast * saturation).view(-1, 1, 1, 1)
    return images.mul_(of_image).add_(added[:, None]).clamp_(0, 255)
