"""The two stages of Faster R-CNN: what is proposed, what of it teaches, what is cut out of the maps, and the losses."""

import pytest
import torch
from torch import Tensor

from deeptrain_trainer.detection.anchors import AnchorShapes, anchor_levels
from deeptrain_trainer.detection.architectures import ARCHITECTURES
from deeptrain_trainer.detection.boxes import areas, encode, intersections, ious
from deeptrain_trainer.detection.pooling import POOLED_STRIDES, level_of, pooled
from deeptrain_trainer.detection.proposals import (
    LEAST_LOGIT,
    MOST_PROPOSALS,
    NO_PROPOSAL,
    Proposals,
    proposal_candidates,
    suppressed_proposals,
)
from deeptrain_trainer.detection.sampling import keys_of, sampled
from deeptrain_trainer.detection.stagelosses import (
    ANCHORS_SAMPLED,
    PROPOSALS_SAMPLED,
    Sample,
    anchor_loss,
    proposal_loss,
    sample_proposals,
    scale_of,
)
from deeptrain_trainer.detection.targets import BACKGROUND, UNKNOWN, Truth

from .smalltwostage import TEMPLATE, build_small

SIZE = 96
LEVELS = anchor_levels(SIZE, (4, 8, 16), AnchorShapes((4.0,)))
ANCHORS = torch.cat(LEVELS)
BOX, OTHER, CROWD = (10.0, 10.0, 42.0, 40.0), (50.0, 50.0, 80.0, 90.0), (0.0, 48.0, 40.0, 96.0)


def truth(*images: tuple[tuple[float, ...], ...]) -> Truth:
    """Three rows an image: corners, and whether the box is ignored; the concept is its place. The rest is padding."""
    boxes = torch.zeros(len(images), 3, 4)
    concepts = torch.full((len(images), 3), -1, dtype=torch.int64)
    ignored = torch.zeros(len(images), 3, dtype=torch.bool)
    for i, own in enumerate(images):
        for j, box in enumerate(own):
            boxes[i, j] = torch.tensor(box[:4])
            concepts[i, j], ignored[i, j] = j, len(box) > 4
    return Truth(boxes, concepts, ignored)


TRUTH = truth((BOX, OTHER), (OTHER, (*CROWD, 1.0)), ())
CHANCE = torch.tensor([0.25, 0.5, 0.75])


def one(given: Truth, i: int) -> Truth:
    """The truth of one image."""
    part = slice(i, i + 1)
    return Truth(given.boxes[part], given.concepts[part], given.ignored[part])


def test_a_sample_is_a_function_of_its_key_and_keeps_its_shares() -> None:
    matched = torch.full((1000,), BACKGROUND)
    matched[::3], matched[1::10] = 2, UNKNOWN
    first, other = keys_of(torch.tensor([0.125, 0.126]), 0)
    positives, background = sampled(matched, 100, 0.25, first)
    assert len(positives) == 25 and len(background) == 75
    assert (matched[positives] == 2).all() and (matched[background] == BACKGROUND).all()
    assert len(set(positives.tolist())) == 25 and len(set(background.tolist())) == 75
    again = sampled(matched, 100, 0.25, first)
    assert torch.equal(again[0], positives) and torch.equal(again[1], background)
    for key in (other, keys_of(torch.tensor([0.125]), 1)[0]):
        changed = sampled(matched, 100, 0.25, key)
        assert not torch.equal(changed[0], positives) and not torch.equal(changed[1], background)
    # Where one kind is rare the other takes its place, and where both are all are taken.
    matched[:] = BACKGROUND
    matched[7] = 0
    positives, background = sampled(matched, 100, 0.5, first)
    assert positives.tolist() == [7] and len(background) == 99
    assert sum(map(len, sampled(matched[:50], 100, 0.5, first))) == 50
    assert sum(map(len, sampled(torch.full((9,), UNKNOWN), 100, 0.5, first))) == 0


def test_every_item_is_sampled_about_as_often_as_another() -> None:
    matched = torch.full((200,), BACKGROUND)
    counts = torch.zeros(200)
    for key in keys_of(torch.arange(400) / 400, 0):
        counts[sampled(matched, 50, 0.5, key)[1]] += 1
    assert counts.mean() == 100 and counts.min() > 60 and counts.max() < 140


