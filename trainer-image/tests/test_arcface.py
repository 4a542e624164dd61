"""ArcFace's loss: the margin is one of angles, only of the item's own concept."""

from itertools import pairwise
from math import acos, cos, pi

import pytest
import torch
from torch.nn import functional as F

from deeptrain_trainer.arcface import ArcFace, arcface_loss

COSINES = torch.tensor([[0.7, -0.2, 0.1], [0.3, 0.5, -0.9]])
CONCEPTS = torch.tensor([0, 2])


def test_it_is_cross_entropy_with_the_margin_added_to_the_angle_of_the_own_concept() -> None:
    shifted = COSINES.clone()
    shifted[0, 0] = cos(acos(0.7) + 0.2)
    shifted[1, 2] = cos(acos(-0.9) + 0.2)
    want = F.cross_entropy(16 * shifted, CONCEPTS)
    assert torch.allclose(arcface_loss(COSINES, CONCEPTS, margin=0.2, scale=16), want)


def test_without_a_margin_it_is_softmax_over_cosines() -> None:
    want = F.cross_entropy(5 * COSINES, CONCEPTS)
    assert torch.allclose(arcface_loss(COSINES, CONCEPTS, margin=0, scale=5), want)


def test_a_larger_angle_to_the_own_concept_always_costs_more() -> None:
    own = torch.linspace(0, pi, 200).cos()
    losses = [
        arcface_loss(
            torch.stack([c, torch.tensor(0.0)])[None], torch.tensor([0]), margin=0.5, scale=16
        )
        for c in own
    ]
    assert all(later > earlier for earlier, later in pairwise(losses))


@pytest.mark.parametrize("cosine", [1.0, -1.0, 0.0])
def test_its_gradient_is_finite_on_a_centre_and_opposite(cosine: float) -> None:
    cosines = torch.tensor([[cosine, 0.5]], requires_grad=True)
    arcface_loss(cosines, torch.tensor([0]), margin=0.2, scale=16).backward()
    assert cosines.grad is not None and cosines.grad.isfinite().all()


def test_the_length_of_a_centre_means_nothing() -> None:
    torch.manual_seed(0)
    head = ArcFace(8, 3, margin=0.2, scale=16)
    embeddings = F.normalize(torch.randn(4, 8), dim=1)
    concepts = torch.tensor([0, 1, 2, 0])
    before = head(embeddings, concepts)
    with torch.no_grad():
        head.centres.mul_(7)
    assert torch.allclose(head(embeddings, concepts), before)


def test_learning_turns_centres_to_their_items() -> None:
    torch.manual_seed(0)
    head = ArcFace(4, 3, margin=0.2, scale=16)
    concepts = torch.arange(3)
    embeddings = torch.eye(4)[:3]
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        head(embeddings, concepts).backward()
        optimizer.step()
    cosines = F.normalize(head.centres, dim=1) @ embeddings.T
    others = cosines - 2 * torch.eye(3)
    assert (cosines.diagonal() - others.max(1).values).min() > 0.5
