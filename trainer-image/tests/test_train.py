"""The task `train`: from a run file to a published artifact, in this process."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CONCEPTS, Recorder, RunFile, Unwritten
from contract import assert_event, assert_record
from safetensors.torch import load_file
from stored import coloured, store, train_run

from deeptrain_trainer import engine
from deeptrain_trainer.checkpoint import Checkpoint
from deeptrain_trainer.classifier import build_classifier
from deeptrain_trainer.dataset.image import decode_rgb
from deeptrain_trainer.engine import Training, run_training
from deeptrain_trainer.export import exported_model
from deeptrain_trainer.failure import Failure, Stopped
from deeptrain_trainer.learner import Evaluation, Validation
from deeptrain_trainer.optimizer import optimizer_state
from deeptrain_trainer.preprocess import open_session
from deeptrain_trainer.run import train_run as typed
from deeptrain_trainer.train import train, worst_rows

Prepared = Callable[..., Training]


@pytest.fixture(scope="module")
def published(
    dataset: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], Recorder]:
    """Output folder, record and events of one training."""
    output = tmp_path_factory.mktemp("output")
    recorder = Recorder()
    changes = {"num_epochs": 5, "lrate": 0.005, "init_epochs": 3}
    run = typed(train_run(dataset, output, CONCEPTS, **changes))
    return output, train(run, recorder, lambda: None), recorder


def test_it_learns_what_is_there_to_be_learnt(
    published: tuple[Path, dict[str, Any], Recorder],
) -> None:
    _, record, _ = published
    assert record["metrics"]["split"] == "test" and record["metrics"]["items"] == 12
    assert record["metrics"]["values"]["top1"] >= 0.9
    assert_record({"task": "train", "uid": "u", "attempt": 1, **record})


def test_its_events_are_what_the_operator_accepts(
    published: tuple[Path, dict[str, Any], Recorder],
) -> None:
    _, record, recorder = published
    for event in recorder.events:
        assert_event(event)
    kinds = [event["type"] for event in recorder.events]
    assert kinds[:3] == ["phase", "started", "phase"]
    # ResNet-18 from random weights: 120 tensors, and the head's weight and bias.
    assert recorder.of("started")[0]["base"] == {"loaded": 0, "new": 122} == record["base"]
    assert [e["phase"] for e in recorder.of("phase")] == [
        "loading",
        "training",
        "exporting",
        "evaluating",
        "publishing",
    ]
    epochs = recorder.of("epoch")
    assert [e["epoch"] for e in epochs] == [1, 2, 3, 4, 5]
    assert all(e["validation"]["top1"] >= 0 for e in epochs)
    assert "imagesPerSecond" not in epochs[2] and epochs[3]["imagesPerSecond"] > 0
    assert epochs[4]["etaSeconds"] == 0
    assert len(recorder.of("evaluation")[0]["concepts"]) == 3


def test_what_is_served_is_what_was_measured(
    published: tuple[Path, dict[str, Any], Recorder], dataset: dict[str, str]
) -> None:
    output, record, _ = published
    artifact = output / "artifact"
    preprocess = open_session((artifact / "preprocess.onnx").read_bytes(), 1)
    model = exported_model((artifact / "model.onnx").read_bytes(), 1)
    from deeptrain_trainer.dataset.store import StoredDataset

    stored = StoredDataset.open(Path(dataset["path"]), dataset["splitDigest"])
    hits = 0
    for item in stored.items("test"):
        pixels = preprocess.run(None, {"image": decode_rgb(stored.read(item))})[0]
        hits += int(model(pixels)[0].argmax() == item.labels[0])
    assert hits / 12 == pytest.approx(record["metrics"]["values"]["top1"], abs=1e-6)
    assert json.loads((artifact / "concepts.json").read_text()) == CONCEPTS


def test_the_evaluation_is_published_as_tables_and_pictures(
    published: tuple[Path, dict[str, Any], Recorder],
) -> None:
    output, record, _ = published
    artifact = output / "artifact"
    manifest = json.loads((artifact / "manifest.json").read_text())
    names = {entry["path"] for entry in manifest["files"]}
    assert {name for name in names if name.startswith("evaluation/")} == {
        f"evaluation/{name}"
        for name in (
            "concepts.csv",
            "concepts.json",
            "concepts.png",
            "confusion.json",
            "confusion.png",
            "mistakes.json",
            "mistakes.png",
            "precision-recall.json",
            "precision-recall.png",
        )
    }
    mistakes = json.loads((artifact / "evaluation" / "mistakes.json").read_text())
    top1 = 1 - mistakes["mistakes"] / mistakes["items"]
    assert top1 == pytest.approx(record["metrics"]["values"]["top1"], abs=1e-6)
    confusion = json.loads((artifact / "evaluation" / "confusion.json").read_text())
    right = sum(items for truth, predicted, items in confusion["cells"] if truth == predicted)
    assert right == 12 - mistakes["mistakes"]


def test_weights_are_those_of_the_best_epoch(
    published: tuple[Path, dict[str, Any], Recorder], dataset: dict[str, str]
) -> None:
    output, record, _ = published
    run = typed(train_run(dataset, output, CONCEPTS))
    build_classifier(run).load_state_dict(load_file(output / "artifact" / "weights.safetensors"))
    metrics = json.loads((output / "artifact" / "metrics.json").read_text())
    top1 = [point["validation"]["top1"] for point in metrics["history"]]
    best = max(range(len(top1)), key=lambda i: (top1[i], i)) + 1
    assert record["bestEpoch"] == metrics["bestEpoch"] == best
    assert metrics["selectedBy"] == "top1"


def test_trained_again_it_repeats_its_record(
    published: tuple[Path, dict[str, Any], Recorder], dataset: dict[str, str]
) -> None:
    output, record, _ = published
    run = typed(train_run(dataset, output, CONCEPTS))
    # As if the one before had been killed when it had just published.
    (output / "checkpoints" / "step-0000000001").mkdir(parents=True)
    recorder = Recorder()
    assert train(run, recorder, lambda: None) == record
    assert recorder.events == []
    assert [path.name for path in output.iterdir()] == ["artifact"]


def test_without_held_out_items_the_last_epoch_is_exported(tmp_path: Path) -> None:
    dataset = store(tmp_path / "datasets", coloured({"train": 8}, CONCEPTS))
    run = typed(train_run(dataset, tmp_path / "output", CONCEPTS))
    record = train(run, Recorder(), lambda: None)
    assert record["metrics"] == {"split": "validation", "values": {}, "items": 0}
    assert record["bestEpoch"] == 2
    assert_record({"task": "train", "uid": "u", "attempt": 1, **record})


def test_stopped_after_the_last_step_it_names_the_checkpoint_and_goes_on_from_there(
    tmp_path: Path, dataset: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = typed(train_run(dataset, tmp_path, CONCEPTS, num_epochs=1, init_epochs=1))

    def stop(*_: object) -> None:
        raise Stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped) as stopped:
        patch.setattr("deeptrain_trainer.classifier.model_graph", stop)
        train(run, Recorder(), lambda: None)
    assert stopped.value.facts == {"checkpoint": {"epoch": 1, "step": 6}}
    recorder = Recorder()
    assert train(run, recorder, lambda: None)["outcome"] == "published"
    assert recorder.of("started")[0]["step"] == 6 and not recorder.of("epoch")


def test_ended_early_it_tells_the_epochs_that_were_run(
    tmp_path: Path, dataset: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # So small a rate on a frozen base changes no answer.
    still = {"lrate": 1e-12, "base_gradient_multiplier": 0}
    changes = {"num_epochs": 9, "init_epochs": 9, "early_stop_epochs": 2}
    run = typed(train_run(dataset, tmp_path, CONCEPTS, **changes, **still))

    def stop(*_: object) -> None:
        raise Stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("deeptrain_trainer.classifier.model_graph", stop)
        train(run, Recorder(), lambda: None)
    recorder = Recorder()
    record = train(run, recorder, lambda: None)
    assert not recorder.of("epoch")  # the end was kept
    assert (record["epochs"], record["steps"], record["bestEpoch"]) == (3, 18, 3)
    assert_record({"task": "train", "uid": "u", "attempt": 1, **record})


def test_stopped_while_loading_it_names_the_checkpoint_of_an_earlier_attempt(
    tmp_path: Path, dataset: dict[str, str]
) -> None:
    run = typed(train_run(dataset, tmp_path, CONCEPTS))

    class StopAfter:
        def __init__(self, looks: int) -> None:
            self.left = looks

        def __call__(self) -> None:
            self.left -= 1
            if self.left < 0:
                raise Stopped

    with pytest.raises(Stopped) as loading:
        train(run, Recorder(), StopAfter(0))
    assert loading.value.facts == {}
    with pytest.raises(Stopped) as training:
        train(run, Recorder(), StopAfter(6))
    with pytest.raises(Stopped) as again:
        train(run, Recorder(), StopAfter(0))
    assert again.value.facts == training.value.facts
    assert again.value.facts["checkpoint"]["step"] > 0


def test_softmax_from_end_to_end(tmp_path: Path) -> None:
    """Items of none of the run's concepts are left out, in training and in every metric."""
    pictures = coloured({"train": 16, "validation": 6, "test": 6}, [*CONCEPTS, "violet"])
    dataset = store(tmp_path / "datasets", pictures)
    changes = {"logreg": False, "num_epochs": 4, "init_epochs": 3, "lrate": 0.01}
    recorder = Recorder()
    run = typed(train_run(dataset, tmp_path / "output", ["red", "blue", "green"], **changes))
    record = train(run, recorder, lambda: None)
    assert_record({"task": "train", "uid": "u", "attempt": 1, **record})
    for event in recorder.events:
        assert_event(event)
    values = record["metrics"]["values"]
    assert record["metrics"]["items"] == 18
    assert set(values) == {"top1", "macro_f1", "macro_ap", "macro_roc_auc", "log_loss"}
    assert values["top1"] >= 0.9
    artifact = tmp_path / "output" / "artifact"
    assert json.loads((artifact / "concepts.json").read_text()) == ["red", "blue", "green"]
    confusion = json.loads((artifact / "evaluation" / "confusion.json").read_text())
    assert sum(items for truth, predicted, items in confusion["cells"]) == 18
    model = exported_model((artifact / "model.onnx").read_bytes(), 1)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(model(pixels).sum(1), 1, atol=1e-5)


