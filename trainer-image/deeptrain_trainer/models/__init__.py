"""Architectures by their name in a template, each in a file of its own.

A model is a base (image to features, normalisation included) and what is new on top of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor, nn

from ..failure import Failure
from ..order import derived_seed
from .convnext_tiny import ConvNeXtTiny
from .efficientnet_lite import EfficientNetLite0, EfficientNetLite1, EfficientNetLite2
from .resnet import ResNet18, ResNet50
from .vit_small import ViTSmall


@dataclass(frozen=True)
class Backbone:
    """`build` takes image_size. `features` is the width of the base's output."""

    build: Callable[[int], nn.Module]
    features: int
    dropout: float
    # bf16 doubles the speed of ResNets on CPUs that have it, and slows depthwise convolutions down.
    bf16_on_cpu: bool


BACKBONES = {
    "resnet18": Backbone(ResNet18, 512, dropout=0.0, bf16_on_cpu=True),
    "resnet50": Backbone(ResNet50, 2048, dropout=0.0, bf16_on_cpu=True),
    "efficientnet-lite0": Backbone(EfficientNetLite0, 1280, dropout=0.2, bf16_on_cpu=False),
    "convnext-tiny": Backbone(ConvNeXtTiny, 768, dropout=0.0, bf16_on_cpu=False),
    "vit-small": Backbone(ViTSmall, 384, dropout=0.0, bf16_on_cpu=False),
}


# Of no template: they are bases that stay as they are.
FROZEN_BACKBONES = {
    "efficientnet-lite1": Backbone(EfficientNetLite1, 1280, dropout=0.2, bf16_on_cpu=False),
    "efficientnet-lite2": Backbone(EfficientNetLite2, 1280, dropout=0.3, bf16_on_cpu=False),
}


def backbone_name(template: str) -> str:
    """The backbone in a template's name: `visual-embedder/arcface-resnet50` has `resnet50`.

    Raises Failure(InputInvalid) for one that this image does not have.
    """
    architecture = template.partition("/")[2]
    for name in BACKBONES:
        if architecture == name or architecture.endswith(f"-{name}"):
            return name
    raise Failure(
        "InputInvalid", f"This trainer image has no template {template}: use a newer one."
    )


class BasedModel(nn.Module):
    """A base whose weights may be given, and new parts. Everything outside of `base` begins at random, and modules of
    it that the given weights lack: these learn as the new parts do."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        # Frozen statistics: a small set of images would spoil those that the base was trained with.
        self.base_statistics_frozen = False
        self.base_frozen = False
        self._missing: frozenset[str] = frozenset()
        # How many of the model's tensors began as the base's; None where the base is no part of the model.
        self.base_loaded: int | None = None

    def train(self, mode: bool = True) -> "BasedModel":
        """Training mode, but a frozen base, or its batch-norm with frozen statistics, stays in evaluation mode."""
        super().train(mode)
        if mode and self.base_frozen:
            self.base.eval()  # no stochastic depth nor dropout either: its features are to be what it has learnt
        elif mode and self.base_statistics_frozen:
            for module in self.base.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        for module in self.new_in_base:
            module.training = mode
        return self

    def settle_base(
        self, *, is_pretrained: bool, multiplier: float, missing: frozenset[str] = frozenset()
    ) -> None:
        """What base_gradient_multiplier and the origin of its weights mean for the base: 0 freezes it.

        `missing`: tensors of the base, by name, that the given weights lack.
        """
        self.base_statistics_frozen = multiplier == 0 or is_pretrained
        self.base_frozen = multiplier == 0
        self._missing = missing
        if self.base_frozen:
            self.base.requires_grad_(False)
        for parameter in self._new_parameters():
            parameter.requires_grad_(True)

    @property
    def new_in_base(self) -> list[nn.Module]:
        """Modules of a pretrained base that begin at random."""
        owners = sorted({name.rpartition(".")[0] for name in self._missing})
        return [self.base.get_submodule(name) for name in owners]

    def base_parameters(self) -> list[nn.Parameter]:
        """Those that base_gradient_multiplier is of."""
        new = {id(parameter) for parameter in self._new_parameters()}
        return [p for p in self.base.parameters() if id(p) not in new]

    def _new_parameters(self) -> list[nn.Parameter]:
        return [p for module in self.new_in_base for p in module.parameters(recurse=False)]

    def base_counts(self) -> dict[str, dict[str, int]]:
        """`base` of a report and a record: how many tensors began as the base's, and how many are new."""
        if self.base_loaded is None:
            return {}
        return {
            "base": {"loaded": self.base_loaded, "new": len(self.state_dict()) - self.base_loaded}
        }


class Classifier(BasedModel):
    """Pixels, float [N, 3, S, S] from 0 to 255, to logits [N, concepts]."""

    def __init__(self, base: nn.Module, features: int, concepts: int, dropout: float) -> None:
        super().__init__(base)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, concepts)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits: apply sigmoid (logreg) or softmax to get probabilities."""
        logits: Tensor = self.head(self.dropout(self.base(pixels)))
        return logits


def begin_linear(head: nn.Linear, logreg: bool) -> None:
    """Initialises a linear classifier.

    Scores begin at the share that a concept has when all are equally frequent: with many concepts the summed
    cross-entropy would otherwise begin with a burst.
    """
    nn.init.normal_(head.weight, std=0.01)
    concepts = head.out_features
    prior = -log(concepts - 1) if logreg and concepts > 1 else 0.0
    nn.init.constant_(head.bias, prior)


def seed_initialisation(seed: int) -> None:
    """Before a model is built: its random weights are a function of the run's seed."""
    torch.manual_seed(derived_seed("initialisation", seed))
