"""RetinaNet (Lin et al. 2017): a feature pyramid and two towers of convolutions, shared by all its levels."""

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor, nn

from .fpn import FeaturePyramid

# The score that every anchor begins with: most show background, and focal loss would else begin with a burst.
PRIOR = 0.01
LOGIT_PRIOR = -log((1 - PRIOR) / PRIOR)


class RetinaHead(nn.Module):
    """Levels [N, channels, H, W] to logits [N, A, concepts] and deltas [N, A, regressors, 4], A over all levels."""

    def __init__(
        self, channels: int, depth: int, anchors: int, concepts: int, regressors: int
    ) -> None:
        super().__init__()
        self.concepts = concepts
        self.regressors = regressors
        self.concept_tower = _tower(channels, depth)
        self.box_tower = _tower(channels, depth)
        self.concept_output = nn.Conv2d(channels, anchors * concepts, 3, padding=1)
        self.box_output = nn.Conv2d(channels, anchors * regressors * 4, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        assert self.concept_output.bias is not None
        nn.init.constant_(self.concept_output.bias, LOGIT_PRIOR)

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits and deltas, in the order of `anchor_boxes`."""
        logits = [flat(self.concept_output(self.concept_tower(x)), self.concepts) for x in levels]
        deltas = [flat(self.box_output(self.box_tower(x)), self.regressors * 4) for x in levels]
        return torch.cat(logits, 1), torch.cat(deltas, 1).unflatten(2, (self.regressors, 4))


def flat(output: Tensor, width: int) -> Tensor:
    """[N, anchors * width, H, W] to [N, H * W * anchors, width]."""
    flattened: Tensor = output.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, width))
    return flattened


def _tower(channels: int, depth: int) -> nn.Sequential:
    """Group-norm, because the towers see small batches and levels of very different sizes."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(channels // max(8, channels // 32), channels),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


class RetinaNet(nn.Module):
    """Everything of a RetinaNet but its base."""

    def __init__(
        self,
        widths: Sequence[int],
        channels: int,
        extra: int,
        depth: int,
        anchors: int,
        concepts: int,
        regressors: int,
    ) -> None:
        super().__init__()
        self.pyramid = FeaturePyramid(widths, channels, extra)
        self.head = RetinaHead(channels, depth, anchors, concepts, regressors)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The base's maps to logits and deltas."""
        logits, deltas = self.head(self.pyramid(features))
        return logits, deltas
