"""What the revisions of detectors build and how they learn; and what of a ResNet-50 learns at all."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Recorder, Unwritten
from safetensors.torch import save
from torch import Tensor

from deeptrain_trainer.detection import architectures
from deeptrain_trainer.detection.anchors import anchor_boxes
from deeptrain_trainer.detection.architectures import ARCHITECTURES
from deeptrain_trainer.detection.boxes import areas, ious
from deeptrain_trainer.detection.detector import DenseDetector, Detector
from deeptrain_trainer.detection.learner import DetectorLearner
from deeptrain_trainer.detection.targets import DENSE_RULE, EVEN_RULE, Truth, match
from deeptrain_trainer.engine import Training, train_step
from deeptrain_trainer.failure import Failure
from deeptrain_trainer.run import train_run as typed
from deeptrain_trainer.train import prepare

from .shapes import detector_run, kept, stored_shapes

Prepared = Callable[..., Training]
RETINANET = "visual-detector/retinanet-efficientnet-lite0"
SSDLITE = "visual-detector/ssdlite-efficientnet-lite0"
RESNET = "visual-detector/retinanet-resnet50"
FASTERRCNN = "visual-detector/fasterrcnn-resnet50"
SIZES = range(256, 1025, 32)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return stored_shapes(tmp_path_factory.mktemp("datasets"), {"train": 24, "validation": 8})


@pytest.fixture
def prepared(shapes: dict[str, str], tmp_path: Path) -> Prepared:
    """A training before its first step."""

    def make(**changes: Any) -> Training:
        run = typed(detector_run(shapes, tmp_path / "output", **changes))
        training = prepare(run, Recorder(), lambda: None)
        training.checkpoints = Unwritten(run.output, run.inputs_hash)
        return training

    return make


def built(template: str, size: int, revision: int) -> Detector:
    """Without its weights, but with its anchors."""

    def real(*given: Any) -> Tensor:
        with torch.device("cpu"):
            return anchor_boxes(*given)

    with pytest.MonkeyPatch.context() as patch, torch.device("meta"):
        patch.setattr(architectures, "anchor_boxes", real)
        return ARCHITECTURES[template].build(size, 2, 1, revision)


def share(template: str, size: int, revision: int) -> float:
    """The side of the largest square anchors, of the picture's."""
    return float(areas(built(template, size, revision).anchors).max().sqrt()) / size


@pytest.mark.parametrize("template", [RETINANET, SSDLITE])
def test_the_largest_anchors_are_nearly_as_large_as_every_picture(template: str) -> None:
    assert min(share(template, size, 2) for size in SIZES) >= 0.7
    assert share(template, 1024, 1) < 0.5


LEVELS = {
    RETINANET: {256: 4, 320: 4, 480: 4, 512: 5, 640: 5, 1024: 5},
    SSDLITE: {256: 4, 320: 4, 480: 4, 512: 5, 640: 5, 1024: 5},
    RESNET: {256: 5, 512: 5, 1024: 5},
}


