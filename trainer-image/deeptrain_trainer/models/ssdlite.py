"""SSDLite (Sandler et al. 2018): every level predicts for itself, by depthwise separable convolutions."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .retinanet import LOGIT_PRIOR, flat


class SSDLite(nn.Module):
    """The base's maps [N, widths_l, H, W], and `extra` coarser ones made of the last, to logits and deltas."""

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
        self.concepts = concepts
        self.regressors = regressors
        self.lateral = nn.ModuleList(_convolution(width, channels) for width in widths)
        self.extra = nn.ModuleList(_separable(channels, stride=2) for _ in range(extra))
        levels = len(widths) + extra
        self.concept_outputs = nn.ModuleList(
            _predictor(channels, anchors * concepts, LOGIT_PRIOR) for _ in range(levels)
        )
        self.box_outputs = nn.ModuleList(
            _predictor(channels, anchors * regressors * 4, 0.0) for _ in range(levels)
        )

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits [N, A, concepts] and deltas [N, A, regressors, 4], in the order of `anchor_boxes`."""
        levels = [conv(x) for conv, x in zip(self.lateral, features, strict=True)]
        for conv in self.extra:
            levels.append(conv(levels[-1]))
        logits = [
            flat(output(x), self.concepts)
            for output, x in zip(self.concept_outputs, levels, strict=True)
        ]
        deltas = [
            flat(output(x), self.regressors * 4)
            for output, x in zip(self.box_outputs, levels, strict=True)
        ]
        return torch.cat(logits, 1), torch.cat(deltas, 1).unflatten(2, (self.regressors, 4))


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return _settled(nn.Conv2d(inputs, outputs, 1, bias=False), _norm(outputs), nn.ReLU6())


def _depthwise(channels: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
    return _settled(convolution, _norm(channels), nn.ReLU6())


def _separable(channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(_depthwise(channels, stride), _convolution(channels, channels))


def _predictor(channels: int, outputs: int, prior: float) -> nn.Sequential:
    output = nn.Conv2d(channels, outputs, 1)
    nn.init.normal_(output.weight, std=0.01)
    assert output.bias is not None
    nn.init.constant_(output.bias, prior)
    return nn.Sequential(_depthwise(channels), output)


def _norm(channels: int) -> nn.GroupNorm:
    """Group-norm needs no statistics, which the small batches of detectors would spoil."""
    return nn.GroupNorm(channels // 8, channels)


def _settled(convolution: nn.Conv2d, *others: nn.Module) -> nn.Sequential:
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, *others)
