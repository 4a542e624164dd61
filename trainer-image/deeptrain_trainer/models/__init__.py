"""Architectures by their template name, each in a file of its own.

A model is a base (image to features, normalisation included) and a head (features to one logit per concept).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor, nn

from ..bases import load_base
from ..failure import Failure
from ..order import derived_seed
from ..run import TrainRun
from .efficientnet_lite0 import EfficientNetLite0
from .resnet18 import ResNet18


@dataclass(frozen=True)
class Architecture:
    """`build` takes image_size. `features` is the width of the base's output."""

    build: Callable[[int], nn.Module]
    features: int
    dropout: float
    # bf16 doubles the speed of ResNets on CPUs that have it, and slows depthwise convolutions down.
    bf16_on_cpu: bool


ARCHITECTURES = {
    "visual-classifier/resnet18": Architecture(ResNet18, 512, dropout=0.0, bf16_on_cpu=True),
    "visual-classifier/efficientnet-lite0": Architecture(
        EfficientNetLite0, 1280, dropout=0.2, bf16_on_cpu=False
    ),
}


def architecture_of(template: str) -> Architecture:
    """The architecture of a template. Raises Failure(InputInvalid) for one that this image does not have."""
    if template not in ARCHITECTURES:
        raise Failure(
            "InputInvalid", f"This trainer image has no template {template}: use a newer one."
        )
    return ARCHITECTURES[template]


class Classifier(nn.Module):
    """Pixels, float [N, 3, S, S] from 0 to 255, to logits [N, concepts]."""

    def __init__(self, base: nn.Module, features: int, concepts: int, dropout: float) -> None:
        super().__init__()
        self.base = base
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, concepts)
        # Frozen statistics: a small set of images would spoil those that the base was trained with.
        self.base_statistics_frozen = False

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits: apply sigmoid (logreg) or softmax to get probabilities."""
        logits: Tensor = self.head(self.dropout(self.base(pixels)))
        return logits

    def train(self, mode: bool = True) -> "Classifier":
        """Training mode, but batch-norm with frozen statistics stays in evaluation mode."""
        super().train(mode)
        if mode and self.base_statistics_frozen:
            for module in self.base.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self


def build_classifier(run: TrainRun) -> Classifier:
    """The model as training begins: seeded random weights, then the base's weights where there is one."""
    architecture = architecture_of(run.template)
    torch.manual_seed(derived_seed("initialisation", run.seed))
    base = architecture.build(run.hyperparameters.image_size)
    concepts = len(run.concepts)
    model = Classifier(base, architecture.features, concepts, architecture.dropout)
    nn.init.normal_(model.head.weight, std=0.01)
    # Scores begin at the share that a concept has when all are equally frequent: with many concepts the summed
    # cross-entropy would otherwise begin with a burst.
    prior = -log(concepts - 1) if run.hyperparameters.logreg and concepts > 1 else 0.0
    nn.init.constant_(model.head.bias, prior)
    if run.base_id != "none":
        _load_base_weights(base, run.base_id, run.base_digest)
    frozen = run.hyperparameters.base_gradient_multiplier == 0
    model.base_statistics_frozen = frozen or run.base_id != "none"
    base.requires_grad_(not frozen)
    return model


def _load_base_weights(base: nn.Module, base_id: str, digest: str | None) -> None:
    weights = load_base(base_id, digest)
    try:
        base.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        detail = str(error).splitlines()[-1].strip()
        raise Failure(
            "BaseUnavailable", f"The base {base_id} does not fit this template: {detail[:300]}"
        ) from None
