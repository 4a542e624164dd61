"""The detector from end to end, on pictures of shapes; and what its hyperparameters do."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from conftest import Recorder, Unwritten
from contract import assert_event, assert_record
from safetensors.torch import load, save
from stored import INPUTS_HASH, coloured, store, store_boxed

from deeptrain_trainer.artifact import inspect
from deeptrain_trainer.dataset.image import decode_rgb
from deeptrain_trainer.dataset.store import StoredDataset
from deeptrain_trainer.detection.architectures import ARCHITECTURES
from deeptrain_trainer.detection.graph import exported_detector
from deeptrain_trainer.detection.learner import DetectorLearner
from deeptrain_trainer.detection.twostage import TwoStageDetector
from deeptrain_trainer.engine import Training, run_training, train_step
from deeptrain_trainer.failure import Failure
from deeptrain_trainer.preprocess import open_session
from deeptrain_trainer.run import train_run as typed
from deeptrain_trainer.schedule import Schedule
from deeptrain_trainer.train import prepare, resume, train

from .shapes import CONCEPTS, detector_run, kept, pictures, stored_shapes

Prepared = Callable[..., Training]
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    split = {"train": 48, "validation": 8, "test": 16}
    return stored_shapes(tmp_path_factory.mktemp("datasets"), split)


@pytest.fixture
def prepared(shapes: dict[str, str], tmp_path: Path) -> Prepared:
    """A training before its first step."""

    def make(dataset: dict[str, str] = shapes, **changes: Any) -> Training:
        run = typed(detector_run(dataset, tmp_path / "output", **changes))
        training = prepare(run, Recorder(), lambda: None)
        training.checkpoints = Unwritten(run.output, run.inputs_hash)
        return training

    return make


def learner_of(t: Training) -> DetectorLearner:
    assert isinstance(t.learner, DetectorLearner)
    return t.learner


@pytest.fixture(scope="module")
def published(
    shapes: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], Recorder]:
    """Artifact, record and events of one training."""
    output, recorder = tmp_path_factory.mktemp("output"), Recorder()
    run = typed(detector_run(shapes, output, num_epochs=9, init_epochs=7))
    return output / "artifact", train(run, recorder, lambda: None), recorder


def test_it_learns_what_is_there_to_be_learnt(
    published: tuple[Path, dict[str, Any], Recorder],
) -> None:
    artifact, record, recorder = published
    assert_record({"task": "train", "uid": "u", "attempt": 1, **record})
    for event in recorder.events:
        assert_event(event)
    assert record["metrics"]["split"] == "test" and record["metrics"]["items"] == 16
    values = record["metrics"]["values"]
    assert values["map50"] > 0.6
    assert 0 <= values["map75"] <= values["map50"] and "map_large" not in values
    assert [row["concept"] for row in recorder.of("evaluation")[0]["concepts"]]
    assert json.loads((artifact / "parity.json").read_text())["largestDifference"] < 1e-3
    rows = json.loads((artifact / "evaluation/concepts.json").read_text())["concepts"]
    assert {row["concept"] for row in rows} == set(CONCEPTS)
    assert all(row["ap50"] >= row["ap"] for row in rows)
    assert (artifact / "evaluation/mistakes.png").exists()
    assert (artifact / "evaluation/precision-recall.png").exists()


def test_what_is_served_is_what_was_measured(
    published: tuple[Path, dict[str, Any], Recorder], shapes: dict[str, str]
) -> None:
    """From the stored bytes, through both graphs, to boxes on the original picture."""
    artifact, record, _ = published
    preprocess = open_session((artifact / "preprocess.onnx").read_bytes(), 1)
    model = exported_detector((artifact / "model.onnx").read_bytes(), 1)
    stored = StoredDataset.open(Path(shapes["path"]), shapes["splitDigest"])
    right = missed = wrong = 0
    for item in stored.items("test"):
        rgb = decode_rgb(stored.read(item))
        pixels, transform = preprocess.run(["pixels", "box_transform"], {"image": rgb})
        found = model(pixels, transform, 0.3)
        count = int(found.count[0])
        corners = found.boxes[0, :count] * np.array([item.width, item.height] * 2)
        hits = sum(
            any(
                concept == box.concept
                and np.abs(corner - box[1:5]).max() < 0.35 * (box.x_max - box.x_min)
                for corner, concept in zip(corners, found.concepts[0, :count], strict=True)
            )
            for box in item.boxes
        )
        right += hits
        missed += len(item.boxes) - hits
        wrong += max(0, count - hits)
    assert right > missed
    precision = record["metrics"]["values"]["precision"]
    assert abs(right / (right + wrong) - precision) < 0.25


def moved(t: Training, steps: int = 2) -> dict[str, float]:
    """How far each parameter goes in so many steps."""
    before = {name: p.detach().clone() for name, p in t.model.named_parameters()}
    t.model.train()
    for step in range(steps):
        assert train_step(t, t.learner.load_batch(step)) is not None
    return {
        name: float((p.detach() - before[name]).abs().max())
        for name, p in t.model.named_parameters()
    }


def test_the_base_is_the_backbone_alone_and_may_be_frozen(prepared: Prepared) -> None:
    frozen = prepared(base_gradient_multiplier=0)
    statistics = {n: b.clone() for n, b in frozen.model.base.named_buffers()}
    distance = moved(frozen)
    assert not any(distance[name] for name in distance if name.startswith("base."))
    assert all(distance[name] for name in distance if name.startswith("head.pyramid."))
    assert all(torch.equal(b, statistics[n]) for n, b in frozen.model.base.named_buffers())
    trained = moved(prepared(base_gradient_multiplier=0.2))
    assert trained["base.blocks.15.project.conv.weight"] > 0


def test_the_base_moves_by_its_share_of_the_rate(prepared: Prepared) -> None:
    """AdamW's first step moves each weight by its rate, whatever its gradient is."""
    written = {"weight_decay": 0.0, "lrate": 1e-3}
    distances = [moved(prepared(**written, base_gradient_multiplier=m), 1) for m in (0.2, 1)]
    base = "base.blocks.15.project.conv.weight"
    new = next(name for name in distances[0] if name.startswith("head.pyramid."))
    assert distances[0][base] == pytest.approx(0.2 * distances[1][base], rel=1e-3)
    assert distances[0][new] == pytest.approx(distances[1][new], rel=1e-3)