def test_proposals_lie_within_the_square_whatever_the_network_says() -> None:
    torch.manual_seed(0)
    levels = LEVELS[1:]
    sizes, anchors = [len(level) for level in levels], torch.cat(levels)
    logits, deltas = torch.randn(2, len(anchors)) * 3, torch.randn(2, len(anchors), 4) / 8
    # A box of nothing, one beyond the picture, and what a diverging network makes.
    deltas[0, 0], deltas[0, 1], deltas[0, 2] = -50, 1e6, float("nan")
    deltas[0, 3], logits[0, 4] = float("inf"), float("nan")
    logits[0, :4] = 100
    boxes, scores = proposal_candidates(logits, deltas, anchors, sizes, SIZE)
    assert boxes.isfinite().all() and boxes.min() >= 0 and boxes.max() <= SIZE
    none = scores == NO_PROPOSAL
    assert none[0].any() and not boxes[none].any()
    found = suppressed_proposals(boxes, scores)
    assert found.boxes.shape == (2, MOST_PROPOSALS, 4)
    for i in range(2):
        own = found.boxes[i][found.real[i]]
        assert 20 < len(own) < MOST_PROPOSALS and not found.boxes[i][~found.real[i]].any()
        assert ((own[:, 2:] - own[:, :2]) >= 1).all()
        overlap = ious(own, own) - torch.eye(len(own))
        assert overlap.max() <= 0.7
    # The best one of the second image is its first proposal.
    assert torch.equal(found.boxes[1, 0], boxes[1, scores[1].argmax()])


def test_an_image_may_have_no_proposal_and_none_has_too_many() -> None:
    boxes = torch.rand(1, 2000, 2).repeat(1, 1, 2) * 90
    boxes[..., 2:] += 1.5
    few, many = torch.full((1, 2000), NO_PROPOSAL), torch.full((1, 2000), LEAST_LOGIT + 1)
    found = suppressed_proposals(torch.cat((boxes, boxes)), torch.cat((few, many)))
    assert found.real.sum(1).tolist() == [0, MOST_PROPOSALS]


def test_boxes_belong_to_the_level_of_their_size() -> None:
    sides = torch.tensor([0.0, 111.9, 112.0, 223.9, 224.0, 447.9, 448.0, 1024.0])
    boxes = torch.stack((sides * 0, sides * 0, sides, sides), 1)
    assert level_of(boxes).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert level_of(torch.tensor([[5.0, 5.0, 6.0, 1000.0]])).tolist() == [0]