def test_a_rate_that_is_far_too_high_diverges(prepared: Prepared) -> None:
    t = prepared(lrate=1e30, num_epochs=20, init_epochs=20)
    with pytest.raises(Failure) as diverged:
        run_training(t)
    assert diverged.value.reason == "Diverged" and diverged.value.exit_code == 43
    assert "1e+30" in diverged.value.message and "lrate to 5e+29" in diverged.value.message


def test_three_steps_running_that_are_not_finite_diverge(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([1.0, None, None, 1.0, None, None, None])

    def step(t: Training, *_: object) -> float | None:
        t.state.step += 1
        return next(losses)

    monkeypatch.setattr(engine, "train_step", step)
    t = prepared(num_epochs=5)
    with pytest.raises(Failure, match="at step 7: loss or gradient was not finite at 3 steps"):
        run_training(t)


def poisoned(real: Callable[..., engine.Batch], *steps: int) -> Callable[..., engine.Batch]:
    """The batches, those of the steps with a NaN in an image."""

    def load(step: int) -> engine.Batch:
        images, targets = real(step)
        if step in steps:
            images[0, 0, 0, 0] = np.nan
        return images, targets

    return load


def test_a_step_that_is_not_finite_changes_nothing_of_the_model(prepared: Prepared) -> None:
    t = prepared()
    t.model.train()
    assert engine.train_step(t, t.learner.load_batch(0)) is not None
    before = {name: value.clone() for name, value in t.model.state_dict().items()}
    momentum = {
        name: value.clone() for name, value in optimizer_state(t.model, t.optimizer).items()
    }
    assert engine.train_step(t, poisoned(t.learner.load_batch, 1)(1)) is None
    after = t.model.state_dict()
    assert [name for name, value in before.items() if not torch.equal(value, after[name])] == []
    for name, value in optimizer_state(t.model, t.optimizer).items():
        assert torch.equal(momentum[name], value)


def test_nothing_is_loaded_between_the_last_step_of_an_epoch_and_its_evaluation(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    t = prepared(num_epochs=1)
    t.state.step = t.schedule.steps_per_epoch
    loaded: list[int] = []
    monkeypatch.setattr(t.learner, "load_batch", loaded.append)
    engine.run_training(t)
    assert loaded == [] and t.state.epoch == 1 and "validation" in t.state.history[0]


def test_an_epoch_without_a_finite_step_has_no_loss(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    t = prepared(num_epochs=2, num_items_per_epoch=16)
    assert t.schedule.steps_per_epoch == 2
    monkeypatch.setattr(t.learner, "load_batch", poisoned(t.learner.load_batch, 0, 1))
    run_training(t)
    assert "loss" not in t.state.history[0] and "validation" in t.state.history[0]
    assert t.state.history[1]["loss"] > 0


def test_statistics_that_overflow_are_not_kept(prepared: Prepared) -> None:
    t = prepared()
    t.model.train()
    with torch.no_grad():
        t.model.base.net.conv1.weight.mul_(1e22)  # finite, but the square of its output is not
    assert engine.train_step(t, t.learner.load_batch(0)) is None
    assert all(value.isfinite().all() for value in t.model.state_dict().values())


def test_no_checkpoint_holds_what_is_not_finite(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(engine, "SHORTEST_SAVE_SECONDS", 0.0)
    t = prepared(num_epochs=2)
    monkeypatch.setattr(t.learner, "load_batch", poisoned(t.learner.load_batch, 0, 2, 3, 5))
    assert isinstance(t.checkpoints, Unwritten)
    saved: list[int] = []
    save = t.checkpoints.save

    def look(checkpoint: Checkpoint) -> None:
        for tensors in (checkpoint.model, checkpoint.optimizer, checkpoint.best):
            assert all(value.isfinite().all() for value in tensors.values())
        saved.append(checkpoint.step)
        save(checkpoint)

    monkeypatch.setattr(t.checkpoints, "save", look)
    run_training(t)
    assert saved == [1, 2, 3, 4, 5, 6, 6, 7, 8, 9, 10, 11, 12, 12]
    assert t.state.history[-1]["validation"]["top1"] > 0


def test_validation_loss_over_ten_times_the_first_diverges_if_training_loss_rose(
    prepared: Prepared,
) -> None:
    t = prepared()
    t.state.reference_loss, t.state.reference_training_loss = 1e-6, 1e-6
    with pytest.raises(Failure, match=r"the validation loss .* is over 10 times the first"):
        run_training(t)
    lagging = prepared()
    lagging.state.reference_loss, lagging.state.reference_training_loss = 1e-6, 1e6
    run_training(lagging)


def test_a_loss_that_was_next_to_nothing_may_grow(prepared: Prepared) -> None:
    t = prepared()
    t.state.reference_loss, t.state.reference_training_loss = 1e-6, 1e-6
    engine._judge_validation(t, 0.9, 0.9)
    with pytest.raises(Failure, match=r"1\.1 is over 10 times the first after warm-up, 0\.1,"):
        engine._judge_validation(t, 1.1, 0.9)


def test_scores_that_are_not_finite_diverge(prepared: Prepared) -> None:
    t = prepared()
    t.state.step, t.learner.schedule = 5, replace(t.schedule, steps_per_epoch=5)
    with torch.no_grad():
        t.learner.model.head.bias[0] = float("nan")
    with pytest.raises(Failure, match="scores of the validation split were not finite") as diverged:
        run_training(t)
    assert diverged.value.exit_code == 43


def test_training_writes_a_checkpoint_within_an_epoch(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(engine, "REPORT_SECONDS", 0.0)
    t = prepared(num_epochs=1, init_epochs=1)
    run_training(t)
    assert isinstance(t.reporter, Recorder)
    assert [event["step"] for event in t.reporter.of("checkpoint")] == [1, 2, 3, 4, 5, 6, 6]
    assert [event["step"] for event in t.reporter.of("step")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("save_seconds", "want"), [(0.0, [1, 2, 3, 4, 5, 6]), (5.0, [1, 4, 6]), (50.0, [1, 9, 10])]
)
def test_checkpoints_take_a_twentieth_of_the_time_but_come_every_five_minutes(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch, save_seconds: float, want: list[int]
) -> None:
    """Of epochs of forty seconds."""
    now, late = time.monotonic, 0.0
    t = prepared(num_epochs=want[-1])
    save, validate = t.checkpoints.save, t.learner.validate

    def slow_save(checkpoint: Checkpoint) -> None:
        nonlocal late
        late += save_seconds
        save(checkpoint)

    def slow_validation() -> Validation:
        nonlocal late
        late += 40
        return validate()

    monkeypatch.setattr(t.checkpoints, "save", slow_save)
    monkeypatch.setattr(t.learner, "validate", slow_validation)
    monkeypatch.setattr("time.monotonic", lambda: now() + late)
    run_training(t)
    assert isinstance(t.reporter, Recorder)
    assert [event["epoch"] for event in t.reporter.of("checkpoint")] == want


def test_a_report_has_the_fifty_worst_concepts_that_were_measured() -> None:
    """The endpoint refuses more."""
    rows: list[dict[str, Any]] = [
        {"concept": f"c{i}", "support": 1, "ap": (i * 37 % 60) / 60} for i in range(60)
    ]
    del rows[0]["ap"]  # the worst, if it had been measured
    told = worst_rows(Evaluation("test", 60, {}, rows))
    assert [row["ap"] for row in told] == [i / 60 for i in range(1, 51)]


def test_gpus_need_a_gpu(run_file: RunFile) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(Failure, match="PyTorch sees no GPU"):
        train(typed(run_file(gpus=1)), Recorder(), lambda: None)


def test_libraries_are_told_before_they_are_loaded_and_a_user_may_say_otherwise() -> None:
    told = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "THP_MEM_ALLOC_ENABLE": "1"}
    code = (
        "import sys, os, deeptrain_trainer as _; "
        f"print('torch' in sys.modules, *(os.environ[k] for k in {list(told)}))"
    )
    clean = {name: value for name, value in os.environ.items() if name not in told}

    def said(**environment: str) -> str:
        command = [sys.executable, "-c", code]
        return subprocess.check_output(command, env=clean | environment, text=True).strip()

    assert said() == f"False {' '.join(told.values())}"
    assert said(THP_MEM_ALLOC_ENABLE="0") == "False PASSIVE 0 0"
