"""The loss of a dense detector: focal loss over all anchors, a box loss over those that stand for a box."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .boxes import at_least_single, encode
from .targets import BACKGROUND, DENSE_RULE, MatchRule, Truth, match

# Lin et al. 2017.
FOCAL_ALPHA = 0.25
FOCAL_GAMMA = 2.0
SMOOTH_L1_BETA = 1 / 9
# Logits that the focal loss looks at at once: what it makes of them stays in a processor's caches.
_LOGITS_AT_ONCE = 1 << 20


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


def detection_loss(
    predicted: Predictions, anchors: Tensor, truth: Truth, rule: MatchRule = DENSE_RULE
) -> tuple[Tensor, Tensor]:
    """The summed loss of the batch, and the number of its positive anchors, which may be 0, to divide it by.

    They are apart so that several processes can divide by the number of all (distributed.normaliser).
    """
    matched = match(anchors, truth, rule)
    image, anchor = torch.nonzero(matched >= 0, as_tuple=True)
    box = matched[image, anchor]
    concept = truth.concepts[image, box]
    row = image * len(anchors) + anchor
    total = focal_loss(predicted.logits, matched >= BACKGROUND, row, concept)
    regressor = concept if predicted.deltas.shape[2] > 1 else torch.zeros_like(concept)
    deltas = predicted.deltas[image, anchor, regressor]
    target = encode(truth.boxes[image, box], anchors[anchor])
    total = total + F.smooth_l1_loss(deltas, target, reduction="sum", beta=SMOOTH_L1_BETA)
    return total, predicted.logits.new_tensor(len(box))


def focal_loss(logits: Tensor, counted: Tensor, rows: Tensor, concepts: Tensor) -> Tensor:
    """Summed sigmoid focal loss (Lin et al. 2017): what is easy counts little.

    Logits float [N, A, C]; `counted` bool [N, A], which anchors it is of. The truth is 1 at `rows`, int64 [P], which
    rise, of all N * A, and their `concepts`, int64 [P]; all else is background.
    """
    total: Tensor = _FocalLoss.apply(logits, counted, rows, concepts)
    return total


class _FocalLoss(torch.autograd.Function):
    """Keeps its gradient, and no other tensor as large as the logits: of 16 pictures of 320 pixels and 80 concepts
    these have 100 MB, and written in plain operations it made and kept eight such tensors.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, counted: Tensor, rows: Tensor, concepts: Tensor
    ) -> Tensor:
        """The sum, and in the same pass the gradient, where one is asked for."""
        given, is_counted = logits.flatten(0, 1), counted.flatten().unsqueeze(1)
        gradient = torch.empty_like(given) if ctx.needs_input_grad[0] else None
        step = max(1, _LOGITS_AT_ONCE // given.shape[1])
        starts = range(0, len(given), step)
        edges = torch.tensor([*starts, len(given)], device=rows.device)
        places = torch.searchsorted(rows, edges).tolist()
        total = at_least_single(given.new_zeros(()))
        with torch.autocast(logits.device.type, enabled=False):
            for start, first, last in zip(starts, places, places[1:], strict=False):
                own = slice(start, start + step)
                positive = (rows[first:last] - start, concepts[first:last])
                loss, slope = _focal(at_least_single(given[own]), is_counted[own], positive)
                total += loss.sum()
                if gradient is not None:
                    gradient[own] = slope
        if gradient is not None:
            ctx.save_for_backward(gradient.view_as(logits))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Of the logits."""
        (gradient,) = ctx.saved_tensors
        return gradient * gradients[0], None, None, None


def _focal(
    logits: Tensor, counted: Tensor, positive: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Focal loss of each of the logits [R, C] and its derivative, 0 where not `counted` [R, 1]. `positive`: rows and
    columns where the truth is 1.
    """
    loss, slope = _focal_of_background(logits, counted * (1 - FOCAL_ALPHA))
    mirrored, fall = _focal_of_background(-logits[positive], FOCAL_ALPHA)
    loss[positive], slope[positive] = mirrored, -fall
    return loss, slope


def _focal_of_background(logits: Tensor, weight: Tensor | float) -> tuple[Tensor, Tensor]:
    """w p^g s and its derivative w p^g (g (1 - p) s + p): p the probability, s = -log(1 - p), w the weight. Where the
    truth is 1 they are those of the negated logit.
    """
    probability, surprise = logits.sigmoid(), F.softplus(logits)
    weight = weight * probability.pow(FOCAL_GAMMA)
    slope = weight * (FOCAL_GAMMA * (1 - probability) * surprise + probability)
    return weight * surprise, slope
