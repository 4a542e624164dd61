"""Anchors, their targets, and the loss."""

import math

import pytest
import torch
from torch import Tensor

from deeptrain_trainer.detection.anchors import AnchorShapes, anchor_boxes, octaves
from deeptrain_trainer.detection.boxes import areas, decode, encode, intersections, ious
from deeptrain_trainer.detection.losses import Predictions, detection_loss
from deeptrain_trainer.detection.targets import (
    BACKGROUND,
    DENSE_RULE,
    EVEN_RULE,
    UNKNOWN,
    MatchRule,
    Truth,
    match,
)

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


def shared_by_corners(a: Tensor, b: Tensor) -> Tensor:
    """`intersections` from corners [A, B, 2], as it was first written."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = (high - low).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def ious_by_corners(a: Tensor, b: Tensor) -> Tensor:
    shared = shared_by_corners(a, b)
    return shared / (areas(a)[:, None] + areas(b)[None] - shared).clamp(min=1e-9)


def matched_at_once(anchors: Tensor, own: Truth) -> Tensor:
    """RetinaNet's rule for one image, from one table of all anchors and all boxes."""
    boxes, is_box = own.boxes[0], own.concepts[0] >= 0
    result = torch.full((len(anchors),), BACKGROUND)
    known = torch.nonzero(is_box & ~own.ignored[0]).flatten()
    if len(known):
        overlap = ious_by_corners(anchors, boxes[known])
        best, nearest = overlap.max(1)
        result[best >= 0.4] = UNKNOWN
        result = torch.where(best >= 0.5, known[nearest], result)
        is_best = (overlap == overlap.amax(0)) & (overlap > 0)
        nearest = torch.where(is_best, overlap, -1.0).argmax(1)
        result = torch.where(is_best.any(1), known[nearest], result)
    unknown = torch.nonzero(is_box & own.ignored[0]).flatten()
    if len(unknown):
        inside = shared_by_corners(anchors, boxes[unknown]).amax(1) / areas(anchors)
        result[(inside >= 0.5) & (result < 0)] = UNKNOWN
    return result


@pytest.mark.parametrize("count", [1, 15, 16, 17, 32, 50, 500])
@pytest.mark.parametrize("ignored", [0.0, 0.4, 1.0])
def test_many_boxes_are_matched_as_if_all_at_once(count: int, ignored: float) -> None:
    random = torch.Generator().manual_seed(count)
    anchors = anchor_boxes(128, (8, 16), SHAPES)
    # On a coarse grid, so that overlaps tie; and every fifth box is there twice, in other chunks.
    corner = torch.randint(0, 14, (count, 2), generator=random) * 8.0
    side = torch.randint(1, 6, (count, 2), generator=random) * 8.0
    boxes = torch.cat((corner, corner + side), 1)
    boxes[count // 2 :: 5] = boxes[: len(boxes[count // 2 :: 5])].clone()
    concepts = torch.where(torch.rand(count, generator=random) < 0.1, -1, 1)
    flags = torch.rand(count, generator=random) < ignored
    own = Truth(boxes[None], concepts[None], flags[None])
    assert torch.equal(match(anchors, own)[0], matched_at_once(anchors, own))


@pytest.mark.parametrize("is_planar", [True, False])
def test_overlaps_have_the_same_bits_in_any_layout(is_planar: bool) -> None:
    random = torch.Generator().manual_seed(0)
    anchors = anchor_boxes(160, (8, 16, 32), SHAPES)
    corner = torch.rand(500, 2, generator=random) * 150
    boxes = torch.cat((corner, corner + torch.rand(500, 2, generator=random) * 90), 1)
    boxes[::7] = boxes[::7].round()  # many overlaps are then equal
    boxes[::50, 2:] = boxes[::50, :2]
    given = anchors.T.contiguous().T if is_planar else anchors
    for ours, theirs in ((intersections, shared_by_corners), (ious, ious_by_corners)):
        wanted = theirs(anchors, boxes)
        assert torch.equal(ours(boxes, given).T, wanted) and torch.equal(ours(given, boxes), wanted)


def test_of_equal_boxes_the_first_is_learnt_however_far_apart_they_stand() -> None:
    boxes = [(0.0, 0.0, 10.0, 10.0)] + [(200.0, 200.0, 210.0, 210.0)] * 30
    assert match(ANCHORS, truth(*boxes, boxes[0]))[0, :2].tolist() == [0, 0]
    assert match(ANCHORS, truth(*boxes[1:], boxes[0]))[0, :2].tolist() == [30, 30]


def claimed(box: tuple[float, float, float, float], rule: MatchRule) -> int:
    """How many anchors stand for one tiny box, far below every threshold of IoU."""
    anchors = anchor_boxes(96, (8, 16), SHAPES)
    overlap = ious(torch.tensor([box]), anchors)
    assert 0 < overlap.max() < rule.negative
    return int((match(anchors, truth(box), rule) >= 0).sum())


def test_all_equally_good_anchors_claim_a_tiny_box_not_those_that_rounding_chose() -> None:
    """It lies whole within many of one size: their IoU differs by rounding, or not at all."""
    boxes = [(x, x + 0.5, x + 3.7, x + 4.1) for x in (37.3, 41.9, 50.123)]
    even, first = ([claimed(box, rule) for box in boxes] for rule in (EVEN_RULE, DENSE_RULE))
    anchors = anchor_boxes(96, (8, 16), SHAPES)
    for box, many, few in zip(boxes, even, first, strict=True):
        overlap = ious_by_corners(anchors.double(), torch.tensor([box]).double()).squeeze(1)
        assert many == int((overlap >= overlap.max() - 1e-7).sum()) > 2
        # As before revision 2: those whose IoU is the very largest in single precision.
        overlap = ious_by_corners(anchors, torch.tensor([box])).squeeze(1)
        assert few == int((overlap == overlap.max()).sum()) <= many
    assert sum(first) < sum(even)


def test_no_box_is_claimed_by_anchors_that_are_not_the_best() -> None:
    own = truth((0, 0, 10, 10), (54, 54, 56, 56))
    assert torch.equal(match(ANCHORS, own, EVEN_RULE), match(ANCHORS, own))
    # Nor by any where none overlaps it.
    far = truth((200, 200, 210, 210))
    assert match(ANCHORS, far, EVEN_RULE).tolist() == [[BACKGROUND] * 5]


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
