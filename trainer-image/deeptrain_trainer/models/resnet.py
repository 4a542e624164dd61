"""ResNet-18 and ResNet-50 (He et al. 2015) as torchvision has them, without their classifier."""

import torch
from torch import Tensor, nn
from torchvision.models import ResNet, resnet18, resnet50

# Of ImageNet, in grey levels.
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


class Normalised(nn.Module):
    """Takes pixels from 0 to 255 to what a network that was made for ImageNet's mean and deviation expects."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Float [N, 3, S, S] from 0 to 255, normalised."""
        return (pixels - self.mean) / self.std


class _ResNet(Normalised):
    """Pixels from 0 to 255 to the features of the last stage, averaged.

    From image_size 64 on the stem is the published one: 7x7 at stride 2, then a max-pool, 32 in all with the stages.
    Smaller images would be left with one cell: there the stem is 3x3 at stride 2 without the pool, 16 in all, so that
    32 pixels end in 2x2 cells, at the price of one image of 64 pixels.
    """

    def __init__(self, net: ResNet, image_size: int) -> None:
        super().__init__()
        self.net = net
        self.net.fc = nn.Identity()
        if image_size < 64:
            self.net.conv1 = nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False)
            self.net.maxpool = nn.Identity()
            nn.init.kaiming_normal_(self.net.conv1.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pixels: Tensor) -> Tensor:
        """Features [N, F]."""
        features: Tensor = self.net(self.normalise(pixels))
        return features


class ResNet18(_ResNet):
    """512 features."""

    def __init__(self, image_size: int) -> None:
        super().__init__(resnet18(weights=None), image_size)


class ResNet50(_ResNet):
    """2048 features."""

    def __init__(self, image_size: int) -> None:
        super().__init__(resnet50(weights=None), image_size)


class ResNet50Maps(ResNet50):
    """The maps of strides 8, 16 and 32 that detectors are built on, instead of averaged features."""

    WIDTHS: tuple[int, ...] = (512, 1024, 2048)

    def forward(self, pixels: Tensor) -> list[Tensor]:  # type: ignore[override]
        """Maps [N, width, S / stride, S / stride]."""
        net = self.net
        maps = [net.maxpool(net.relu(net.bn1(net.conv1(self.normalise(pixels)))))]
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            maps.append(stage(maps[-1]))
        return maps[-len(self.WIDTHS) :]

    def freeze_stem(self) -> None:
        """Freezes the stem and the first stage: what they have learnt is the same for all pictures."""
        for module in (self.net.conv1, self.net.bn1, self.net.layer1):
            module.requires_grad_(False)


class ResNet50FineMaps(ResNet50Maps):
    """Those maps, and before them that of stride 4."""

    WIDTHS = (256, *ResNet50Maps.WIDTHS)
