"""What each anchor is to learn: which true box it stands for, that it shows background, or nothing."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .boxes import areas, intersections, ious

POSITIVE_IOU = 0.5
NEGATIVE_IOU = 0.4
# Share of an anchor within an ignored box from which on nothing is known about it.
IGNORED_SHARE = 0.5
# Boxes that all anchors of an image are compared with at once: 100 of them would take 500 MB at 1,024 pixels.
_BOXES_AT_ONCE = 16
# Numbers in `Targets.match`.
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


def match(anchors: Tensor, truth: Truth) -> Tensor:
    """int64 [N, A]: the number of the true box of its image, BACKGROUND, or UNKNOWN (no loss)."""
    return torch.stack(
        [
            _match_image(anchors, boxes, concepts, ignored)
            for boxes, concepts, ignored in zip(
                truth.boxes, truth.concepts, truth.ignored, strict=True
            )
        ]
    )


def _match_image(anchors: Tensor, boxes: Tensor, concepts: Tensor, ignored: Tensor) -> Tensor:
    """RetinaNet's rule (Lin et al. 2017): the best box at IoU >= .5, background below .4; and each box has its
    best anchors, however small their IoU, else small and thin objects would never be learnt.
    """
    result = torch.full((len(anchors),), BACKGROUND, device=anchors.device)
    known = torch.nonzero((concepts >= 0) & ~ignored).flatten()
    if len(known):
        best, nearest, claim, nearest_claim = _best_boxes(anchors, boxes, known)
        result = torch.where(best >= NEGATIVE_IOU, torch.full_like(result, UNKNOWN), result)
        result = torch.where(best >= POSITIVE_IOU, nearest, result)
        result = torch.where(claim > 0, nearest_claim, result)
    unknown = torch.nonzero((concepts >= 0) & ignored).flatten()
    if len(unknown):
        shared = anchors.new_zeros(len(anchors))
        for chunk in unknown.split(_BOXES_AT_ONCE):
            shared = torch.maximum(shared, intersections(anchors, boxes[chunk]).amax(1))
        inside = shared / areas(anchors)
        result = torch.where((inside >= IGNORED_SHARE) & (result < 0), UNKNOWN, result)
    return result


def _best_boxes(
    anchors: Tensor, boxes: Tensor, known: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each anchor, over the boxes numbered `known`: its largest IoU and that box; then the same over the boxes
    that it is a best anchor of, 0 where there is none. Of equal ones the first.
    """
    best, claim = anchors.new_zeros(2, len(anchors))
    nearest, nearest_claim = known.new_zeros(2, len(anchors))
    for chunk in known.split(_BOXES_AT_ONCE):
        overlap = ious(anchors, boxes[chunk])
        value, place = overlap.max(1)
        nearest = torch.where(value > best, chunk[place], nearest)
        best = torch.maximum(best, value)
        # Of several boxes that an anchor is the best of, it takes the one it overlaps most.
        value, place = torch.where(overlap == overlap.amax(0), overlap, 0).max(1)
        nearest_claim = torch.where(value > claim, chunk[place], nearest_claim)
        claim = torch.maximum(claim, value)
    return best, nearest, claim, nearest_claim