def test_its_schedule_batch_and_rate_are_those_that_are_written(prepared: Prepared) -> None:
    written = {
        "batch_size": 4,
        "image_size": 128,
        "lrate": 2e-4,
        "num_epochs": 7,
        "num_items_per_epoch": 10,
        "init_epochs": 3,
        "step_epochs": 2,
        "lrate_decay": 0.5,
        "test_freq": 5,
        "early_stop_epochs": 6,
    }
    t = prepared(**written)
    assert t.schedule == Schedule(7, 3, 2e-4, 3, 2, 5, 6, 0.5, "step")
    images, _, _ = t.learner.load_batch(0)
    assert images.shape == (4, 3, 128, 128)
    t.state.step = t.schedule.warmup_steps
    moved(t, 1)
    assert {group["lr"] for group in t.optimizer.param_groups} == {2e-4, 2e-4 * 0.2}


def test_weight_decay_and_the_schedule_are_those_that_are_written(prepared: Prepared) -> None:
    t = prepared(weight_decay=0.5, lrate_schedule="cosine")
    assert {group["weight_decay"] for group in t.optimizer.param_groups} == {0.5, 0}
    assert t.schedule.shape == "cosine"


@pytest.mark.parametrize("template", sorted(ARCHITECTURES))
def test_every_architecture_trains_with_regressors_for_each_concept(
    prepared: Prepared, template: str
) -> None:
    small = {"template": template, "base": {"id": "none"}, "image_size": 96, "batch_size": 2}
    shared, each = (prepared(**small, use_perclass_regression=flag) for flag in (False, True))
    parameters = {}
    for t, sets in ((shared, 1), (each, len(CONCEPTS))):
        predicted = t.model(torch.zeros(2, 3, 96, 96))
        anchors = len(learner_of(t).model.anchors)
        if isinstance(t.model, TwoStageDetector):
            assert predicted.logits.shape == (2, anchors)
            assert t.model.head.boxes(torch.zeros(5, 256, 7, 7))[1].shape == (5, sets, 4)
        else:
            assert predicted.logits.shape == (2, anchors, len(CONCEPTS))
            assert predicted.deltas.shape == (2, anchors, sets, 4)
        parameters[sets] = sum(p.numel() for p in t.model.parameters())
        distance = moved(t, 1)
        assert all(distance[name] for name in distance if "concept_output" in name)
        assert any(distance[name] for name in distance if "box_output" in name)
    assert parameters[2] > parameters[1]


