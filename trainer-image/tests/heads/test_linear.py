"""The context-based classifier: how its head learns, and what is served."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from conftest import CONCEPTS, Recorder
from safetensors.torch import load_file
from stored import INPUTS_HASH

from deeptrain_trainer.checkpoint import Checkpoints
from deeptrain_trainer.engine import train_step
from deeptrain_trainer.export import with_metadata
from deeptrain_trainer.failure import Stopped
from deeptrain_trainer.preprocess import open_session
from deeptrain_trainer.run import train_run as typed
from deeptrain_trainer.schedule import Schedule
from deeptrain_trainer.train import prepare, train

from .headrun import MakeRun, opened, stored_pictures, trained, version


def test_what_is_published_is_what_was_measured(make: MakeRun) -> None:
    run = make()
    record = trained(run)
    assert record["metrics"]["split"] == "test" and record["metrics"]["items"] == 12
    assert record["metrics"]["values"]["top1"] >= 0.9
    assert "base" not in record  # it is used whole, and no part of what is trained

    artifact = Path(run["output"], "artifact")
    manifest = json.loads((artifact / "manifest.json").read_text())
    assert manifest["image_size"] == 32
    parity = json.loads((artifact / "parity.json").read_text())
    assert parity["images"] == 64 and parity["largestDifference"] <= parity["tolerance"]
    assert load_file(artifact / "weights.safetensors").keys() == {"head.weight", "head.bias"}

    images = stored_pictures(typed(run))
    vectors = opened(typed(run)).vectors
    whole = open_session((artifact / "model.onnx").read_bytes(), 1)
    head = open_session((artifact / "head.onnx").read_bytes(), 1)
    scores = whole.run(["scores"], {"pixels": images})[0]
    np.testing.assert_allclose(head.run(["scores"], {"embedding": vectors})[0], scores, atol=1e-5)
    for name in ("model.onnx", "head.onnx"):
        graph = onnx.load(artifact / name)
        onnx.checker.check_model(graph, full_check=True)
        metadata = {entry.key: entry.value for entry in graph.metadata_props}
        assert json.loads(metadata["concepts"]) == CONCEPTS
    assert metadata["base"] == run["base"]["digest"]


def test_softmax_gives_shares(make: MakeRun) -> None:
    run = make(logreg=False)
    record = trained(run)
    assert record["metrics"]["values"]["top1"] >= 0.9 and "log_loss" in record["metrics"]["values"]
    head = open_session(Path(run["output"], "artifact", "head.onnx").read_bytes(), 1)
    scores = head.run(["scores"], {"embedding": opened(typed(run)).vectors})[0]
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-5)


def test_its_schedule_batch_and_rate_are_those_that_are_written(make: MakeRun) -> None:
    t = prepare(typed(make(batch_size=5, lrate=0.2, num_epochs=30)), Recorder(), lambda: None)
    assert replace(t.schedule, init_epochs=1, step_epochs=1) == Schedule(
        30, 10, 0.2, 1, 1, 3, shape="cosine"
    )
    assert t.learner.load_batch(0)[0].shape == (5, 512)
    t.state.step = t.schedule.warmup_steps
    train_step(t, t.learner.load_batch(0))
    (rate,) = {group["lr"] for group in t.optimizer.param_groups}
    assert rate == t.schedule.lrate_at(t.schedule.warmup_steps) > 0.19


def test_label_smoothing_keeps_a_head_from_being_sure(make: MakeRun) -> None:
    def surest(output: str, **changes: Any) -> float:
        run = make(output, logreg=False, lrate=0.03, num_epochs=40, **changes)
        trained(run)
        head = open_session(Path(run["output"], "artifact", "head.onnx").read_bytes(), 1)
        scores = head.run(["scores"], {"embedding": opened(typed(run)).vectors})[0]
        return float(scores.max())

    # 0.7 + 0.3 / 3 is what it learns.
    assert surest("smooth", label_smoothing=0.3) < 0.9
    assert surest("plain") > 0.99


def test_weight_decay_keeps_the_head_small(make: MakeRun) -> None:
    def head(output: str, **changes: float) -> dict[str, torch.Tensor]:
        run = make(output, num_epochs=3, **changes)
        trained(run)
        return load_file(Path(run["output"], "artifact", "weights.safetensors"))

    unwritten, own = head("unwritten"), head("own", weight_decay=1e-4)
    assert all(torch.equal(value, own[name]) for name, value in unwritten.items())
    strong = head("strong", weight_decay=1)
    assert strong["head.weight"].norm() < 0.7 * unwritten["head.weight"].norm()


def test_the_head_is_not_moved_by_the_length_of_an_embedding(make: MakeRun) -> None:
    run = make(num_epochs=1)
    trained(run)
    head = open_session(Path(run["output"], "artifact", "head.onnx").read_bytes(), 1)
    vectors = np.asarray(opened(typed(run)).vectors)
    short, long = (head.run(["scores"], {"embedding": f * vectors})[0] for f in (0.1, 100))
    np.testing.assert_allclose(short, long, atol=1e-5)
    nothing = head.run(["scores"], {"embedding": np.zeros_like(vectors[:1])})[0]
    assert np.isfinite(nothing).all()


def test_a_stopped_run_ends_with_the_same_weights(make: MakeRun) -> None:
    trained(make())
    again = make(output="again")
    Path(again["output"]).mkdir()
    asked = 0

    def stop_within() -> None:
        nonlocal asked
        asked += 1
        if asked == 25:
            raise Stopped

    with pytest.raises(Stopped) as stopped:
        train(typed(again), Recorder(), stop_within)
    position = Checkpoints(Path(again["output"], "checkpoints"), INPUTS_HASH).position()
    assert position is not None and position == stopped.value.facts["checkpoint"]
    assert 0 < position["step"] < 60
    trained(again)
    one, two = (
        Path(output, "artifact", "weights.safetensors").read_bytes()
        for output in (make()["output"], again["output"])
    )
    assert one == two


def test_a_batch_that_is_larger_than_the_data_is_reduced_and_validations_are_few(
    make: MakeRun,
) -> None:
    run = make(batch_size=1000, num_epochs=25)
    assert trained(run)["steps"] == 25
    metrics = json.loads(Path(run["output"], "artifact", "metrics.json").read_text())
    validated = [point["epoch"] for point in metrics["history"] if "validation" in point]
    assert validated == [3, 6, 9, 12, 15, 18, 21, 24, 25]
    rates = [point["lrate"] for point in metrics["history"]]
    assert rates[1:] == sorted(rates[1:], reverse=True) and rates[-1] < 0.01 * rates[1]


def test_metadata_of_an_embedder_is_not_that_of_the_model(make: MakeRun, tmp_path: Path) -> None:
    run = make(num_epochs=1)
    proto = onnx.load(next(Path(run["derived"]).glob("*/base.onnx")))
    graph = with_metadata(proto, concepts=json.dumps(["another"]), kind="embedder")
    base = version(tmp_path / "embedder", "visual-embedder/arcface-resnet18", {"model.onnx": graph})
    trained(run | {"base": base})
    model = onnx.load(Path(run["output"], "artifact", "model.onnx"))
    onnx.checker.check_model(model, full_check=True)
    metadata = [(entry.key, json.loads(entry.value)) for entry in model.metadata_props]
    assert metadata == [("concepts", CONCEPTS)]
