"""From what a detector says of its anchors to at most 100 boxes an image, in PyTorch; graph.py does it in ONNX."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import nms

from .boxes import decode
from .losses import Predictions

# The best (anchor, concept) pairs of an image that are considered at all. 10 to 17 anchors overlap an object by half,
# and more score for it: 1,000 of all levels would be those of the surest 60. Lin et al. 2017 take 1,000 of each level.
MOST_CANDIDATES = 3000
MOST_BOXES = 100
IOU_THRESHOLD = 0.5
# Average precision is computed from boxes above this.
EVALUATION_SCORE_THRESHOLD = 0.001
# What rows of `Detections` beyond its count hold instead of a concept.
NO_CONCEPT = -1


@dataclass(frozen=True)
class Detections:
    """The boxes of a batch, best first; rows from `count` on are 0, their concept NO_CONCEPT."""

    boxes: Tensor
    """float [N, 100, 4]: x_min, y_min, x_max, y_max as shares of the original picture, 0 to 1."""
    scores: Tensor
    """float [N, 100]."""
    concepts: Tensor
    """int64 [N, 100]."""
    count: Tensor
    """int64 [N]."""


def candidates(predicted: Predictions, anchors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes [N, K, 4] in pixels of the square, scores [N, K] falling, concepts [N, K], K at most MOST_CANDIDATES."""
    logits = predicted.logits
    # No more anchors than pairs are wanted: these have the best pairs, and all others need not be sorted.
    _, able = logits.amax(2).topk(min(MOST_CANDIDATES, logits.shape[1]), dim=1)
    scores = logits.gather(1, able.unsqueeze(-1).expand(-1, -1, logits.shape[2])).float().sigmoid()
    best, place, concept = _best_pairs(scores)
    anchor = able.gather(1, place)
    deltas = _deltas_of(predicted.deltas, anchor, concept).float()
    return decode(deltas, anchors[anchor]), best, concept


def strongest(scores: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of scores [N, A, C] and deltas [N, A, K, 4], K being 1 or C, the best (anchor, concept) pairs of each image:
    scores falling, anchors, concepts, all [N, MOST_CANDIDATES] or fewer, and their deltas [N, ..., 4].
    """
    best, anchor, concept = _best_pairs(scores)
    return best, anchor, concept, _deltas_of(deltas, anchor, concept)


def _best_pairs(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`strongest` without the deltas."""
    _, anchors, concepts = scores.shape
    best, place = scores.flatten(1).topk(min(MOST_CANDIDATES, anchors * concepts), dim=1)
    anchor = place // concepts
    return best, anchor, place - anchor * concepts


def _deltas_of(deltas: Tensor, anchor: Tensor, concept: Tensor) -> Tensor:
    """Of deltas [N, A, K, 4], K being 1 or the number of concepts, those of pairs [N, P]: [N, P, 4]."""
    regressors = deltas.shape[2]
    row = anchor * regressors + concept if regressors > 1 else anchor
    return deltas.flatten(1, 2).gather(1, row.unsqueeze(-1).expand(-1, -1, 4))


def detections(
    boxes: Tensor, scores: Tensor, concepts: Tensor, score_threshold: float, iou_threshold: float
) -> Detections:
    """Greedy non-maximum suppression within each concept; then the best 100."""
    rows = [
        _image(*image, score_threshold, iou_threshold)
        for image in zip(boxes, scores, concepts, strict=True)
    ]
    columns = [torch.stack(column) for column in zip(*rows, strict=True)]
    return Detections(*columns)


def _image(
    boxes: Tensor, scores: Tensor, concepts: Tensor, score_threshold: float, iou_threshold: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    above = scores > score_threshold
    boxes, scores, concepts = boxes[above], scores[above], concepts[above]
    # Concepts lie 2 apart, so that boxes of different ones never meet; in double precision they lose nothing by it.
    kept = nms(
        boxes.double() + 2.0 * concepts.double().unsqueeze(1), scores.double(), iou_threshold
    )[:MOST_BOXES]
    padding = MOST_BOXES - len(kept)
    return (
        torch.cat((boxes[kept], boxes.new_zeros(padding, 4))),
        torch.cat((scores[kept], scores.new_zeros(padding))),
        torch.cat((concepts[kept], concepts.new_full((padding,), NO_CONCEPT))),
        torch.tensor(len(kept), device=boxes.device),
    )
