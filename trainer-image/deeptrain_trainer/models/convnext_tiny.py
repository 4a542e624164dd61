"""ConvNeXt-Tiny (Liu et al. 2022) as torchvision has it, without its classifier."""

from collections.abc import Mapping

from torch import Tensor, nn
from torchvision.models import convnext_tiny

from .published import renamed
from .resnet import Normalised

STAGES = 4
_TIMM_BLOCK = {
    "conv_dw": "block.0",
    "norm": "block.2",
    r"mlp\.fc1": "block.3",
    r"mlp\.fc2": "block.5",
    "gamma": "layer_scale",
}
# Beginnings of timm's names, and torchvision's.
_OF_TIMM = (
    (r"stem\.", "features.0."),
    (r"head\.norm\.", "classifier.0."),
    *((rf"stages\.{s}\.downsample\.", f"features.{2 * s}.") for s in range(STAGES)),
    *(
        (rf"stages\.{s}\.blocks\.(\d+)\.{theirs}", rf"features.{2 * s + 1}.\1.{ours}")
        for s in range(STAGES)
        for theirs, ours in _TIMM_BLOCK.items()
    ),
)


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

    def adapted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of timm's file: its scales of layers are vectors, torchvision's have the axes of an image too."""
        return {
            name: tensor[:, None, None]
            if name.endswith("layer_scale") and tensor.ndim == 1
            else tensor
            for name, tensor in renamed(tensors, _OF_TIMM).items()
        }
