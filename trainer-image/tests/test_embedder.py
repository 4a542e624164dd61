"""The embedder: what teaches and what is measured, from end to end, and as the base of a classifier."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from conftest import CONCEPTS, Recorder, Unwritten
from contract import assert_event, assert_record
from safetensors.torch import load_file
from stored import coloured, store, train_run
from torch.nn import functional as F

from deeptrain_trainer import data as data_module
from deeptrain_trainer.baseweights import load_base_into
from deeptrain_trainer.dataset.image import decode_rgb
from deeptrain_trainer.dataset.store import StoredDataset
from deeptrain_trainer.embedder import (
    EmbedderLearner,
    centroid_loss,
    exported_embedder,
    parity,
    worse_than_base,
)
from deeptrain_trainer.engine import Training, restore_state, run_training, train_step
from deeptrain_trainer.failure import Failure, Stopped
from deeptrain_trainer.models.efficientnet_lite import EfficientNetLite0
from deeptrain_trainer.preprocess import open_session
from deeptrain_trainer.run import Base, TrainRun
from deeptrain_trainer.run import train_run as typed
from deeptrain_trainer.schedule import Schedule
from deeptrain_trainer.train import prepare, train

LITE0 = {
    "id": "efficientnet-lite0",
    "digest": "sha256:af62fb93f7bca7b284be3d80df1c51c17ef79365e0c5c25c9d38ef9797986e71",
}
MANY = [f"hue {number:02}" for number in range(20)]


def embedder_run(
    dataset: dict[str, str], output: Path, concepts: list[str], **changes: Any
) -> dict[str, Any]:
    """A run file. ResNet-18 instead of what the catalogue has: small pictures make quick tests."""
    run = train_run(
        dataset,
        output,
        concepts,
        **{"template": "visual-embedder/arcface-resnet18", "lrate": 1e-3, **changes},
    )
    del run["hyperparameters"]["logreg"]  # an embedder has none
    return run


def prepared(run: TrainRun) -> Training:
    """A training before its first step, its checkpoints in memory."""
    training = prepare(run, Recorder(), lambda: None)
    training.checkpoints = Unwritten(run.output, run.inputs_hash)
    return training


class StopAt:
    """Raises Stopped at one look, counted from 1."""

    def __init__(self, look: int) -> None:
        self.left = look

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Stopped


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Twenty concepts, of which four are held out."""
    pictures = coloured({"train": 4, "validation": 1, "test": 2}, MANY)
    return store(tmp_path_factory.mktemp("many"), pictures)


@pytest.fixture(scope="module")
def published(
    many: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], Recorder]:
    """Output folder, record and events of one training of the smallest template on its base."""
    output = tmp_path_factory.mktemp("output")
    recorder = Recorder()
    changes = {
        "template": "visual-embedder/arcface-efficientnet-lite0",
        "base": LITE0,
        "image_size": 64,
        "batch_size": 16,
        "base_gradient_multiplier": 0.1,
    }
    record = train(typed(embedder_run(many, output, MANY, **changes)), recorder, lambda: None)
    return output, record, recorder


def test_its_record_and_events_are_what_the_operator_accepts(
    published: tuple[Path, dict[str, Any], Recorder],
) -> None:
    _, record, recorder = published
    assert_record({"task": "train", "uid": "u", "attempt": 1, **record})
    for event in recorder.events:
        assert_event(event)
    # Four held-out concepts with two queries each, among sixteen pictures.
    assert record["metrics"]["split"] == "test" and record["metrics"]["items"] == 8
    values = record["metrics"]["values"]
    assert set(values) == {
        "recall_at_1",
        "recall_at_5",
        "recall_at_10",
        "map_at_r",
        "silhouette",
        "baseline_recall_at_1",
    }
    assert values["recall_at_1"] > 0.5  # by chance it is a quarter
    # The projection and the centres are new.
    assert record["base"] == {"loaded": 294, "new": 2}
    # Five steps for the 80 pictures of the train split, although only 64 of them teach.
    assert record["steps"] == 10
    assert "recall_at_1" in recorder.of("epoch")[0]["validation"]
    rows = recorder.of("evaluation")[0]["concepts"]
    assert len(rows) == 4 and all(row["support"] == 2 for row in rows)
    assert [row["recall"] for row in rows] == sorted(row["recall"] for row in rows)


