"""EfficientNet-Lite: EfficientNet with ReLU6, without squeeze-and-excitation.

Written here because the bundled weights want what TensorFlow does (padding SAME, batch-norm epsilon 1e-3) and an
input of (x - 127) / 128; with ImageNet's mean and deviation they lose ten points.
"""

from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .relu6 import relu6_in_place

# Expansion, kernel, first stride, output channels, repeats: table 1 of Tan & Le 2019.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
FEATURES = 1280


class ConvNorm(nn.Module):
    """Convolution with padding SAME, batch-norm and, where `act`, ReLU6. `size` is the side of its input."""

    def __init__(
        self,
        channels: tuple[int, int],
        size: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        act: bool = True,
    ) -> None:
        super().__init__()
        cells = -(-size // stride)
        total = max(0, (cells - 1) * stride + kernel - size)
        # SAME pads one more at the end than at the beginning; at stride 1 both are equal.
        self.padding = (total // 2, total - total // 2) * 2
        symmetric = total % 2 == 0
        self.conv = nn.Conv2d(
            *channels,
            kernel,
            stride,
            padding=total // 2 if symmetric else 0,
            groups=groups,
            bias=False,
        )
        self.pads = not symmetric
        # Not TensorFlow's momentum of 0.01, with which statistics follow random weights only after hundreds of steps.
        # Those of a pretrained base stay as they are.
        self.norm = nn.BatchNorm2d(channels[1], eps=1e-3)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, size, size] to [N, C', ceil(size / stride), ...]."""
        if self.pads:
            x = F.pad(x, self.padding)
        x = self._convolved(x)
        if not self.act:
            return x
        return relu6_in_place(x) if self.training and torch.is_grad_enabled() else F.relu6(x)

    def _convolved(self, x: Tensor) -> Tensor:
        norm = self.norm
        if norm.training or torch.compiler.is_exporting():
            normed: Tensor = norm(self.conv(x))
            return normed
        # Statistics that stay make one convolution of the two: a third of the maps in memory, and less time.
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        weight = self.conv.weight * scale[:, None, None, None]
        folded: Tensor = self.conv._conv_forward(x, weight, norm.bias - norm.running_mean * scale)
        return folded


class InvertedResidual(nn.Module):
    """Expand, depthwise convolution, project; with a shortcut where the shape stays."""

    def __init__(
        self, channels: tuple[int, int], size: int, expansion: int, kernel: int, stride: int
    ) -> None:
        super().__init__()
        inner = channels[0] * expansion
        self.expand = ConvNorm((channels[0], inner), size) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm((inner, inner), size, kernel, stride, groups=inner)
        self.project = ConvNorm((inner, channels[1]), -(-size // stride), act=False)
        self.has_shortcut = stride == 1 and channels[0] == channels[1]

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] to [N, C', H / stride, W / stride]."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.has_shortcut else y


class EfficientNetLite0(nn.Module):
    """Pixels from 0 to 255 to 1280 features; built for one image_size."""

    # How much wider and deeper than the table the stages are (Tan & Le 2019). In none of the Lite ones stem and last
    # convolution are wider, nor the first and the last stage deeper.
    WIDTH, DEPTH = 1.0, 1.0

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.stem = ConvNorm((3, 32), image_size, kernel=3, stride=2)
        size, width = image_size // 2, 32
        blocks: list[nn.Module] = []
        for number, (expansion, kernel, first_stride, table, repeats) in enumerate(STAGES):
            channels = _widened(table, self.WIDTH)
            is_deeper = 0 < number < len(STAGES) - 1
            for repeat in range(ceil(repeats * self.DEPTH) if is_deeper else repeats):
                stride = first_stride if repeat == 0 else 1
                blocks.append(InvertedResidual((width, channels), size, expansion, kernel, stride))
                size, width = -(-size // stride), channels
        self.blocks = nn.Sequential(*blocks)
        self.head = ConvNorm((width, FEATURES), size)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pixels: Tensor) -> Tensor:
        """Features [N, 1280]."""
        x: Tensor = self.head(self.blocks(self.stem((pixels - 127.0) / 128.0)))
        return x.mean(dim=(2, 3))


class EfficientNetLite1(EfficientNetLite0):
    """Deeper."""

    DEPTH = 1.1


class EfficientNetLite2(EfficientNetLite0):
    """Wider and deeper."""

    WIDTH, DEPTH = 1.1, 1.2


def _widened(channels: int, width: float) -> int:
    """A multiple of 8 that is at least nine tenths of the product, as in the authors' code."""
    widened = max(8, int(channels * width + 4) // 8 * 8)
    return widened if widened >= 0.9 * channels * width else widened + 8


class EfficientNetLite0Maps(EfficientNetLite0):
    """The same without its last convolution: pixels to the maps that detectors are built on."""

    # The last blocks of strides 8, 16 and 32, and the channels they give.
    TAPS = (4, 10, 15)
    WIDTHS = (40, 112, 320)

    def __init__(self, image_size: int) -> None:
        super().__init__(image_size)
        del self.head

    def forward(self, pixels: Tensor) -> list[Tensor]:  # type: ignore[override]
        """Maps [N, width, S / stride, S / stride]."""
        x = self.stem((pixels - 127.0) / 128.0)
        maps = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self.TAPS:
                maps.append(x)
        return maps
