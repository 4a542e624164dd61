"""A detector of two stages: proposals of where something is, then what it is and where exactly."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..models.fasterrcnn import FasterRCNN
from .boxes import at_least_single, decode
from .detector import Detector, Predicted
from .pooling import pooled
from .postprocess import strongest
from .proposals import Proposals, proposal_candidates, suppressed_proposals
from .stagelosses import anchor_loss, proposal_loss, sample_proposals, scale_of
from .targets import Truth


@dataclass(frozen=True)
class FirstStage:
    """What the second stage looks at, and where."""

    levels: list[Tensor]
    """float [N, channels, H, W], of POOLED_STRIDES."""
    logits: Tensor
    """float [N, A]: something is there."""
    deltas: Tensor
    """float [N, A, 4]."""
    proposals: Proposals
    """They teach nothing."""

    def is_finite(self) -> bool:
        """Whether all that is predicted of anchors is."""
        return bool(self.logits.isfinite().all() and self.deltas.isfinite().all())


class TwoStageDetector(Detector):
    """Faster R-CNN. `anchors` are those of each level."""

    head: FasterRCNN

    def __init__(
        self, base: nn.Module, head: FasterRCNN, anchors: Sequence[Tensor], image_size: int
    ) -> None:
        super().__init__(base, head, torch.cat(list(anchors)))
        self.level_sizes = [len(level) for level in anchors]
        self.image_size = image_size

    def forward(self, pixels: Tensor) -> FirstStage:
        """The first stage."""
        levels, logits, deltas, boxes, scores = self.first(pixels)
        return FirstStage(levels, logits, deltas, suppressed_proposals(boxes, scores))

    def first(self, pixels: Tensor) -> tuple[list[Tensor], Tensor, Tensor, Tensor, Tensor]:
        """The first stage before suppression: levels, logits and deltas, and candidates for proposals."""
        levels, logits, deltas = self.head(self.base(pixels))
        logits, deltas = at_least_single(logits), at_least_single(deltas)
        with torch.no_grad():
            boxes, scores = proposal_candidates(
                logits, deltas, self.anchors, self.level_sizes, self.image_size
            )
        return levels, logits, deltas, boxes, scores

    def losses(
        self, predicted: Predicted, truth: Truth, chance: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        """Of sampled anchors, for each; and of sampled proposals, for each."""
        first = anchor_loss(predicted.logits, predicted.deltas, self.anchors, truth, chance)
        sample = sample_proposals(predicted.proposals, truth, chance)
        logits, deltas = self.head.boxes(pooled(predicted.levels, sample.boxes, sample.images))
        return [first, proposal_loss(at_least_single(logits), at_least_single(deltas), sample)]

    def candidates(self, predicted: Predicted) -> tuple[Tensor, Tensor, Tensor]:
        """Of all proposals."""
        boxes = predicted.proposals.boxes
        images = torch.arange(len(boxes), device=boxes.device).repeat_interleave(boxes.shape[1])
        squares = pooled(predicted.levels, boxes.flatten(0, 1), images)
        return self.second(squares, boxes, predicted.proposals.real)

    def second(self, squares: Tensor, boxes: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Squares [N * P, channels, 7, 7] that were cut out at the proposals [N, P, 4] to `candidates`; those that are
        not real score -1.
        """
        logits, deltas = (
            x.float().unflatten(0, (-1, boxes.shape[1])) for x in self.head.boxes(squares)
        )
        scores = torch.where(real.unsqueeze(-1), logits.softmax(-1)[..., :-1], -1.0)
        best, row, concepts, chosen = strongest(scores, deltas)
        proposals = boxes.gather(1, row.unsqueeze(-1).expand(-1, -1, 4))
        return decode(chosen / scale_of(chosen), proposals), best, concepts