def cells(size: int, levels: int) -> int:
    return sum((-(-size // (8 * 2**level))) ** 2 for level in range(levels))


@pytest.mark.parametrize("template", sorted(LEVELS))
def test_revision_1_has_the_levels_that_it_had(template: str) -> None:
    per_cell = 6 if template == SSDLITE else 9
    for size, levels in LEVELS[template].items():
        model = built(template, size, 1)
        assert isinstance(model, DenseDetector)
        assert len(model.anchors) == per_cell * cells(size, levels)
        assert (model.rule, model.least_per_image) == (DENSE_RULE, 0)


@pytest.mark.parametrize("template", [RETINANET, SSDLITE])
def test_revision_2_has_a_level_more_above_320_and_above_640(template: str) -> None:
    per_cell = 6 if template == SSDLITE else 9
    for size, levels in {256: 4, 320: 4, 352: 5, 480: 5, 640: 5, 672: 6, 1024: 6}.items():
        model = built(template, size, 2)
        assert isinstance(model, DenseDetector)
        assert len(model.anchors) == per_cell * cells(size, levels)
        assert (model.rule, model.least_per_image) == (EVEN_RULE, 1)


def test_other_detectors_know_no_revision() -> None:
    for size in (480, 1024):
        first, later = (built(RESNET, size, revision) for revision in (1, 2))
        assert isinstance(later, DenseDetector)
        assert len(first.anchors) == len(later.anchors)
        assert (later.rule, later.least_per_image) == (DENSE_RULE, 0)
        first, later = (built(FASTERRCNN, size, revision) for revision in (1, 2))
        assert len(first.anchors) == len(later.anchors) and later.least_per_image == 0


@pytest.mark.parametrize("template", [RETINANET, SSDLITE])
@pytest.mark.parametrize("size", [480, 1024])
def test_an_object_as_large_as_the_picture_is_learnt_by_anchors_that_overlap_it(
    template: str, size: int
) -> None:
    whole = torch.tensor([[0.0, 0.0, size, size]])
    best = [ious(whole, built(template, size, r).anchors).max().item() for r in (1, 2)]
    assert best[0] < 0.5 <= best[1]
    own = Truth(whole[None], torch.zeros(1, 1).long(), torch.zeros(1, 1).bool())
    anchors = built(template, size, 2).anchors
    positive = anchors[match(anchors, own, EVEN_RULE)[0] >= 0]
    assert len(positive) > 0 and ious(whole, positive).min() >= 0.5


def test_a_run_trains_its_revision(prepared: Prepared) -> None:
    for revision, rule in ((1, DENSE_RULE), (2, EVEN_RULE)):
        t = prepared(templateRevision=revision, image_size=352, template=SSDLITE)
        assert isinstance(t.model, DenseDetector) and t.model.rule == rule
        assert len(t.model.anchors) == 6 * cells(352, 3 + revision)
    with pytest.raises(Failure, match="only up to 2"):
        prepared(templateRevision=3)
    with pytest.raises(Failure, match="only up to 1"):
        prepared(templateRevision=2, template=RESNET, base={"id": "none"})


def contents(weights: dict[str, Tensor]) -> bytes:
    """Of a safetensors file."""
    return save({name: value.contiguous() for name, value in weights.items()})


def losses(t: Training, boxed: int) -> tuple[float, float, float]:
    """Of a batch of which so many pictures show anything: its sum, what is learnt from, and by how much that moves the
    bias of the concepts.
    """
    learner = t.learner
    assert isinstance(learner, DetectorLearner)
    images, truth, chances = learner.load_batch(0)
    truth.concepts[boxed:] = -1
    t.model.train()
    ((total, _),) = learner.model.losses(t.model(images), truth, chances)
    loss = learner.loss((images, truth, chances))
    loss.backward()
    bias = t.model.get_parameter("head.head.concept_output.bias")
    assert bias.grad is not None
    return total.item(), loss.item(), float(bias.grad.abs().sum())


def test_a_batch_without_boxes_counts_once_for_each_picture(prepared: Prepared) -> None:
    (total, first, slope), (same, second, other) = (
        losses(prepared(templateRevision=revision, batch_size=8), 0) for revision in (1, 2)
    )
    assert first == total == same
    assert second == pytest.approx(total / 8, rel=1e-6)
    assert other == pytest.approx(slope / 8, rel=1e-5)


def test_a_batch_with_boxes_is_divided_by_their_anchors_in_every_revision(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Which anchors are claimed is another matter.
    monkeypatch.setattr("deeptrain_trainer.detection.architectures.EVEN_RULE", DENSE_RULE)
    first, second = (
        losses(prepared(templateRevision=revision, batch_size=8), 8) for revision in (1, 2)
    )
    assert first == second and first[1] < first[0] / 8


def test_the_loss_of_a_validation_is_divided_as_that_of_a_batch(prepared: Prepared) -> None:
    found = {}
    for revision in (1, 2):
        t = prepared(templateRevision=revision)
        learner = t.learner
        assert isinstance(learner, DetectorLearner)
        nothing = [replace(own, concepts=own.concepts - 9) for own in learner.validation.truth]
        learner.validation = replace(learner.validation, truth=nothing)
        t.model.eval()
        found[revision] = learner.validate().loss
    assert found[2] == pytest.approx(found[1] / 8, rel=1e-5)


NEW = {
    RETINANET: {"head.pyramid.extra.1"},
    SSDLITE: {"head.extra.1", "head.concept_outputs.4", "head.box_outputs.4"},
}


@pytest.mark.parametrize("template", [RETINANET, SSDLITE])
def test_a_detector_of_either_revision_is_the_base_of_the_other(
    prepared: Prepared, tmp_path: Path, template: str
) -> None:
    """Levels are added after the others, whose names they leave as they are."""
    changes = {"template": template, "image_size": 352}
    models = {
        revision: prepared(**changes, templateRevision=revision).model.state_dict()
        for revision in (1, 2)
    }
    more = models[2].keys() - models[1].keys()
    assert {name for name in more if not name.startswith(tuple(NEW[template]))} == set()
    assert models[1].keys() <= models[2].keys()
    for base, revision in ((1, 2), (2, 1)):
        weights = {
            name: value + 0.01 if name.startswith("head.") else value
            for name, value in models[base].items()
        }
        t = prepared(**changes, templateRevision=revision, base=kept(contents(weights), tmp_path))
        own = t.model.state_dict()
        new = {n for n in own if n not in weights or not torch.equal(own[n], weights[n])}
        assert new == {n for n in own if "concept_output" in n or n not in weights}
        assert t.model.base_counts()["base"]["new"] == len(new)


STEM = ("base.net.conv1.", "base.net.bn1.", "base.net.layer1.")


@pytest.mark.parametrize("template", [RESNET, FASTERRCNN])
def test_the_stem_of_a_pretrained_resnet_is_frozen_and_nothing_of_a_random_one(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    monkeypatch.setattr("deeptrain_trainer.train.bf16_on_cpu", lambda _template: False)
    changes = {
        "template": template,
        "image_size": 96,
        "batch_size": 2,
        "lrate": 0.1,
        "base_gradient_multiplier": 1,
    }
    random = prepared(**changes, base={"id": "none"})
    weights = {name: value.clone() for name, value in random.model.base.state_dict().items()}
    assert still(random) == set()
    pretrained = prepared(**changes, base=kept(contents(weights), tmp_path))
    frozen = {name for name, _ in pretrained.model.named_parameters() if name.startswith(STEM)}
    assert len(frozen) > 20 and still(pretrained) == frozen


def still(t: Training) -> set[str]:
    """The parameters of the base that a step leaves as they are."""
    before = {name: p.detach().clone() for name, p in t.model.named_parameters()}
    t.model.train()
    assert train_step(t, t.learner.load_batch(0)) is not None
    return {
        name
        for name, p in t.model.named_parameters()
        if name.startswith("base.") and torch.equal(p, before[name])
    }
