"""What each anchor is to learn: which true box it stands for, that it shows background, or nothing."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .boxes import areas, intersections, ious


@dataclass(frozen=True)
class MatchRule:
    """A box stands for the true box that it overlaps most, if by `positive`, and for background below `negative`.
    `claims`: each true box has its best ones, however small their IoU, else small and thin objects would never be
    learnt. Best are those whose IoU is the largest, or less by a share of it of `claim_slack` at most.
    """

    positive: float
    negative: float
    claims: bool
    claim_slack: float = 0.0


# RetinaNet's (Lin et al. 2017).
DENSE_RULE = MatchRule(0.5, 0.4, claims=True)
# The same, but rounding does not choose among equally good anchors of a tiny box: all of them stand for it.
EVEN_RULE = replace(DENSE_RULE, claim_slack=1e-4)
# Share of an anchor within an ignored box from which on nothing is known about it.
IGNORED_SHARE = 0.5
# Boxes that all anchors of an image are compared with at once: 100 of them would take 500 MB at 1,024 pixels.
_BOXES_AT_ONCE = 16
# What `match` gives where there is no box.
BACKGROUND, UNKNOWN = -1, -2


@dataclass(frozen=True)
class Truth:
    """The true boxes of a batch, padded to the same number M."""

    boxes: Tensor
    """float [N, M, 4], corners in pixels of the square."""
    concepts: Tensor
    """int64 [N, M]: number of the run's concept, -1 for padding."""
    ignored: Tensor
    """bool [N, M]: neither an example nor background (crowds, difficult ones, cut off by a crop)."""

    def to(self, device: torch.device) -> "Truth":
        """The same on another device."""
        return Truth(self.boxes.to(device), self.concepts.to(device), self.ignored.to(device))


def match(anchors: Tensor, truth: Truth, rule: MatchRule = DENSE_RULE) -> Tensor:
    """int64 [N, A]: the number of the true box of its image, BACKGROUND, or UNKNOWN (no loss)."""
    return torch.stack(
        [
            match_image(anchors, boxes, concepts, ignored, rule)
            for boxes, concepts, ignored in zip(
                truth.boxes, truth.concepts, truth.ignored, strict=True
            )
        ]
    )


def match_image(
    anchors: Tensor, boxes: Tensor, concepts: Tensor, ignored: Tensor, rule: MatchRule
) -> Tensor:
    """`match` for one image: its true boxes [M, 4], their concepts and whether they are ignored [M]. int64 [A]."""
    result = torch.full((len(anchors),), BACKGROUND, device=anchors.device)
    # Corner by corner: a table of boxes and anchors is then made and searched along its rows.
    anchors = anchors.T.contiguous().T
    known = torch.nonzero((concepts >= 0) & ~ignored).flatten()
    if len(known):
        best, nearest, claim, nearest_claim = _best_boxes(anchors, boxes, known, rule.claim_slack)
        result = torch.where(best >= rule.negative, torch.full_like(result, UNKNOWN), result)
        result = torch.where(best >= rule.positive, nearest, result)
        if rule.claims:
            result = torch.where(claim > 0, nearest_claim, result)
    unknown = torch.nonzero((concepts >= 0) & ignored).flatten()
    if len(unknown):
        shared = anchors.new_zeros(len(anchors))
        for chunk in unknown.split(_BOXES_AT_ONCE):
            shared = torch.maximum(shared, intersections(boxes[chunk], anchors).amax(0))
        inside = shared / areas(anchors).clamp(min=1e-9)
        result = torch.where((inside >= IGNORED_SHARE) & (result < 0), UNKNOWN, result)
    return result


def _best_boxes(
    anchors: Tensor, boxes: Tensor, known: Tensor, slack: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each anchor, over the boxes numbered `known`: its largest IoU and that box; then the same over the boxes
    that it is a best anchor of (MatchRule), 0 where there is none. Of equal ones the first.
    """
    best, claim = anchors.new_zeros(2, len(anchors))
    nearest, nearest_claim = known.new_zeros(2, len(anchors))
    for chunk in known.split(_BOXES_AT_ONCE):
        overlap = ious(boxes[chunk], anchors)
        value, place = overlap.max(0)
        nearest = torch.where(value > best, chunk[place], nearest)
        best = torch.maximum(best, value)
        # Of several boxes that an anchor is the best of, it takes the one it overlaps most.
        is_best = overlap >= overlap.amax(1, keepdim=True) * (1 - slack)
        value, place = torch.where(is_best, overlap, 0).max(0)
        nearest_claim = torch.where(value > claim, chunk[place], nearest_claim)
        claim = torch.maximum(claim, value)
    return best, nearest, claim, nearest_claim
