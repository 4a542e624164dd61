"""The losses of a detector of two stages (Ren et al. 2015), each of a sample of an image's anchors or proposals."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .boxes import encode
from .losses import SMOOTH_L1_BETA
from .proposals import LEAST_SIDE, Proposals
from .sampling import keys_of, sampled
from .targets import MatchRule, Truth, match, match_image

ANCHOR_RULE = MatchRule(0.7, 0.3, claims=True)
PROPOSAL_RULE = MatchRule(0.5, 0.5, claims=False)
# How many of an image teach, and the largest share of those that stand for a box.
ANCHORS_SAMPLED, ANCHORS_POSITIVE = 256, 0.5
PROPOSALS_SAMPLED, PROPOSALS_POSITIVE = 256, 0.25
# What the second stage's offsets and logarithms are multiplied by, so that they vary by about 1 (Girshick 2015).
BOX_SCALE = (10.0, 10.0, 5.0, 5.0)


def anchor_loss(
    logits: Tensor, deltas: Tensor, anchors: Tensor, truth: Truth, chance: Tensor
) -> tuple[Tensor, Tensor]:
    """Summed over the sampled anchors of the batch, and their number. Logits [N, A], deltas [N, A, 4]; `chance` [N]
    in [0, 1) decides which are sampled.
    """
    matched = match(anchors, truth, ANCHOR_RULE)
    total, number = logits.new_zeros(()), 0
    for i, key in enumerate(keys_of(chance, 0)):
        positives, background = sampled(matched[i], ANCHORS_SAMPLED, ANCHORS_POSITIVE, key)
        chosen = logits[i, torch.cat((positives, background))]
        wanted = (torch.arange(len(chosen), device=chosen.device) < len(positives)).to(chosen.dtype)
        total = total + F.binary_cross_entropy_with_logits(chosen, wanted, reduction="sum")
        target = encode(truth.boxes[i, matched[i, positives]], anchors[positives])
        total = total + _box_loss(deltas[i, positives], target)
        number += len(chosen)
    return total, logits.new_tensor(number)


@dataclass(frozen=True)
class Sample:
    """The proposals of a batch that teach the second stage."""

    boxes: Tensor
    """float [R, 4]."""
    images: Tensor
    """int64 [R]: the image of each."""
    concepts: Tensor
    """int64 [R]: what each shows, -1 for background."""
    truth: Tensor
    """float [R, 4]: the true box that it stands for; of background anything."""


def sample_proposals(proposals: Proposals, truth: Truth, chance: Tensor) -> Sample:
    """Of each image's proposals and true boxes: these are right from the first step on, when proposals are not."""
    samples = []
    for i, key in enumerate(keys_of(chance, 1)):
        own = (truth.boxes[i], truth.concepts[i], truth.ignored[i])
        is_large = ((own[0][:, 2:] - own[0][:, :2]) >= LEAST_SIDE).all(1)
        known = own[0][(own[1] >= 0) & ~own[2] & is_large]
        boxes = torch.cat((known, proposals.boxes[i][proposals.real[i]]))
        matched = match_image(boxes, *own, PROPOSAL_RULE)
        chosen = torch.cat(sampled(matched, PROPOSALS_SAMPLED, PROPOSALS_POSITIVE, key))
        box = matched[chosen]
        samples.append(
            (
                boxes[chosen],
                torch.full_like(chosen, i),
                torch.where(box >= 0, own[1][box.clamp(min=0)], -1),
                own[0][box.clamp(min=0)],
            )
        )
    return Sample(*(torch.cat(column) for column in zip(*samples, strict=True)))


def proposal_loss(logits: Tensor, deltas: Tensor, sample: Sample) -> tuple[Tensor, Tensor]:
    """Summed over the sample, and the number of it. Logits [R, C + 1], background last; deltas [R, K, 4]."""
    background = logits.shape[1] - 1
    wanted = torch.where(sample.concepts >= 0, sample.concepts, background)
    total = F.cross_entropy(logits, wanted, reduction="sum")
    positives = torch.nonzero(sample.concepts >= 0).flatten()
    concept = sample.concepts[positives]
    regressor = concept if deltas.shape[1] > 1 else torch.zeros_like(concept)
    target = encode(sample.truth[positives], sample.boxes[positives])
    total = total + _box_loss(deltas[positives, regressor], target * scale_of(target))
    return total, logits.new_tensor(len(logits))


def scale_of(deltas: Tensor, scale: Sequence[float] = BOX_SCALE) -> Tensor:
    """BOX_SCALE, as deltas are."""
    return torch.tensor(scale, device=deltas.device, dtype=deltas.dtype)


def _box_loss(deltas: Tensor, target: Tensor) -> Tensor:
    return F.smooth_l1_loss(deltas, target.to(deltas.dtype), reduction="sum", beta=SMOOTH_L1_BETA)
