"""Faster R-CNN from end to end on pictures of shapes, on a small base in place of ResNet-50."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Recorder, Unwritten
from contract import assert_event, assert_record
from test_resume import StopAt, assert_same

from deeptrain_trainer.detection.architectures import ARCHITECTURES
from deeptrain_trainer.detection.graph import exported_detector
from deeptrain_trainer.detection.learner import DetectorLearner
from deeptrain_trainer.engine import Training, restore_state, run_training, train_step
from deeptrain_trainer.failure import Failure, Stopped
from deeptrain_trainer.run import train_run as typed
from deeptrain_trainer.train import prepare, train

from .shapes import CONCEPTS, detector_run, stored_shapes
from .smalltwostage import SMALL, TEMPLATE

Prepared = Callable[..., Training]
RUN = {
    "template": TEMPLATE,
    "base": {"id": "none"},
    "base_gradient_multiplier": 1,
    "batch_size": 4,
    "lrate": 0.02,
    "use_perclass_regression": True,
}
SHORT = {"num_epochs": 2, "num_items_per_epoch": 8, "init_epochs": 1}


@pytest.fixture(scope="module", autouse=True)
def on_a_small_base() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setitem(ARCHITECTURES, TEMPLATE, SMALL)
    patch.setattr("deeptrain_trainer.train.bf16_on_cpu", lambda _template: False)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    split = {"train": 48, "validation": 4, "test": 12}
    return stored_shapes(tmp_path_factory.mktemp("datasets"), split)


@pytest.fixture
def prepared(shapes: dict[str, str], tmp_path: Path) -> Prepared:
    """A training before its first step."""

    def make(**changes: Any) -> Training:
        run = typed(detector_run(shapes, tmp_path / "output", **RUN | changes))
        training = prepare(run, Recorder(), lambda: None)
        training.checkpoints = Unwritten(run.output, run.inputs_hash)
        return training

    return make


@pytest.fixture(scope="module")
def published(
    shapes: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], Recorder]:
    """Artifact, record and events of one training."""
    output, recorder = tmp_path_factory.mktemp("output"), Recorder()
    changes = {"num_epochs": 6, "init_epochs": 5, "test_freq": 3}
    run = typed(detector_run(shapes, output, **RUN | changes))
    return output / "artifact", train(run, recorder, lambda: None), recorder


def test_it_learns_what_is_there_to_be_learnt(
    published: tuple[Path, dict[str, Any], Recorder],
) -> None:
    artifact, record, recorder = published
    assert_record({"task": "train", "uid": "u", "attempt": 1, **record})
    for event in recorder.events:
        assert_event(event)
    losses = [event["loss"] for event in recorder.of("epoch")]
    assert losses[-1] < losses[0] / 2
    values = record["metrics"]["values"]
    assert values["map50"] > 0.8 and values["recall"] > 0.7
    parity = json.loads((artifact / "parity.json").read_text())
    assert parity["boxes"] > 0 and parity["unmatched"] == 0
    assert parity["largestDifference"] < 1e-3


def test_the_published_graph_takes_any_batch_and_other_thresholds(
    published: tuple[Path, dict[str, Any], Recorder],
) -> None:
    """What it says of a picture does not depend on the others of its batch."""
    artifact, _, _ = published
    run = exported_detector((artifact / "model.onnx").read_bytes(), 1)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    pixels[0, 20:50, 10:40] = (250, 210, 40)
    pixels[2] = 114
    transforms = np.full((3, 4), 1 / 96, np.float32)
    together = run(pixels, transforms, 0.05)
    assert together.count[0] > 0
    for i in range(3):
        alone = run(pixels[i : i + 1], transforms[i : i + 1], 0.05)
        assert alone.count[0] == together.count[i]
        assert np.allclose(alone.boxes[0], together.boxes[i], atol=1e-4)
        assert np.allclose(alone.scores[0], together.scores[i], atol=1e-4)
    assert run(pixels, transforms, 0.9).count.sum() < together.count.sum()


def test_a_detector_is_the_base_of_another(
    published: tuple[Path, dict[str, Any], Recorder], prepared: Prepared
) -> None:
    artifact, record, _ = published
    base = {"id": "model", "digest": record["artifact"]["digest"], "path": str(artifact)}
    from safetensors.torch import load_file

    weights = load_file(artifact / "weights.safetensors")
    model = prepared(base=base).model.state_dict()
    new = {name for name in model if not torch.equal(model[name], weights[name])}
    # The bias of new layers is 0; that of the trained ones is not.
    outputs = ("concept_output", "box_output")
    assert new == {f"head.boxes.{o}.{p}" for o in outputs for p in ("weight", "bias")}


@pytest.mark.parametrize("sets", [1, 2])
def test_it_trains_with_one_set_of_regressors_or_one_for_each_concept(
    prepared: Prepared, sets: int
) -> None:
    t = prepared(use_perclass_regression=sets == 2)
    t.model.train()
    before = {name: p.detach().clone() for name, p in t.model.named_parameters()}
    for step in range(2):
        assert train_step(t, t.learner.load_batch(step)) is not None
    still = {n for n, p in t.model.named_parameters() if torch.equal(p, before[n])}
    assert still == set()
    assert before["head.boxes.box_output.weight"].shape == (4 * sets, 1024)
    assert before["head.boxes.concept_output.weight"].shape == (len(CONCEPTS) + 1, 1024)


def test_stopped_and_resumed_it_has_the_same_bits(prepared: Prepared) -> None:
    whole = prepared(**SHORT)
    run_training(whole)
    for look in (2, 5):
        stopped = prepared(**SHORT)
        stopped.check_stop = stopped.learner.check_stop = StopAt(look)  # type: ignore[attr-defined]
        with pytest.raises(Stopped):
            run_training(stopped)
        assert isinstance(stopped.checkpoints, Unwritten) and stopped.checkpoints.newest is not None
        resumed = prepared(**SHORT)
        torch.manual_seed(look)
        restore_state(resumed, stopped.checkpoints.newest)
        run_training(resumed)
        assert_same(whole, resumed)


def test_a_training_that_diverges_is_named(prepared: Prepared) -> None:
    """Corners that are no numbers must not reach RoIAlign, which reads what they point at."""
    t = prepared(lrate=1e25, num_epochs=6, init_epochs=6)
    with pytest.raises(Failure) as diverged:
        run_training(t)
    assert diverged.value.reason == "Diverged"


def test_weights_that_are_no_numbers_have_no_metrics(prepared: Prepared) -> None:
    for part in (
        "head.boxes.concept_output.bias",
        "head.boxes.box_output.bias",
        "head.proposals.deltas.bias",
    ):
        t = prepared()
        t.model.get_parameter(part).data.fill_(float("nan"))
        t.model.eval()
        with pytest.raises(FloatingPointError):
            t.learner.validate()


def test_flips_and_the_seed_change_what_is_learnt(prepared: Prepared) -> None:
    base, same, unflipped, other = (
        prepared(),
        prepared(),
        prepared(average_horizontal_flips=False),
        prepared(seed=5),
    )
    losses = [
        t.learner.loss(t.learner.load_batch(0)).item() for t in (base, same, unflipped, other)
    ]
    assert losses[0] == losses[1] and len(set(losses)) == 3


def test_which_proposals_teach_is_drawn_for_each_image_of_each_pass(prepared: Prepared) -> None:
    t = prepared()
    assert isinstance(t.learner, DetectorLearner)
    first, later = (t.learner.load_batch(step)[2] for step in (0, 12))
    assert len(set(first.tolist()) | set(later.tolist())) == 8
    images, truth, _ = t.learner.load_batch(0)
    predicted = t.model(images)
    totals = {
        t.learner.model.losses(predicted, truth, torch.full((4,), chance))[0][0].item()
        for chance in (0.25, 0.25, 0.75)
    }
    assert len(totals) == 2
