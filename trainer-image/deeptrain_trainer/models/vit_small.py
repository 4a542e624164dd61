"""ViT-Small with patches of 16 (Steiner et al. 2021), of torchvision's parts, without its classifier."""

from collections.abc import Mapping
from math import isqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer

from .published import renamed
from .resnet import Normalised

PATCH = 16
_POSITIONS = "encoder.pos_embedding"
_LAYER = r"encoder.layers.encoder_layer_\1."
# Beginnings of timm's names, and torchvision's.
_OF_TIMM = (
    (r"cls_token$", "class_token"),
    (r"pos_embed$", _POSITIONS),
    (r"patch_embed\.proj\.", "conv_proj."),
    (r"norm\.", "encoder.ln."),
    (r"blocks\.(\d+)\.norm1\.", _LAYER + "ln_1."),
    (r"blocks\.(\d+)\.attn\.qkv\.", _LAYER + "self_attention.in_proj_"),
    (r"blocks\.(\d+)\.attn\.proj\.", _LAYER + "self_attention.out_proj."),
    (r"blocks\.(\d+)\.norm2\.", _LAYER + "ln_2."),
    (r"blocks\.(\d+)\.mlp\.fc1\.", _LAYER + "mlp.0."),
    (r"blocks\.(\d+)\.mlp\.fc2\.", _LAYER + "mlp.3."),
)


class ViTSmall(Normalised):
    """Pixels from 0 to 255 to 384 features of the class token; built for one image_size, a multiple of 16."""

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.cells = image_size // PATCH
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

    def adapted(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of timm's file, and of another image_size."""
        return {
            name: positions_for(tensor, self.cells) if name.endswith(_POSITIONS) else tensor
            for name, tensor in renamed(tensors, _OF_TIMM).items()
        }


def positions_for(embeddings: Tensor, cells: int) -> Tensor:
    """Embeddings [1, 1 + n * n, D] of the class token and n x n patches, as [1, 1 + cells * cells, D].

    Those of the patches are interpolated as the picture that they make (Dosovitskiy et al. 2021, section 3.2). What
    has another shape stays as it is.
    """
    n = isqrt(max(0, embeddings.shape[1] - 1)) if embeddings.ndim == 3 else 0
    if n in (0, cells) or embeddings.shape[:2] != (1, 1 + n * n):
        return embeddings
    picture = embeddings[:, 1:].float().unflatten(1, (n, n)).permute(0, 3, 1, 2)
    scaled = F.interpolate(picture, (cells, cells), mode="bicubic", antialias=True)
    patches = scaled.permute(0, 2, 3, 1).flatten(1, 2)
    return torch.cat([embeddings[:, :1].float(), patches], dim=1)
