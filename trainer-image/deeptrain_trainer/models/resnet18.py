"""ResNet-18 (He et al. 2015) as torchvision has it, without its classifier."""

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

# Of ImageNet, in grey levels.
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)


class ResNet18(nn.Module):
    """Pixels from 0 to 255 to 512 features.

    From image_size 64 on the stem is the published one: 7x7 at stride 2, then a max-pool, 32 in all with the stages.
    Smaller images would be left with one cell: there the stem is 3x3 at stride 2 without the pool, 16 in all, so that
    32 pixels end in 2x2 cells, at the price of one image of 64 pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.net = resnet18(weights=None)
        self.net.fc = nn.Identity()
        if image_size < 64:
            self.net.conv1 = nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False)
            self.net.maxpool = nn.Identity()
            nn.init.kaiming_normal_(self.net.conv1.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pixels: Tensor) -> Tensor:
        """Features [N, 512]."""
        features: Tensor = self.net((pixels - self.mean) / self.std)
        return features
