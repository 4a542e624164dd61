"""ConvNeXt-Tiny (Liu et al. 2022) as torchvision has it, without its classifier."""

from torch import Tensor, nn
from torchvision.models import convnext_tiny

from .resnet import Normalised


class ConvNeXtTiny(Normalised):
    """Pixels from 0 to 255 to 768 features, normalised over the layer as published. Stride 32."""

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.net = convnext_tiny(weights=None)
        # Of LayerNorm, Flatten, Linear the first two belong to the features.
        self.net.classifier[2] = nn.Identity()

    def forward(self, pixels: Tensor) -> Tensor:
        """Features [N, 768]."""
        features: Tensor = self.net(self.normalise(pixels))
        return features