def test_flips_are_drawn_for_each_image_of_each_pass(prepared: Prepared) -> None:
    flipped, kept = prepared(), prepared(average_horizontal_flips=False)
    first, second = (learner_of(t).load_batch(0) for t in (flipped, kept))
    assert torch.equal(first[2], second[2])
    same = [torch.equal(one, other) for one, other in zip(first[0], second[0], strict=True)]
    assert any(same) and not all(same)
    assert not torch.equal(first[1].boxes, second[1].boxes)


def test_a_batch_is_a_function_of_its_step(prepared: Prepared) -> None:
    one, other = (learner_of(prepared()).load_batch(5) for _ in range(2))
    assert torch.equal(one[0], other[0]) and torch.equal(one[2], other[2])
    assert torch.equal(one[1].boxes, other[1].boxes)


def test_boxes_of_other_concepts_are_background(prepared: Prepared) -> None:
    t = learner_of(prepared(concepts=["square"]))
    everything = [box for item in t.data.train.items for box in item.boxes]
    own = [concept for truth in t.boxed.truth for concept in truth.concepts]
    assert 0 < len(own) < len(everything) and set(own) == {0}
    assert len(t.boxed) == 48


def test_the_score_threshold_is_the_operating_point_alone(prepared: Prepared) -> None:
    low, high = (prepared(detection_score_threshold=value) for value in (0.0, 0.99))
    first, second = low.learner.validate(), high.learner.validate()
    assert first.loss == second.loss and first.values["map"] == second.values["map"]
    assert first.values["precision"] >= 0 and second.values["recall"] == 0


def test_the_score_threshold_is_the_default_of_what_is_served(prepared: Prepared) -> None:
    learner = learner_of(prepared(detection_score_threshold=0.37))
    learner.model.eval()
    graph = onnx.load_from_string(learner.export()["model.onnx"]).graph
    defaults = {
        tensor.name: onnx.numpy_helper.to_array(tensor).tolist()
        for tensor in graph.initializer
        if tensor.name.endswith("_threshold")
    }
    assert defaults == {"score_threshold": [pytest.approx(0.37)], "iou_threshold": [0.5]}


def kept_of(learner: DetectorLearner) -> tuple[int, int]:
    return len(learner.pixels._kept), len(learner.validation_pixels._kept)