def test_what_is_served_is_what_was_measured(
    published: tuple[Path, dict[str, Any], Recorder], many: dict[str, str]
) -> None:
    output, record, _ = published
    artifact = output / "artifact"
    preprocess = open_session((artifact / "preprocess.onnx").read_bytes(), 1)
    embed = exported_embedder((artifact / "model.onnx").read_bytes(), 1)
    stored = StoredDataset.open(Path(many["path"]), many["splitDigest"])
    held_out = json.loads((artifact / "evaluation" / "retrieval.json").read_text())["heldOut"]
    vectors, concepts = {}, {}
    for split in ("train", "test"):
        items = [i for i in stored.items(split) if stored.concepts[i.labels[0]] in held_out]
        pixels = [preprocess.run(None, {"image": decode_rgb(stored.read(i))})[0] for i in items]
        vectors[split] = embed(np.concatenate(pixels))
        concepts[split] = np.array([i.labels[0] for i in items])
    nearest = (vectors["test"] @ vectors["train"].T).argmax(1)
    recall = (concepts["train"][nearest] == concepts["test"]).mean()
    assert recall == pytest.approx(record["metrics"]["values"]["recall_at_1"], abs=1e-6)


def test_the_baseline_is_the_base_as_it_was(
    published: tuple[Path, dict[str, Any], Recorder], many: dict[str, str]
) -> None:
    output, record, _ = published
    base = EfficientNetLite0(64)
    load_base_into(base, Base(LITE0["id"], LITE0["digest"]))
    preprocess = open_session((output / "artifact" / "preprocess.onnx").read_bytes(), 1)
    stored = StoredDataset.open(Path(many["path"]), many["splitDigest"])
    held_out = json.loads((output / "artifact" / "evaluation" / "retrieval.json").read_text())[
        "heldOut"
    ]

    def features(split: Any) -> tuple[torch.Tensor, torch.Tensor]:
        items = [i for i in stored.items(split) if stored.concepts[i.labels[0]] in held_out]
        pixels = [preprocess.run(None, {"image": decode_rgb(stored.read(i))})[0] for i in items]
        images = torch.from_numpy(np.concatenate(pixels)).permute(0, 3, 1, 2).float()
        with torch.no_grad():
            return F.normalize(base.eval()(images), dim=1), torch.tensor(
                [i.labels[0] for i in items]
            )

    queries, asked = features("test")
    gallery, shown = features("train")
    recall = (shown[(queries @ gallery.T).argmax(1)] == asked).float().mean().item()
    baseline = record["metrics"]["values"]["baseline_recall_at_1"]
    assert recall == pytest.approx(baseline, abs=1e-6)


def test_its_graph_gives_vectors_of_length_1_for_any_batch(
    published: tuple[Path, dict[str, Any], Recorder],
) -> None:
    artifact = published[0] / "artifact"
    content = (artifact / "model.onnx").read_bytes()
    proto = onnx.load_from_string(content)
    onnx.checker.check_model(proto, full_check=True)
    assert [value.name for value in proto.graph.input] == ["pixels"]
    assert [value.name for value in proto.graph.output] == ["embedding"]
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    held_out = json.loads((artifact / "evaluation" / "retrieval.json").read_text())["heldOut"]
    assert len(held_out) == 4
    assert json.loads(metadata["concepts"]) == [c for c in MANY if c not in held_out]
    assert metadata["embeddings_size"] == "256" and metadata["similarity"] == "cosine"
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    together = exported_embedder(content, 1)(pixels)
    assert together.shape == (3, 256) and together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = exported_embedder(content, 1)(pixels[1:2])
    np.testing.assert_allclose(together[1:2], alone, atol=1e-5)
    assert json.loads((artifact / "parity.json").read_text())["largestDifference"] < 1e-4