def test_what_is_cut_out_is_what_lies_there() -> None:
    """On maps that hold the place of each cell, a box is a ramp from its own left to its own right."""
    size = 512
    levels = []
    for stride in POOLED_STRIDES:
        centres = (torch.arange(size // stride) + 0.5) * stride
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        image = torch.stack((x, y, torch.full_like(x, float(stride))))
        levels.append(torch.stack((image, image + 1000)))
    # Of all levels, in no order; one as large as the picture.
    boxes = torch.tensor(
        [
            [100.0, 60.0, 400.0, 300.0],
            [40.0, 44.0, 54.0, 72.0],
            [20.0, 20.0, 490.0, 480.0],
            [100.0, 90.0, 240.0, 230.0],
            [300.0, 310.0, 342.0, 317.0],
        ]
    )
    images = torch.tensor([1, 0, 0, 1, 0])
    squares = pooled(levels, boxes, images) - 1000 * images.view(-1, 1, 1, 1)
    assert squares[:, 2].amax((1, 2)).round().tolist() == [16.0, 4.0, 32.0, 8.0, 4.0]
    for box, square in zip(boxes, squares, strict=True):
        cells = (torch.arange(7) + 0.5) / 7
        x, y = (box[axis] + cells * (box[2 + axis] - box[axis]) for axis in (0, 1))
        assert torch.allclose(square[0], x.expand(7, 7), atol=1e-2)
        assert torch.allclose(square[1], y.unsqueeze(1).expand(7, 7), atol=1e-2)
    assert pooled(levels, boxes[:0], images[:0]).shape == (0, 3, 7, 7)


@pytest.mark.parametrize("count", [1, 3])
def test_anchors_of_the_loss_are_sampled_for_each_image(count: int) -> None:
    torch.manual_seed(1)
    logits = torch.randn(count, len(ANCHORS), requires_grad=True)
    deltas = torch.randn(count, len(ANCHORS), 4, requires_grad=True)
    given = Truth(TRUTH.boxes[:count], TRUTH.concepts[:count], TRUTH.ignored[:count])
    total, number = anchor_loss(logits, deltas, ANCHORS, given, CHANCE[:count])
    assert number == ANCHORS_SAMPLED * count
    total.backward()
    assert logits.grad is not None and deltas.grad is not None
    assert ((logits.grad != 0).sum(1) == ANCHORS_SAMPLED).all()
    # Boxes are learnt where anchors stand for one: these want a higher logit.
    moved = (deltas.grad != 0).any(-1)
    assert moved[0].any() and (logits.grad[moved] < 0).all()
    if count == 3:
        assert not moved[2].any() and (logits.grad[2] >= 0).all()
        inside = intersections(ANCHORS, torch.tensor([CROWD])).squeeze(1) / areas(ANCHORS)
        crowded = (inside > 0.6) & (ious(ANCHORS, torch.tensor([OTHER])).squeeze(1) < 0.1)
        assert crowded.any() and not (logits.grad[1][crowded] != 0).any()


def proposed(*boxes: tuple[float, ...]) -> Proposals:
    """The same for each of three images."""
    rows = torch.zeros(3, MOST_PROPOSALS, 4)
    rows[:, : len(boxes)] = torch.tensor(boxes).view(-1, 4)
    return Proposals(rows, (torch.arange(MOST_PROPOSALS) < len(boxes)).expand(3, -1))


NEAR = (12.0, 8.0, 44.0, 40.0)
FAR = (0.0, 0.0, 12.0, 9.0)


def test_the_second_stage_learns_from_proposals_and_true_boxes() -> None:
    sample = sample_proposals(proposed(NEAR, FAR, CROWD), TRUTH, CHANCE)
    rows = list(
        zip(
            sample.images.tolist(),
            sample.concepts.tolist(),
            map(tuple, sample.boxes.tolist()),
            strict=True,
        )
    )
    assert {(c, b) for i, c, b in rows if i == 0} == {
        (0, BOX),
        (1, OTHER),
        (0, NEAR),
        (-1, FAR),
        (-1, CROWD),
    }
    # An ignored box is no example, and what lies in it is nothing.
    assert {(c, b) for i, c, b in rows if i == 1} == {(0, OTHER), (-1, NEAR), (-1, FAR)}
    assert {(c, b) for i, c, b in rows if i == 2} == {(-1, NEAR), (-1, FAR), (-1, CROWD)}
    near = rows.index((0, 0, NEAR))
    assert tuple(sample.truth[near].tolist()) == BOX


def test_a_quarter_of_the_sample_at_most_stands_for_boxes() -> None:
    torch.manual_seed(0)
    shift = torch.rand(400, 1) * 2
    rows = torch.cat((torch.tensor(BOX) + shift, torch.tensor(FAR) + shift))[None, 200:700]
    many = Proposals(rows, torch.ones(1, 500, dtype=torch.bool))
    sample = sample_proposals(many, one(TRUTH, 0), CHANCE[:1])
    assert len(sample.boxes) == PROPOSALS_SAMPLED
    assert int((sample.concepts >= 0).sum()) == PROPOSALS_SAMPLED // 4


def test_a_box_that_clipping_made_thin_is_no_proposal() -> None:
    thin = truth(((10.0, 10.0, 10.001, 40.0), BOX))
    sample = sample_proposals(
        Proposals(*(x[:1] for x in vars(proposed(FAR)).values())), thin, CHANCE[:1]
    )
    assert {tuple(box) for box in sample.boxes.tolist()} == {BOX, FAR}


def test_nothing_to_learn_from_has_a_loss_of_nothing() -> None:
    sample = sample_proposals(proposed(), truth((), (), ()), CHANCE)
    logits, deltas = torch.zeros(0, 3, requires_grad=True), torch.zeros(0, 1, 4, requires_grad=True)
    total, number = proposal_loss(logits, deltas, sample)
    assert total == 0 and number == 0 and len(sample.boxes) == 0
    total.backward()
    assert logits.grad is not None and deltas.grad is not None


def sample_of_two() -> Sample:
    return Sample(
        torch.tensor([NEAR, FAR]),
        torch.tensor([0, 0]),
        torch.tensor([1, -1]),
        torch.tensor([BOX, OTHER]),
    )


@pytest.mark.parametrize("regressors", [1, 3])
def test_a_proposal_moves_the_regressors_of_its_concept(regressors: int) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 4, requires_grad=True)
    deltas = torch.randn(2, regressors, 4, requires_grad=True)
    total, number = proposal_loss(logits, deltas, sample_of_two())
    assert number == 2
    total.backward()
    assert logits.grad is not None and deltas.grad is not None
    assert (logits.grad < 0).tolist() == [[False, True, False, False], [False, False, False, True]]
    moved = deltas.grad.abs().sum(2) > 0
    own = [True] if regressors == 1 else [False, True, False]
    assert moved.tolist() == [own, [False] * regressors]


def test_what_is_right_has_next_to_no_loss() -> None:
    sample = sample_of_two()
    logits = torch.tensor([[0.0, 30.0, 0.0, 0.0], [0.0, 0.0, 0.0, 30.0]])
    target = encode(sample.truth, sample.boxes)
    total, _ = proposal_loss(logits, (target * scale_of(target)).unsqueeze(1), sample)
    assert total < 1e-6


def stepped_losses(count: slice) -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(0)
    model = build_small(SIZE, 3, 3).eval()
    pixels = torch.rand(3, 3, SIZE, SIZE) * 255
    given = Truth(TRUTH.boxes[count], TRUTH.concepts[count], TRUTH.ignored[count])
    return model.losses(model(pixels[count]), given, CHANCE[count])


def test_the_losses_of_a_batch_are_those_of_its_images() -> None:
    """So several processes, which divide by the number of all, equal one."""
    whole = stepped_losses(slice(0, 3))
    parts = [stepped_losses(slice(i, i + 1)) for i in range(3)]
    for stage, (total, number) in enumerate(whole):
        assert number == sum(part[stage][1] for part in parts)
        assert total.item() == pytest.approx(sum(part[stage][0].item() for part in parts), rel=1e-5)


def test_in_half_precision_only_products_are_rounded() -> None:
    """As on GPUs: corners and losses are in single precision, or proposals would be off by pixels."""
    exact = stepped_losses(slice(0, 3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = stepped_losses(slice(0, 3))
    for (total, number), (wanted, count) in zip(rounded, exact, strict=True):
        assert number == count and total.dtype == torch.float32
        assert total.item() == pytest.approx(wanted.item(), rel=0.02)


@pytest.mark.parametrize(("size", "levels"), [(256, 5), (512, 5), (544, 6)])
def test_the_largest_anchors_are_about_as_large_as_the_picture(size: int, levels: int) -> None:
    with torch.device("meta"):
        model = ARCHITECTURES[TEMPLATE].build(size, 2, 2, 1)
    cells = [3 * (-(-size // stride)) ** 2 for stride in (4, 8, 16, 32, 64, 128)]
    assert model.level_sizes == cells[:levels]


def test_a_candidate_is_the_box_of_its_concept() -> None:
    model = build_small(SIZE, 2, 2).eval()
    boxes = torch.tensor([[NEAR, FAR]])
    logits = torch.tensor([[0.0, 9.0, 0.0], [0.0, 0.0, 9.0]])
    deltas = torch.zeros(2, 2, 4)
    deltas[0, 1] = encode(torch.tensor(BOX), torch.tensor(NEAR)) * scale_of(deltas)
    model.head.boxes.forward = lambda _squares: (logits, deltas)  # type: ignore[method-assign]
    found, scores, concepts = model.second(
        torch.zeros(2, 32, 7, 7), boxes, torch.tensor([[True, False]])
    )
    assert concepts[0, 0] == 1 and scores[0, 0] > 0.99
    assert torch.allclose(found[0, 0], torch.tensor(BOX), atol=1e-4)
    # What is no proposal is below every threshold, whatever the head says.
    assert scores[0].tolist()[2:] == [-1.0, -1.0] and areas(found[0]).isfinite().all()
