"""What each anchor is to learn: which true box it stands for, that it shows background, or nothing."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .boxes import areas, intersections, ious

POSITIVE_IOU = 0.5
NEGATIVE_IOU = 0.4
# Share of an anchor within an ignored box from which on nothing is known about it.
IGNORED_SHARE = 0.5
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
        overlap = ious(anchors, boxes[known])
        best, nearest = overlap.max(1)
        result = torch.where(best >= NEGATIVE_IOU, torch.full_like(result, UNKNOWN), result)
        best_of_box = overlap.max(0).values
        is_best = (overlap == best_of_box) & (best_of_box > 0)
        claimed = is_best.any(1)
        # Of several boxes that an anchor is the best of, it takes the one it overlaps most.
        nearest_claim = torch.where(is_best, overlap, overlap.new_tensor(-1.0)).argmax(1)
        result = torch.where(best >= POSITIVE_IOU, known[nearest], result)
        result = torch.where(claimed, known[nearest_claim], result)
    unknown = torch.nonzero((concepts >= 0) & ignored).flatten()
    if len(unknown):
        inside = intersections(anchors, boxes[unknown]).max(1).values / areas(anchors)
        result = torch.where((inside >= IGNORED_SHARE) & (result < 0), UNKNOWN, result)
    return result