def test_its_weights_are_base_projection_and_centres(
    published: tuple[Path, dict[str, Any], Recorder],
) -> None:
    weights = load_file(published[0] / "artifact" / "weights.safetensors")
    assert {name.partition(".")[0] for name in weights} == {"base", "projection", "arcface"}
    assert weights["projection.weight"].shape == (256, 1280)
    assert weights["arcface.centres"].shape == (16, 256)
    metrics = json.loads((published[0] / "artifact" / "metrics.json").read_text())
    assert metrics["selectedBy"] == "recall_at_1"
    values = metrics["values"]
    neighbours = json.loads(
        (published[0] / "artifact" / "evaluation" / "neighbours.json").read_text()
    )
    assert neighbours["queries"] == 8
    assert neighbours["wrongFirst"] == round(8 * (1 - values["recall_at_1"]))
    worst = neighbours["worst"][0]
    assert worst["concept"] in MANY and len(worst["neighbours"]) == 6
    assert worst["sha256"] not in [each["sha256"] for each in worst["neighbours"]]
    assert (published[0] / "artifact" / "evaluation" / "neighbours.png").exists()
    table = (published[0] / "artifact" / "evaluation" / "concepts.csv").read_text().splitlines()
    assert table[0] == "concept,support,recall" and len(table) == 1 + len(MANY)
    rows = json.loads((published[0] / "artifact" / "evaluation" / "concepts.json").read_text())
    assert [row for row in rows["concepts"] if row["support"]] == [
        row for row in metrics["concepts"] if row["support"]
    ]
    assert (published[0] / "artifact" / "evaluation" / "concepts.png").exists()
    assert bool(metrics["warnings"]) == (values["recall_at_1"] < values["baseline_recall_at_1"])


def test_it_is_the_base_of_a_classifier(
    published: tuple[Path, dict[str, Any], Recorder], dataset: dict[str, str], tmp_path: Path
) -> None:
    """With base_gradient_multiplier 0 the classifier's base is the embedder's, bit by bit."""
    output, record, _ = published
    base = {
        "id": "model",
        "digest": record["artifact"]["digest"],
        "path": str(output / "artifact"),
    }
    changes = {
        "template": "visual-classifier/efficientnet-lite0",
        "base": base,
        "base_gradient_multiplier": 0,
        "image_size": 64,
        "num_epochs": 1,
        "init_epochs": 1,
    }
    classifier = train(
        typed(train_run(dataset, tmp_path, CONCEPTS, **changes)),
        Recorder(),
        lambda: None,
    )
    own = load_file(tmp_path / "artifact" / "weights.safetensors")
    theirs = load_file(output / "artifact" / "weights.safetensors")
    names = [name for name in theirs if name.startswith("base.")]
    assert len(names) > 200 and all(torch.equal(own[name], theirs[name]) for name in names)
    assert own["head.weight"].shape == (3, 1280)
    assert classifier["base"] == {"loaded": len(names), "new": 2}


def test_few_concepts_all_teach_and_are_all_searched(
    dataset: dict[str, str], tmp_path: Path
) -> None:
    training = prepared(typed(embedder_run(dataset, tmp_path, CONCEPTS)))
    assert isinstance(training.learner, EmbedderLearner)
    protocol = training.learner.protocol
    assert protocol.held_out == []
    assert len(protocol.learnt) == len(protocol.gallery) == 48
    assert len(protocol.validation) == 12 and len(protocol.test) == 12
    run_training(training)
    assert training.state.history[-1]["validation"]["recall_at_1"] > 0.9


def test_held_out_concepts_never_teach(many: dict[str, str], tmp_path: Path) -> None:
    run = typed(embedder_run(many, tmp_path, MANY))
    learner = prepared(run).learner
    steps = 3 * learner.schedule.steps_per_epoch
    seen = np.concatenate([learner.load_batch(step)[1] for step in range(steps)])
    # The centres of sixteen concepts, each of them met.
    assert set(seen.tolist()) == set(range(16)) and learner.model.arcface.centres.shape[0] == 16  # type: ignore[union-attr]


