"""The focal loss, which makes its own gradient: as the plain formula, in the memory of one tensor."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from deeptrain_trainer.detection import losses
from deeptrain_trainer.detection.anchors import AnchorShapes, anchor_boxes, octaves
from deeptrain_trainer.detection.losses import Predictions, detection_loss, focal_loss
from deeptrain_trainer.detection.targets import BACKGROUND, Truth, match

SHAPE = (3, 40, 7)
Marked = tuple[Tensor, Tensor, Tensor]


def plain(logits: Tensor, targets: Tensor) -> Tensor:
    """Sigmoid focal loss of each element, as it is written (Lin et al. 2017)."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    probability = logits.sigmoid()
    missed = probability + targets - 2 * probability * targets
    alpha = 0.75 - 0.5 * targets
    return alpha * missed.pow(2.0) * cross_entropy


def plain_sum(logits: Tensor, counted: Tensor, rows: Tensor, concepts: Tensor) -> Tensor:
    """As `focal_loss`, by autograd."""
    wanted = torch.zeros_like(logits)
    wanted.view(-1, logits.shape[2])[rows, concepts] = 1
    return (plain(logits, wanted) * counted.unsqueeze(-1)).sum()


def marked(positives: float, counted: float) -> Marked:
    """Which anchors count, and which stand for which concept, by their shares; positive ones always count."""
    random = torch.Generator().manual_seed(0)
    images, anchors, concepts = SHAPE
    rows = torch.nonzero(torch.rand(images * anchors, generator=random) < positives).flatten()
    counts = torch.rand(images * anchors, generator=random) < counted
    counts[rows] = True
    chosen = torch.randint(0, concepts, (len(rows),), generator=random)
    return counts.view(images, anchors), rows, chosen


def logits_of(dtype: torch.dtype, scale: float = 3.0) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return (torch.randn(SHAPE, generator=random) * scale).to(dtype).requires_grad_()


CASES = {
    "some": (0.2, 0.8),
    "no positives": (0.0, 0.8),
    "all positives": (1.0, 1.0),
    "nothing but ignored": (0.0, 0.0),
    "few, and none ignored": (0.02, 1.0),
}


@pytest.fixture(params=sorted(CASES))
def marks(request: pytest.FixtureRequest) -> Marked:
    return marked(*CASES[request.param])


@pytest.fixture(params=[5, 100, 1 << 20])
def at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """By row, by some of them, or all together."""
    monkeypatch.setattr(losses, "_LOGITS_AT_ONCE", request.param)
    return int(request.param)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-6)])
def test_value_and_gradient_are_those_of_the_formula(
    marks: Marked, dtype: torch.dtype, tolerance: float
) -> None:
    ours, theirs = logits_of(dtype), logits_of(dtype)
    total, wanted = focal_loss(ours, *marks), plain_sum(theirs, *marks)
    assert total.dtype == dtype
    assert total.item() == pytest.approx(wanted.item(), rel=10 * tolerance, abs=1e-12)
    (total / 7).backward()
    (wanted / 7).backward()
    assert ours.grad is not None and theirs.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=10 * tolerance, atol=tolerance)
    assert not ours.grad[~marks[0]].any()


@pytest.mark.usefixtures("at_once")
def test_the_gradient_is_the_slope() -> None:
    logits = logits_of(torch.float64)
    assert torch.autograd.gradcheck(lambda x: focal_loss(x, *marked(0.2, 0.8)), logits)


def elements(logits: Tensor, targets: Tensor) -> Tensor:
    """`focal_loss` of each of the logits [n] alone."""
    counted, none = torch.ones(1, 1, dtype=torch.bool), torch.zeros(0, dtype=torch.int64)
    one = torch.zeros(1, dtype=torch.int64)
    return torch.stack(
        [
            focal_loss(x.view(1, 1, 1), counted, *((one, one) if target else (none, none)))
            for x, target in zip(logits, targets, strict=True)
        ]
    )


@pytest.mark.parametrize("focal", [elements, plain])
def test_focal_loss_is_weighted_cross_entropy_where_nothing_is_easy(focal: Any) -> None:
    loss = focal(torch.zeros(2), torch.tensor([1.0, 0.0]))
    assert torch.allclose(loss, math.log(2) * 0.25 * torch.tensor([0.25, 0.75]))
    assert focal(torch.tensor([-9.0]), torch.tensor([0.0])) < 1e-7
    assert focal(torch.tensor([-200.0, 200.0]), torch.tensor([1.0, 0.0])).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_extreme_logits_have_a_finite_loss_and_gradient(dtype: torch.dtype) -> None:
    for target in (0.0, 1.0):
        logits = torch.tensor([-1e4, -100.0, 100.0, 1e4], dtype=dtype, requires_grad=True)
        loss = elements(logits, torch.full((4,), target))
        loss.sum().backward()
        assert logits.grad is not None and loss.isfinite().all() and logits.grad.isfinite().all()
        wrong = logits > 0 if target == 0 else logits < 0
        weight = 0.25 if target else 0.75
        assert torch.allclose(loss, torch.where(wrong, weight * logits.abs(), 0.0))
        slope = weight * (1 - 2 * target)
        assert torch.allclose(logits.grad, torch.where(wrong, slope, 0.0).to(dtype), atol=1e-7)


