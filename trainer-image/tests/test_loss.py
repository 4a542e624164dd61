"""The losses of a classifier."""

import torch

from deeptrain_trainer.loss import classification_loss

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, -2.0]])
TARGETS = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])


def test_logreg_sums_over_concepts_and_averages_over_images() -> None:
    p = LOGITS.sigmoid()
    each = -(TARGETS * p.log() + (1 - TARGETS) * (1 - p).log())
    assert torch.allclose(classification_loss(LOGITS, TARGETS, True), each.sum() / 2)


def test_its_gradient_for_one_concept_does_not_shrink_with_their_number() -> None:
    def gradient(concepts: int) -> float:
        logits = torch.zeros(1, concepts, requires_grad=True)
        classification_loss(logits, torch.eye(concepts)[:1], True).backward()
        assert logits.grad is not None
        return logits.grad[0, 0].item()

    assert gradient(2) == gradient(100) == -0.5


def test_what_is_not_known_does_not_count() -> None:
    p = LOGITS.sigmoid()
    targets = torch.tensor([[1.0, -1.0, 1.0], [0.0, 1.0, -1.0]])
    logits = LOGITS.clone().requires_grad_()
    loss = classification_loss(logits, targets, True)
    counted = [p[0, 0], p[0, 2], 1 - p[1, 0], p[1, 1]]
    assert torch.allclose(loss, -torch.stack(counted).log().sum() / 2)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[0, 1] == logits.grad[1, 2] == 0


def test_softmax_takes_the_one_concept() -> None:
    targets = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    expected = -(LOGITS.softmax(1)[0, 2].log() + LOGITS.softmax(1)[1, 1].log()) / 2
    assert torch.allclose(classification_loss(LOGITS, targets, False), expected)


def test_smoothing_spreads_a_share_of_the_truth() -> None:
    targets = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    expected = -((0.8 * targets + 0.2 / 3) * LOGITS.log_softmax(1)).sum() / 2
    assert torch.allclose(classification_loss(LOGITS, targets, False, 0.2), expected)