def test_without_queries_there_is_no_measurement(tmp_path: Path) -> None:
    dataset = store(tmp_path / "datasets", coloured({"train": 8}, CONCEPTS))
    run = typed(embedder_run(dataset, tmp_path / "output", CONCEPTS))
    record = train(run, Recorder(), lambda: None)
    assert record["metrics"] == {"split": "validation", "values": {}, "items": 0}
    assert record["bestEpoch"] == 2
    assert_record({"task": "train", "uid": "u", "attempt": 1, **record})


def test_during_training_no_more_is_evaluated_than_is_worth_it(
    dataset: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeptrain_trainer.heldout.MOST_VALIDATION_ITEMS", 7)
    assert data_module.MOST_VALIDATION_ITEMS == 5_000
    learners = [
        prepared(typed(embedder_run(dataset, tmp_path, CONCEPTS))).learner for _ in range(2)
    ]
    for learner in learners:
        assert isinstance(learner, EmbedderLearner)
        assert len(learner.validation) == len(learner.gallery) == 7
    assert np.array_equal(learners[0].gallery, learners[1].gallery)
    assert learners[0].validate().values == learners[1].validate().values


def test_stopped_at_any_look_and_resumed_it_ends_with_the_same_bits(
    dataset: dict[str, str], tmp_path: Path
) -> None:
    changes = {"num_items_per_epoch": 24}
    run = typed(embedder_run(dataset, tmp_path, CONCEPTS, **changes))
    torch.set_num_threads(1)
    whole = prepared(run)
    run_training(whole)
    # A step of the first epoch, its evaluation, a step of the last.
    for look in (2, 4, 8):
        stopped = prepared(run)
        stopped.check_stop = stopped.learner.check_stop = StopAt(look)  # type: ignore[attr-defined]
        with pytest.raises(Stopped):
            run_training(stopped)
        assert isinstance(stopped.checkpoints, Unwritten) and stopped.checkpoints.newest
        resumed = prepared(run)
        restore_state(resumed, stopped.checkpoints.newest)
        run_training(resumed)
        assert resumed.state.history == whole.state.history
        for name, value in whole.model.state_dict().items():
            assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_embeddings_size_is_the_length_of_what_is_served(
    dataset: dict[str, str], tmp_path: Path
) -> None:
    run = typed(embedder_run(dataset, tmp_path, CONCEPTS, embeddings_size=24, num_epochs=1))
    train(run, Recorder(), lambda: None)
    graph = (tmp_path / "artifact" / "model.onnx").read_bytes()
    metadata = {entry.key: entry.value for entry in onnx.load_from_string(graph).metadata_props}
    assert metadata["embeddings_size"] == "24"
    size = run.hyperparameters.image_size
    assert exported_embedder(graph, 1)(np.zeros((2, size, size, 3), np.uint8)).shape == (2, 24)


@pytest.mark.parametrize(("margin", "scale"), [(0.0, 16.0), (0.5, 16.0), (0.2, 64.0)])
def test_angular_margin_and_scale_are_those_of_the_loss(
    dataset: dict[str, str], tmp_path: Path, margin: float, scale: float
) -> None:
    written = {"angular_margin": margin, "angular_scale": scale}
    training = prepared(typed(embedder_run(dataset, tmp_path, CONCEPTS, **written)))
    training.model.eval()
    images, concepts = training.learner.load_batch(0)
    centres = F.normalize(training.model.state_dict()["arcface.centres"], dim=1)
    with torch.no_grad():
        with training.device.autocast():
            embeddings = training.model(images)
        angles = (embeddings @ centres.T).clamp(-1, 1).acos()
        angles += margin * F.one_hot(concepts, len(centres))
        expected = F.cross_entropy(scale * angles.cos(), concepts).item()
        assert training.learner.loss((images, concepts)).item() == pytest.approx(expected, rel=1e-3)


def test_its_schedule_batch_and_rates_are_those_that_are_written(
    dataset: dict[str, str], tmp_path: Path
) -> None:
    written = {
        "base_gradient_multiplier": 0.25,
        "batch_size": 5,
        "image_size": 64,
        "lrate": 2e-4,
        "num_epochs": 7,
        "num_items_per_epoch": 12,
        "init_epochs": 3,
        "step_epochs": 2,
        "lrate_decay": 0.5,
        "test_freq": 5,
        "early_stop_epochs": 6,
    }
    training = prepared(typed(embedder_run(dataset, tmp_path, CONCEPTS, **written)))
    assert training.schedule == Schedule(7, 3, 2e-4, 3, 2, 5, 6, 0.5, "step")
    images, concepts = training.learner.load_batch(0)
    assert images.shape == (5, 3, 64, 64) and concepts.shape == (5,)
    training.model.train()
    training.state.step = 2  # after the warm-up
    assert train_step(training, (images, concepts)) is not None
    assert {group["lr"] for group in training.optimizer.param_groups} == {2e-4, 2e-4 * 0.25}


def test_weight_decay_and_the_schedule_are_those_that_are_written(
    dataset: dict[str, str], tmp_path: Path
) -> None:
    changes = {"weight_decay": 0.5, "lrate_schedule": "cosine"}
    training = prepared(typed(embedder_run(dataset, tmp_path, CONCEPTS, **changes)))
    groups = training.optimizer.param_groups
    assert {group["weight_decay"] for group in groups} == {0.5, 0}
    assert training.schedule.shape == "cosine"


def test_a_frozen_base_keeps_its_bits(dataset: dict[str, str], tmp_path: Path) -> None:
    training = prepared(
        typed(embedder_run(dataset, tmp_path, CONCEPTS, base_gradient_multiplier=0))
    )
    before = {name: v.clone() for name, v in training.model.state_dict().items()}
    run_training(training)
    after = training.model.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {"projection.weight", "arcface.centres"}


def test_the_loss_of_a_validation_falls_as_concepts_come_apart() -> None:
    def turned(angle: float) -> np.ndarray:
        return np.array([[1, 0], [np.cos(angle), np.sin(angle)]], np.float32)

    concepts = np.array([0, 1])
    losses = [centroid_loss(turned(a), concepts, turned(a), concepts, 16) for a in (0.1, 0.5, 1.5)]
    assert losses == sorted(losses, reverse=True) and losses[0] < np.log(2)
    assert centroid_loss(turned(1), np.array([2, 2]), turned(1), concepts, 16) == 0


def test_embeddings_that_are_not_finite_have_no_metrics(
    dataset: dict[str, str], tmp_path: Path
) -> None:
    training = prepared(typed(embedder_run(dataset, tmp_path, CONCEPTS)))
    with torch.no_grad():
        training.model.projection.weight[0, 0] = float("nan")  # type: ignore[union-attr, index]
    with pytest.raises(FloatingPointError):
        training.learner.validate()


def test_a_graph_that_points_elsewhere_is_not_published() -> None:
    images = np.zeros((3, 8, 8, 3), np.uint8)

    def ours(_: np.ndarray) -> np.ndarray:
        return np.eye(4, dtype=np.float32)[:3]

    assert parity(ours, lambda p: 3 * ours(p), images, 3)["images"] == 3
    for wrong in (0.1, np.nan):
        with pytest.raises(Failure, match="cosine distance") as refused:
            parity(ours, lambda p, w=wrong: ours(p) + np.float32(w), images, 3)
        assert refused.value.reason == "ParityFailed"


def test_worse_than_its_base_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert worse_than_base(0.6, 0.6) == []
    assert capsys.readouterr().out == ""
    [warning] = worse_than_base(0.5, 0.6)
    assert "0.5" in warning and "0.6" in warning and "spec.hyperparameters.lrate" in warning
    assert json.loads(capsys.readouterr().out)["reason"] == "WorseThanBase"


def test_flips_can_be_switched_off(dataset: dict[str, str], tmp_path: Path) -> None:
    run = typed(embedder_run(dataset, tmp_path, CONCEPTS))
    unflipped = replace(
        run, hyperparameters=replace(run.hyperparameters, average_horizontal_flips=False)
    )
    flipped, kept = (prepared(each).learner.load_batch(0)[0] for each in (run, unflipped))
    same = [torch.equal(one, other) for one, other in zip(flipped, kept, strict=True)]
    assert any(same) and not all(same)  # each with a probability of a half