def test_what_is_learnt_leaves_no_rounding_of_what_is_not() -> None:
    """The total of positive anchors is theirs, not what is left of what they had as background."""
    logits = torch.full((1, 500, 1), 30.0)
    rows = torch.arange(500)
    counted = torch.ones(1, 500, dtype=torch.bool)
    assert focal_loss(logits, counted, rows, torch.zeros_like(rows)) < 1e-12


def test_half_precision_is_that_of_the_logits_alone() -> None:
    marks = marked(0.2, 0.8)
    rounded = logits_of(torch.bfloat16)
    exact = rounded.detach().float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, wanted = focal_loss(rounded, *marks), focal_loss(exact, *marks)
    assert total.dtype == torch.float32 and torch.equal(total, wanted)
    assert torch.equal(wanted, focal_loss(exact, *marks))
    total.backward()
    wanted.backward()
    assert rounded.grad is not None and exact.grad is not None
    assert torch.equal(rounded.grad, exact.grad.bfloat16())


def test_a_loss_has_the_same_bits_each_time() -> None:
    results = []
    for _ in range(3):
        logits = logits_of(torch.float32)
        total = focal_loss(logits, *marked(0.2, 0.8))
        total.backward()
        results.append((total, logits.grad))
    assert all(torch.equal(a, b) for r in results[1:] for a, b in zip(r, results[0], strict=True))


class Large(TorchDispatchMode):
    """Collects what is made in it, of so many bytes or more, but for what is there already."""

    def __init__(self, least: int, known: Tensor) -> None:
        super().__init__()
        storage = known.untyped_storage()
        # Kept, or the place of one might be given to another.
        self.least, self.found = least, {storage.data_ptr(): storage}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, Tensor) and made.untyped_storage().nbytes() >= self.least:
            self.found[made.untyped_storage().data_ptr()] = made.untyped_storage()
        return made

    @property
    def count(self) -> int:
        return len(self.found) - 1


def test_only_one_tensor_as_large_as_the_logits_is_made_and_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(losses, "_LOGITS_AT_ONCE", 70)
    marks, logits = marked(0.2, 0.8), logits_of(torch.float32)
    least, kept = logits.numel() * 4 // 2, []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x), Large(least, logits) as made:
        total = focal_loss(logits, *marks)
    assert kept == [logits.numel()] and made.count == 1
    with Large(least, logits) as made:
        total.backward()
    assert made.count == 1
    with torch.no_grad(), Large(least, logits.detach()) as made:
        unlearnt = focal_loss(logits.detach(), *marks)
    assert made.count == 0 and torch.equal(unlearnt, total)
    # By plain operations: what this is for.
    kept.clear()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x), Large(least, logits) as made:
        plain_sum(logits, *marks)
    assert sum(kept) > 4 * logits.numel() and made.count > 8


def test_the_loss_of_a_detector_is_that_of_the_formula() -> None:
    random = torch.Generator().manual_seed(0)
    anchors = anchor_boxes(96, (8, 16, 32), AnchorShapes(octaves(2.5)))
    corner = torch.rand(4, 6, 2, generator=random) * 60
    side = torch.rand(4, 6, 2, generator=random) * 30 + 4
    concepts = torch.randint(-1, 3, (4, 6), generator=random)
    concepts[2] = -1
    ignored = torch.rand(4, 6, generator=random) < 0.3
    truth = Truth(torch.cat((corner, corner + side), 2), concepts, ignored)
    logits = torch.randn(4, len(anchors), 3, generator=random, requires_grad=True)
    deltas = torch.randn(4, len(anchors), 1, 4, generator=random)
    total, positives = detection_loss(Predictions(logits, deltas), anchors, truth)
    matched = match(anchors, truth)
    image, anchor = torch.nonzero(matched >= 0, as_tuple=True)
    own = concepts[image, matched[image, anchor]]
    again = logits.detach().clone().requires_grad_()
    wanted = plain_sum(again, matched >= BACKGROUND, image * len(anchors) + anchor, own)
    total.backward()
    wanted.backward()
    assert positives == len(image) > 20 and (matched < BACKGROUND).any()
    assert logits.grad is not None and again.grad is not None
    torch.testing.assert_close(logits.grad, again.grad, rtol=1e-5, atol=1e-6)
