"""ArcFace (Deng et al. 2019): a softmax over angles, in which an item must be a margin nearer to its own concept."""

from math import cos, pi, sin

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# The slope of a root is infinite at 0: where an embedding lies on a centre, or opposite.
_SMALLEST_SQUARED_SINE = 1e-7


class ArcFace(nn.Module):
    """A learnt direction, the centre, for each concept that is trained on."""

    def __init__(self, embeddings_size: int, concepts: int, margin: float, scale: float) -> None:
        """`margin` in radians."""
        super().__init__()
        self.margin, self.scale = margin, scale
        self.centres = nn.Parameter(torch.empty(concepts, embeddings_size))
        nn.init.normal_(self.centres, std=0.01)

    def forward(self, embeddings: Tensor, concepts: Tensor) -> Tensor:
        """The mean loss of embeddings [N, E] of length 1 that show `concepts` [N]."""
        cosines = embeddings @ F.normalize(self.centres, dim=1).T
        return arcface_loss(cosines, concepts, self.margin, self.scale)


def arcface_loss(cosines: Tensor, concepts: Tensor, margin: float, scale: float) -> Tensor:
    """Mean cross-entropy over `scale` x cosine, with `margin` radians added to the angle to the item's own concept.

    `cosines` [N, C] to the centre of each concept, `concepts` [N]. Where the sum would pass half a turn its cosine
    would grow again: there the loss goes on as a straight line (as the authors' code does).
    """
    own = cosines.gather(1, concepts[:, None])
    sine = (1 - own * own).clamp(min=_SMALLEST_SQUARED_SINE).sqrt()
    moved = own * cos(margin) - sine * sin(margin)
    straight = own - margin * sin(margin)
    shifted = torch.where(own > cos(pi - margin), moved, straight)
    return F.cross_entropy(scale * cosines.scatter(1, concepts[:, None], shifted), concepts)
