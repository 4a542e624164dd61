"""ViT-Small with patches of 16 (Steiner et al. 2021), of torchvision's parts, without its classifier."""

from torch import Tensor, nn
from torchvision.models import VisionTransformer

from .resnet import Normalised

PATCH = 16


class ViTSmall(Normalised):
    """Pixels from 0 to 255 to 384 features of the class token; built for one image_size, a multiple of 16."""

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.net = VisionTransformer(
            image_size=image_size,
            patch_size=PATCH,
            num_layers=12,
            num_heads=6,
            hidden_dim=384,
            mlp_dim=1536,
        )
        self.net.heads = nn.Sequential()

    def forward(self, pixels: Tensor) -> Tensor:
        """Features [N, 384]."""
        features: Tensor = self.net(self.normalise(pixels))
        return features
