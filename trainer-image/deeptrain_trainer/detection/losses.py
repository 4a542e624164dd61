"""The loss of a dense detector: focal loss over all anchors, a box loss over those that stand for a box."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .boxes import encode
from .targets import BACKGROUND, Truth, match

# Lin et al. 2017.
FOCAL_ALPHA = 0.25
FOCAL_GAMMA = 2.0
SMOOTH_L1_BETA = 1 / 9


@dataclass(frozen=True)
class Predictions:
    """What a detector says of each anchor. K is 1 (one set of box regressors) or C (one for each concept)."""

    logits: Tensor
    """float [N, A, C]."""
    deltas: Tensor
    """float [N, A, K, 4], relative to the anchor (boxes.py)."""

    def float(self) -> "Predictions":
        """The same in single precision."""
        return Predictions(self.logits.float(), self.deltas.float())

    def is_finite(self) -> bool:
        """Whether all of it is."""
        return bool(self.logits.isfinite().all() and self.deltas.isfinite().all())


def detection_loss(predicted: Predictions, anchors: Tensor, truth: Truth) -> tuple[Tensor, Tensor]:
    """The summed loss of the batch, and the number of its positive anchors, which may be 0, to divide it by.

    They are apart so that several processes can divide by the number of all (distributed.normaliser).
    """
    matched = match(anchors, truth)
    image, anchor = torch.nonzero(matched >= 0, as_tuple=True)
    box = matched[image, anchor]
    concept = truth.concepts[image, box]
    wanted = torch.zeros_like(predicted.logits)
    wanted[image, anchor, concept] = 1
    counted = (matched >= BACKGROUND).unsqueeze(-1)
    total = (focal_loss(predicted.logits, wanted) * counted).sum()
    regressor = concept if predicted.deltas.shape[2] > 1 else torch.zeros_like(concept)
    deltas = predicted.deltas[image, anchor, regressor]
    target = encode(truth.boxes[image, box], anchors[anchor])
    total = total + F.smooth_l1_loss(deltas, target, reduction="sum", beta=SMOOTH_L1_BETA)
    return total, predicted.logits.new_tensor(len(box))


def focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Sigmoid focal loss of each element (Lin et al. 2017): what is easy counts little."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    probability = logits.sigmoid()
    missed = probability + targets - 2 * probability * targets
    alpha = (1 - FOCAL_ALPHA) + (2 * FOCAL_ALPHA - 1) * targets
    return alpha * missed.pow(FOCAL_GAMMA) * cross_entropy
