"""Anchors, their targets, and the loss."""

import math

import pytest
import torch

from deeptrain_trainer.detection.anchors import AnchorShapes, anchor_boxes, octaves
from deeptrain_trainer.detection.boxes import decode, encode, ious
from deeptrain_trainer.detection.losses import Predictions, detection_loss, focal_loss
from deeptrain_trainer.detection.targets import BACKGROUND, UNKNOWN, Truth, match

SHAPES = AnchorShapes(octaves(3.0))


def truth(*boxes: tuple[float, float, float, float], ignored: tuple[int, ...] = ()) -> Truth:
    """One image. All boxes show concept 1."""
    flags = torch.zeros(1, len(boxes), dtype=torch.bool)
    flags[0, list(ignored)] = True
    return Truth(torch.tensor([boxes]), torch.ones(1, len(boxes), dtype=torch.int64), flags)


@pytest.mark.parametrize("size", [256, 288, 320])
def test_anchors_lie_around_the_centres_of_the_cells_of_every_level(size: int) -> None:
    anchors = anchor_boxes(size, (8, 64), SHAPES)
    cells = (size // 8) ** 2
    assert len(anchors) == 9 * (cells + math.ceil(size / 64) ** 2)
    middle = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert torch.allclose(middle[:9], torch.tensor([4.0, 4.0]))
    assert torch.allclose(middle[9:18], torch.tensor([12.0, 4.0]))  # the row goes first
    assert torch.allclose(middle[9 * cells], torch.tensor([32.0, 32.0]))
    sides = anchors[:, 2:] - anchors[:, :2]
    assert torch.allclose(sides.prod(1)[:3].sqrt(), torch.tensor(24.0))
    assert torch.allclose((sides[:, 1] / sides[:, 0])[:3], torch.tensor([0.5, 1.0, 2.0]))


def test_deltas_give_the_box_back() -> None:
    anchors = anchor_boxes(256, (16,), SHAPES)[:50]
    boxes = torch.rand(50, 2).repeat(1, 2) * 100 + torch.tensor([0.0, 0.0, 30.0, 5.0])
    assert torch.allclose(decode(encode(boxes, anchors), anchors), boxes, atol=1e-3)
    assert decode(torch.full((1, 4), 100.0), anchors[:1]).isfinite().all()
    assert encode(boxes * 0, anchors).isfinite().all()


def test_iou_of_equal_half_and_apart() -> None:
    a = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    b = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 5.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]])
    assert ious(a, b).tolist() == [[1.0, 0.5, 0.0]]


ANCHORS = torch.tensor(
    [
        [0.0, 0.0, 10.0, 10.0],
        [0.0, 0.0, 10.0, 14.0],
        [0.0, 0.0, 10.0, 23.0],
        [50.0, 50.0, 60.0, 60.0],
        [0.0, 80.0, 90.0, 100.0],
    ]
)


def test_anchors_are_positive_unknown_or_background_by_their_overlap() -> None:
    matched = match(ANCHORS, truth((0, 0, 10, 10)))
    assert matched.tolist() == [[0, 0, UNKNOWN, BACKGROUND, BACKGROUND]]


def test_every_box_has_its_best_anchor_however_small_the_overlap() -> None:
    matched = match(ANCHORS, truth((0, 0, 10, 10), (54, 54, 56, 56)))
    assert matched[0, 3] == 1
    assert match(ANCHORS, truth((200, 200, 210, 210))).tolist() == [[BACKGROUND] * 5]


def test_anchors_within_an_ignored_box_learn_nothing() -> None:
    matched = match(ANCHORS, truth((0, 0, 10, 10), (46, 46, 100, 100), ignored=(1,)))
    assert matched.tolist() == [[0, 0, UNKNOWN, UNKNOWN, BACKGROUND]]
    # What stands for a box does so within a crowd too.
    assert match(ANCHORS, truth((0, 0, 10, 10), (0, 0, 99, 99), ignored=(1,)))[0, 0] == 0


def test_an_image_without_boxes_is_background() -> None:
    padding = Truth(
        torch.zeros(1, 1, 4),
        torch.full((1, 1), -1, dtype=torch.int64),
        torch.zeros(1, 1, dtype=torch.bool),
    )
    assert match(ANCHORS, padding).tolist() == [[BACKGROUND] * 5]


def test_focal_loss_is_weighted_cross_entropy_where_nothing_is_easy() -> None:
    loss = focal_loss(torch.zeros(2), torch.tensor([1.0, 0.0]))
    assert torch.allclose(loss, math.log(2) * 0.25 * torch.tensor([0.25, 0.75]))
    assert focal_loss(torch.tensor(-9.0), torch.tensor(0.0)) < 1e-7
    assert focal_loss(torch.tensor([-200.0, 200.0]), torch.tensor([1.0, 0.0])).isfinite().all()


def predictions(regressors: int) -> Predictions:
    torch.manual_seed(0)
    return Predictions(
        torch.randn(1, 5, 3, requires_grad=True),
        torch.randn(1, 5, regressors, 4, requires_grad=True),
    )


@pytest.mark.parametrize("regressors", [1, 3])
def test_the_loss_moves_only_what_it_knows(regressors: int) -> None:
    predicted = predictions(regressors)
    total, positives = detection_loss(
        predicted, ANCHORS, truth((0, 0, 10, 10), (46, 46, 100, 100), ignored=(1,))
    )
    assert positives == 2
    total.backward()
    assert predicted.logits.grad is not None and predicted.deltas.grad is not None
    assert (predicted.logits.grad[0].abs().sum(1) > 0).tolist() == [True, True, False, False, True]
    moved = predicted.deltas.grad[0].abs().sum(2) > 0
    # Every box is of concept 1: with a set for each concept, no other is trained.
    own = [True] if regressors == 1 else [False, True, False]
    assert moved.tolist() == [own, own, *[[False] * regressors] * 3]


def test_what_is_right_has_next_to_no_loss() -> None:
    logits = torch.full((1, 5, 3), -20.0)
    logits[0, :2, 1] = 20
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0]]).expand(5, 4)
    right = Predictions(logits, encode(boxes, ANCHORS).view(1, 5, 1, 4))
    total, _ = detection_loss(right, ANCHORS, truth((0, 0, 10, 10)))
    assert total < 1e-6
