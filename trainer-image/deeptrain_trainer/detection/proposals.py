"""Proposals: the boxes in which the first stage sees something, for the second to look at."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import nms

from .boxes import decode

# The best anchors of each level that are considered (Lin et al. 2017), and what is left of all after suppression:
# between the 300 of Ren et al. 2015 and the 1,000 of Lin et al., which is for pictures of four times the area.
MOST_OF_LEVEL = 1000
MOST_PROPOSALS = 500
PROPOSAL_IOU_THRESHOLD = 0.7
# In pixels: smaller ones, and what lies beyond the picture, are nothing to look at.
LEAST_SIDE = 1.0
# The logit of what is no proposal; all others are above LEAST_LOGIT.
NO_PROPOSAL, LEAST_LOGIT = -1e4, -5e3


@dataclass(frozen=True)
class Proposals:
    """Of each image at most MOST_PROPOSALS, best first; the rest of the rows is 0."""

    boxes: Tensor
    """float [N, P, 4], in pixels, within the square."""
    real: Tensor
    """bool [N, P]: whether a row is one."""


def proposal_candidates(
    logits: Tensor, deltas: Tensor, anchors: Tensor, levels: Sequence[int], size: int
) -> tuple[Tensor, Tensor]:
    """Logits [N, A] and deltas [N, A, 4] of anchors [A, 4], so many at each level, to boxes [N, K, 4] and logits [N, K]
    of the best of each level. Boxes are finite and within the square, be the deltas finite or not.
    """
    boxes, scores, start = [], [], 0
    for count in levels:
        own = slice(start, start + count)
        start += count
        best, place = logits[:, own].topk(min(MOST_OF_LEVEL, count), dim=1)
        chosen = deltas[:, own].gather(1, place.unsqueeze(-1).expand(-1, -1, 4))
        box = decode(chosen, anchors[own][place]).clamp(0, size)
        # False where a corner is not a number.
        is_box = ((box[..., 2:] - box[..., :2]) >= LEAST_SIDE).all(-1)
        boxes.append(torch.where(is_box.unsqueeze(-1), box, 0.0))
        scores.append(torch.where(is_box, best.clamp(min=LEAST_LOGIT + 1), NO_PROPOSAL))
    return torch.cat(boxes, 1), torch.cat(scores, 1)


def suppressed_proposals(boxes: Tensor, logits: Tensor) -> Proposals:
    """Greedy non-maximum suppression over all levels; then the best."""
    rows, real = [], []
    for given, scores in zip(boxes, logits, strict=True):
        above = scores > LEAST_LOGIT
        own = given[above]
        kept = own[nms(own, scores[above], PROPOSAL_IOU_THRESHOLD)[:MOST_PROPOSALS]]
        rows.append(torch.cat((kept, own.new_zeros(MOST_PROPOSALS - len(kept), 4))))
        real.append(torch.arange(MOST_PROPOSALS, device=own.device) < len(kept))
    return Proposals(torch.stack(rows), torch.stack(real))
