"""Faster R-CNN (Ren et al. 2015) on a feature pyramid (Lin et al. 2017): where something is, then what it is."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .fpn import FeaturePyramid
from .retinanet import flat

# Cells of the square that is cut out of a map for each proposal.
POOLED_SIDE = 7
_HIDDEN = 1024


class ProposalHead(nn.Module):
    """Levels [N, channels, H, W] to logits [N, A] (something is there) and deltas [N, A, 4], A over all levels."""

    def __init__(self, channels: int, anchors: int) -> None:
        super().__init__()
        self.tower = nn.Conv2d(channels, channels, 3, padding=1)
        self.objectness = nn.Conv2d(channels, anchors, 1)
        self.deltas = nn.Conv2d(channels, anchors * 4, 1)
        for convolution in (self.tower, self.objectness, self.deltas):
            _begin(convolution, 0.01)

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits and deltas, in the order of `anchor_boxes`."""
        towers = [F.relu(self.tower(level)) for level in levels]
        logits = torch.cat([flat(self.objectness(x), 1) for x in towers], 1)
        return logits.squeeze(2), torch.cat([flat(self.deltas(x), 4) for x in towers], 1)


class BoxHead(nn.Module):
    """What was cut out of the maps, [R, channels, 7, 7], to logits [R, concepts + 1], background last, and deltas
    [R, regressors, 4].
    """

    def __init__(self, channels: int, concepts: int, regressors: int) -> None:
        super().__init__()
        self.channels = channels
        self.regressors = regressors
        self.first = nn.Linear(channels * POOLED_SIDE**2, _HIDDEN)
        self.second = nn.Linear(_HIDDEN, _HIDDEN)
        for layer in (self.first, self.second):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.bias)
        self.concept_output = nn.Linear(_HIDDEN, concepts + 1)
        self.box_output = nn.Linear(_HIDDEN, regressors * 4)
        _begin(self.concept_output, 0.01)
        _begin(self.box_output, 0.001)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and deltas."""
        hidden = F.relu(self.second(F.relu(self.first(pooled.flatten(1)))))
        deltas = self.box_output(hidden).unflatten(1, (self.regressors, 4))
        return self.concept_output(hidden), deltas


def _begin(layer: nn.Conv2d | nn.Linear, deviation: float) -> None:
    nn.init.normal_(layer.weight, std=deviation)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


class FasterRCNN(nn.Module):
    """Everything of a Faster R-CNN but its base. `extra` levels for proposals alone are the coarsest one, thinned."""

    def __init__(
        self,
        widths: Sequence[int],
        channels: int,
        extra: int,
        anchors: int,
        concepts: int,
        regressors: int,
    ) -> None:
        super().__init__()
        self.extra = extra
        self.pyramid = FeaturePyramid(widths, channels, 0)
        self.proposals = ProposalHead(channels, anchors)
        self.boxes = BoxHead(channels, concepts, regressors)

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], Tensor, Tensor]:
        """The base's maps to the levels that boxes are cut out of, and logits and deltas of all anchors."""
        levels: list[Tensor] = self.pyramid(features)
        coarser = list(levels)
        for _ in range(self.extra):
            coarser.append(F.max_pool2d(coarser[-1], 1, stride=2))
        logits, deltas = self.proposals(coarser)
        return levels, logits, deltas
