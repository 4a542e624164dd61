"""A detector: a base, what makes boxes of its maps, and the anchors that these are relative to."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from ..models import BasedModel
from .losses import Predictions, detection_loss
from .postprocess import candidates
from .targets import DENSE_RULE, MatchRule, Truth

Predicted = Any
"""What a detector's forward pass makes, and its other methods take."""


class Detector(BasedModel, ABC):
    """Pixels, float [N, 3, S, S] from 0 to 255, to what is seen in them. `head` is all but the backbone.

    What is predicted has `is_finite()`.
    """

    anchors: Tensor
    least_per_image: float = 0.0
    """What each image of a batch adds at least to the number that its losses are divided by."""

    def __init__(self, base: nn.Module, head: nn.Module, anchors: Tensor) -> None:
        super().__init__(base)
        self.head = head
        self.register_buffer("anchors", anchors, persistent=False)

    @abstractmethod
    def losses(
        self, predicted: Predicted, truth: Truth, chance: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        """Summed losses of the batch, each with the number to divide it by, which may be 0.

        They are apart so that several processes can divide by the number of all (distributed.normaliser). What is
        random is decided by `chance` [N], of 24 bits in [0, 1).
        """

    @abstractmethod
    def candidates(self, predicted: Predicted) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes [N, K, 4] in pixels of the square, scores [N, K] falling, concepts [N, K] (postprocess.py)."""


class DenseDetector(Detector):
    """Predicts concepts and boxes at each anchor. `rule` says which of these stand for a true box."""

    def __init__(
        self,
        base: nn.Module,
        head: nn.Module,
        anchors: Tensor,
        rule: MatchRule = DENSE_RULE,
        least_per_image: float = 0.0,
    ) -> None:
        super().__init__(base, head, anchors)
        self.rule = rule
        self.least_per_image = least_per_image

    def forward(self, pixels: Tensor) -> Predictions:
        """Logits and deltas of all anchors."""
        logits, deltas = self.head(self.base(pixels))
        return Predictions(logits, deltas)

    def losses(
        self, predicted: Predicted, truth: Truth, chance: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        """Of all anchors, for each positive one. Nothing is random."""
        return [detection_loss(predicted.float(), self.anchors, truth, self.rule)]

    def candidates(self, predicted: Predicted) -> tuple[Tensor, Tensor, Tensor]:
        """Of the best anchors."""
        return candidates(predicted, self.anchors)