def test_pixels_kept_for_training_are_let_go_before_export_and_evaluation(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = learner_of(prepared())
    learner.model.eval()
    batch, validated = learner.load_batch(0), learner.validate()
    assert kept_of(learner) == (len(batch[0]), len(learner.validation))

    class Begun(Exception):
        pass

    def begin(*_: object) -> bytes:
        raise Begun

    monkeypatch.setattr("deeptrain_trainer.detection.learner.detector_graph", begin)
    with pytest.raises(Begun):
        learner.export()
    assert kept_of(learner) == (0, 0)
    # They are made anew where they are asked for.
    assert torch.equal(learner.load_batch(0)[0], batch[0])
    assert learner.validate().loss == validated.loss


def test_a_training_that_diverges_is_named(prepared: Prepared) -> None:
    t = prepared(lrate=1e25, num_epochs=6, init_epochs=6)
    with pytest.raises(Failure) as diverged:
        run_training(t)
    assert diverged.value.reason == "Diverged"


def test_a_dataset_without_boxes_is_refused(tmp_path: Path) -> None:
    dataset = store(tmp_path / "datasets", coloured({"train": 8}, CONCEPTS))
    run = typed(detector_run(dataset, tmp_path / "output"))
    with pytest.raises(Failure, match="no bounding boxes") as refused:
        train(run, Recorder(), lambda: None)
    assert refused.value.reason == "NoBoxes" and refused.value.exit_code == 42


def test_ignored_boxes_reach_loss_and_evaluation_as_ignored(tmp_path: Path) -> None:
    given = [
        (pixels, tuple((*box[:5], number > 0) for number, box in enumerate(boxes)), split)
        for pixels, boxes, split in pictures({"train": 16, "test": 8})
    ]
    dataset = store_boxed(tmp_path / "datasets", given)
    t = learner_of(
        prepare(typed(detector_run(dataset, tmp_path / "output")), Recorder(), lambda: None)
    )
    flags = [flag for truth in t.boxed.truth for flag in truth.ignored]
    assert 0 < sum(flags) < len(flags)
    batch = t.boxed.batch(np.arange(16))
    assert int((batch.ignored & (batch.concepts >= 0)).sum()) == sum(flags)


def whole_detector(artifact: Path, kind: str, folder: Path) -> tuple[dict[str, Any], Weights]:
    """The base of a run file that is this artifact, or the file of its weights by an address; and its tensors."""
    content = (artifact / "weights.safetensors").read_bytes()
    manifest = (artifact / "manifest.json").read_bytes()
    assert json.loads(manifest)["detection_score_threshold"] == 0.3
    if kind == "model":
        digest = hashlib.sha256(manifest).hexdigest()
        base = {"id": "model", "digest": f"sha256:{digest}", "path": str(artifact)}
    else:
        base = kept(content, folder)
    return base, load(content)


CONCEPT_OUTPUT = {"head.head.concept_output.weight", "head.head.concept_output.bias"}
BOX_OUTPUT = {"head.head.box_output.weight", "head.head.box_output.bias"}


@pytest.mark.parametrize("kind", ["model", "http"])
@pytest.mark.parametrize(
    ("changes", "new"),
    [
        ({}, CONCEPT_OUTPUT),
        ({"concepts": ["square"]}, CONCEPT_OUTPUT),
        ({"use_perclass_regression": True}, CONCEPT_OUTPUT | BOX_OUTPUT),
    ],
)
def test_a_detector_is_the_base_of_another(
    published: tuple[Path, dict[str, Any], Recorder],
    prepared: Prepared,
    tmp_path: Path,
    kind: str,
    changes: dict[str, Any],
    new: set[str],
) -> None:
    base, weights = whole_detector(published[0], kind, tmp_path)
    t = prepared(base=base, **changes)
    model = t.model.state_dict()
    assert {name for name in model if not same(model[name], weights[name])} == new
    counts = {"loaded": len(model) - len(new), "new": len(new)}
    assert t.model.base_counts() == {"base": counts}
    recorder = Recorder()
    resume(replace(t, reporter=recorder))
    assert_event(recorder.events[0])
    assert recorder.of("started")[0]["base"] == counts


def same(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    return ours.shape == theirs.shape and torch.equal(ours, theirs)


def test_a_detector_of_another_head_gives_its_backbone(
    published: tuple[Path, dict[str, Any], Recorder], prepared: Prepared, tmp_path: Path
) -> None:
    base, weights = whole_detector(published[0], "http", tmp_path)
    t = prepared(base=base, template="visual-detector/ssdlite-efficientnet-lite0")
    model = t.model.state_dict()
    backbone = {name for name in model if name.startswith("base.")}
    assert all(torch.equal(model[name], weights[name]) for name in backbone)
    counts = {"loaded": len(backbone), "new": len(model) - len(backbone)}
    assert t.model.base_counts() == {"base": counts}


def test_what_begins_as_its_base_is_counted_in_report_record_and_manifest(
    published: tuple[Path, dict[str, Any], Recorder],
) -> None:
    artifact, record, recorder = published
    weights = load((artifact / "weights.safetensors").read_bytes())
    backbone = sum(name.startswith("base.") for name in weights)
    counts = {"loaded": backbone, "new": len(weights) - backbone}
    assert recorder.of("started")[0]["base"] == counts and record["base"] == counts
    assert inspect(artifact.parent, INPUTS_HASH, []) == record


def test_part_of_a_detector_and_one_that_is_damaged_are_no_base(
    published: tuple[Path, dict[str, Any], Recorder], prepared: Prepared, tmp_path: Path
) -> None:
    weights = load((published[0] / "weights.safetensors").read_bytes())
    heads = {name: value for name, value in weights.items() if name.startswith("head.")}
    with pytest.raises(Failure, match="only 0 of the") as refused:
        prepared(base=kept(save(heads), tmp_path))
    assert refused.value.reason == "BaseIncompatible"
    weights["head.head.box_output.bias"][0] = float("inf")
    with pytest.raises(Failure, match=r"head\.head\.box_output\.bias .* not finite") as refused:
        prepared(base=kept(save(weights), tmp_path))
    assert refused.value.reason == "BaseIncompatible"
