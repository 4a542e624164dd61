"""The context-based classifier: what is stored and shared, what is served, and which bases it takes."""

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from conftest import CONCEPTS, Recorder
from contract import assert_event, assert_record
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from stored import HYPERPARAMETERS, INPUTS_HASH, UID, train_run
from test_models import DIGESTS

from deeptrain_trainer import embeddings
from deeptrain_trainer.artifact import publish
from deeptrain_trainer.basegraph import BaseGraph, base_graph, base_image_size
from deeptrain_trainer.checkpoint import Checkpoints
from deeptrain_trainer.data import open_data
from deeptrain_trainer.embeddings import items_in_order, open_embeddings
from deeptrain_trainer.engine import train_step
from deeptrain_trainer.export import with_metadata
from deeptrain_trainer.failure import Failure, Stopped
from deeptrain_trainer.models.resnet import ResNet18
from deeptrain_trainer.pixels import Pixels
from deeptrain_trainer.preparation import prepare_inputs
from deeptrain_trainer.preprocess import Preprocess, open_session
from deeptrain_trainer.run import Base, TrainRun
from deeptrain_trainer.run import train_run as typed
from deeptrain_trainer.schedule import Schedule
from deeptrain_trainer.train import prepare, train

FILES = ["base.onnx", "embeddings.npy", "manifest.json", "reference.npy"]
MakeRun = Callable[..., dict[str, Any]]


def version(folder: Path, template: str, files: dict[str, bytes]) -> dict[str, str]:
    """A published version as a run file's `base`."""
    facts = {"template": template, "image_size": 32, "inputsHash": INPUTS_HASH}
    artifact = publish(folder, files, facts, 1)
    return {"id": "model", "digest": artifact["digest"], "path": str(folder / "artifact")}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A version of a classifier, with random weights: these tell colours apart too."""
    torch.manual_seed(0)
    weights = {f"base.{name}": t for name, t in ResNet18(32).state_dict().items()}
    files = {"weights.safetensors": save(weights)}
    return version(tmp_path_factory.mktemp("base"), "visual-classifier/resnet18", files)


@pytest.fixture(scope="module")
def built(classifier: dict[str, str]) -> BaseGraph:
    """The graph of that version."""
    return base_graph(Base("model", classifier["digest"], path=Path(classifier["path"])))


@pytest.fixture(scope="module")
def derived(
    dataset: dict[str, str],
    classifier: dict[str, str],
    built: BaseGraph,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The folder that holds the embeddings of the data and the base."""
    folder = tmp_path_factory.mktemp("derived")
    run = linear_run(dataset, classifier, folder, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embeddings, "base_graph", lambda *_: built)
        opened(typed(run))
    return folder


@pytest.fixture
def ready(built: BaseGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another export of the same base would give the same: it takes seconds."""
    monkeypatch.setattr(embeddings, "base_graph", lambda *_: built)


def linear_run(
    dataset: dict[str, str], base: dict[str, str], derived: Path, output: Path, **changes: Any
) -> dict[str, Any]:
    """A run file. `changes` are hyperparameters or other fields."""
    run = train_run(dataset, output, CONCEPTS, base=base)
    run |= {"template": "context-based-classifier/linear", "derived": str(derived)}
    run["hyperparameters"] = {"batch_size": 16, "logreg": True, "lrate": 0.1, "num_epochs": 20}
    for name, value in changes.items():
        target = run["hyperparameters"] if name in HYPERPARAMETERS else run
        target[name] = value
    return run


@pytest.fixture
def make(
    dataset: dict[str, str], classifier: dict[str, str], derived: Path, tmp_path: Path
) -> MakeRun:
    """Makes run files whose embeddings are stored already, in a copy that may be changed."""
    copy = shutil.copytree(derived, tmp_path / "derived")

    def run_file(output: str = "output", **changes: Any) -> dict[str, Any]:
        return linear_run(dataset, classifier, copy, tmp_path / output, **changes)

    return run_file


def opened(run: TrainRun) -> embeddings.Embeddings:
    """The run's embeddings, stored or new."""
    return open_embeddings(run, open_data(run).dataset, lambda: None)


def trained(run: dict[str, Any]) -> dict[str, Any]:
    """The record's fields."""
    Path(run["output"]).mkdir(exist_ok=True)
    recorder = Recorder()
    record = train(typed(run), recorder, lambda: None)
    for event in recorder.events:
        assert_event(event)
    assert_record({"task": "train", "uid": UID, "attempt": 1, **record})
    return record


def forbid_bases(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on no base may be built, so nothing can be embedded."""

    def refuse(*_: object) -> None:
        raise AssertionError("a base was built")

    monkeypatch.setattr(embeddings, "base_graph", refuse)


def stored_pictures(run: TrainRun) -> NDArray[np.uint8]:
    """The pixels of all items in order, of their stored bytes."""
    dataset = open_data(run).dataset
    items = items_in_order(dataset)
    pixels = Pixels(dataset, items, Preprocess(32), 1)
    return pixels.batch(range(len(items)))


@pytest.mark.usefixtures("ready")
def test_embeddings_that_were_prepared_on_cpu_are_what_the_training_uses(
    dataset: dict[str, str],
    classifier: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = linear_run(dataset, classifier, tmp_path / "derived", tmp_path / "output")
    told = {name: value for name, value in run.items() if name not in ("output", "gpus")}
    assert prepare_inputs(typed(told), lambda: None) == {"outcome": "prepared"}
    (folder,) = (tmp_path / "derived").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == FILES
    written = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    forbid_bases(monkeypatch)
    prepare_inputs(typed(told), lambda: None)
    trained(run)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == written


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


@pytest.mark.parametrize(
    ("name", "size"),
    [("efficientnet-lite0", 224), ("efficientnet-lite1", 240), ("efficientnet-lite2", 260)],
)
def test_a_bundled_base_takes_the_pictures_that_it_was_trained_for(name: str, size: int) -> None:
    base = Base(name, DIGESTS[name])
    assert base_image_size(base) == size
    made = base_graph(base)
    pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    found = open_session(made.graph, 1).run(["embedding"], {"pixels": pixels})[0]
    assert made.module is not None
    np.testing.assert_allclose(found, made.module(torch.from_numpy(pixels)).numpy(), atol=1e-4)


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


@pytest.mark.parametrize(
    "changes",
    [{"lrate": 0.2, "batch_size": 8}, {"concepts": ["red", "blue"]}, {"seed": 5}],
    ids=["hyperparameters", "concepts", "seed"],
)
def test_another_training_embeds_nothing(
    make: MakeRun, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_bases(monkeypatch)
    assert trained(make(num_epochs=1, **changes))["outcome"] == "published"


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["changed", "missing"])
def test_damaged_embeddings_are_made_anew(make: MakeRun, name: str, how: str) -> None:
    run = typed(make())
    folder = next(run.derived.iterdir())
    assert sorted(path.name for path in folder.iterdir()) == FILES
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    if how == "missing":
        (folder / name).unlink()
    else:
        content = bytearray(whole[name])
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)
    opened(run)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    assert list(run.derived.iterdir()) == [folder]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o664}
    assert folder.stat().st_mode & 0o777 == 0o775


@pytest.mark.usefixtures("ready")
def test_embeddings_of_other_data_are_not_taken(make: MakeRun) -> None:
    run = typed(make())
    manifest = next(run.derived.iterdir()) / "manifest.json"
    value = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(value | {"items": hashlib.sha256(b"").hexdigest()}))
    opened(run)
    assert json.loads(manifest.read_text()) == value


@pytest.mark.usefixtures("ready")
def test_who_makes_the_same_at_the_same_time_does_no_harm(make: MakeRun) -> None:
    run = typed(make())
    folder = next(run.derived.iterdir())
    expected = np.array(opened(run).vectors)
    shutil.rmtree(folder)
    found: list[NDArray[np.float32]] = []
    both = [threading.Thread(target=lambda: found.append(opened(run).vectors)) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(found) == 2
    for vectors in found:
        np.testing.assert_array_equal(vectors, expected)
    assert list(run.derived.iterdir()) == [folder]


def test_what_another_is_making_is_waited_for(
    make: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = typed(make())
    folder = next(run.derived.iterdir())
    expected = np.array(opened(run).vectors)
    made = folder.rename(run.derived / "made")
    # At work, although its name comes after any other's.
    other = run.derived / f".making-{folder.name}-zzz"
    other.mkdir()
    (other / "base.onnx").write_bytes(b"half")
    forbid_bases(monkeypatch)
    looks: list[None] = []

    def look() -> None:
        looks.append(None)
        if len(looks) == 3:
            made.rename(folder)

    found = open_embeddings(run, open_data(run).dataset, look)
    np.testing.assert_array_equal(found.vectors, expected)
    assert len(looks) == 3 and sorted(run.derived.iterdir()) == sorted([other, folder])


@pytest.mark.usefixtures("ready")
def test_heads_that_begin_while_another_exports_its_base_embed_nothing(
    make: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = typed(make())
    shutil.rmtree(next(run.derived.iterdir()))
    real, begun = embeddings.base_graph, threading.Event()
    made: list[None] = []

    def slow(base: Base) -> BaseGraph:
        made.append(None)
        begun.set()
        time.sleep(1.5)
        return real(base)

    monkeypatch.setattr(embeddings, "base_graph", slow)
    heads = [threading.Thread(target=opened, args=(run,)) for _ in range(4)]
    heads[0].start()
    assert begun.wait(30)
    for head in heads[1:]:
        head.start()
    for head in heads:
        head.join()
    assert len(made) == 1 and len(list(run.derived.iterdir())) == 1


@pytest.mark.usefixtures("ready")
def test_who_is_silent_for_long_is_not_waited_for(
    make: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "FRESH_SECONDS", 2.0)
    run = typed(make())
    folder = next(run.derived.iterdir())
    expected = np.array(opened(run).vectors)
    shutil.rmtree(folder)
    other = run.derived / f".making-{folder.name}-000"
    other.mkdir()
    looks: list[float] = []
    found = open_embeddings(run, open_data(run).dataset, lambda: looks.append(time.monotonic()))
    np.testing.assert_array_equal(found.vectors, expected)
    assert looks[-1] - looks[0] > 1


@pytest.mark.usefixtures("ready")
def test_a_stop_leaves_nothing_and_what_a_killed_one_left_is_swept(
    make: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = typed(make())
    shutil.rmtree(next(run.derived.iterdir()))
    left = run.derived / ".making-abc"
    left.mkdir()
    (left / "embeddings.npy").write_bytes(b"half")

    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        open_embeddings(run, open_data(run).dataset, stop)
    assert list(run.derived.iterdir()) == [left]
    monkeypatch.setattr(embeddings, "ABANDONED_SECONDS", -1.0)
    with pytest.raises(Stopped):
        open_embeddings(run, open_data(run).dataset, stop)
    assert list(run.derived.iterdir()) == []


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


def test_the_base_of_an_embedder_is_its_own_graph(make: MakeRun, tmp_path: Path) -> None:
    run = make(num_epochs=1)
    graph = next(Path(run["derived"]).glob("*/base.onnx")).read_bytes()
    base = version(tmp_path / "embedder", "visual-embedder/arcface-resnet18", {"model.onnx": graph})
    trained(run | {"base": base})
    own = Path(run["derived"], f"{base['digest'].removeprefix('sha256:')}-32")
    assert (own / "base.onnx").read_bytes() == graph

    Path(base["path"], "model.onnx").write_bytes(graph + b"!")
    shutil.rmtree(own)
    refused(
        run | {"base": base, "output": str(tmp_path / "other")}, "BaseUnavailable", "model.onnx"
    )


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


def refused(run: dict[str, Any], reason: str, words: str) -> None:
    """The run fails with the reason, and words of its message."""
    with pytest.raises(Failure, match=words) as failure:
        train(typed(run), Recorder(), lambda: None)
    assert failure.value.reason == reason


def test_bases_that_make_no_embedding_are_refused(make: MakeRun, tmp_path: Path) -> None:
    refused(make() | {"base": {"id": "none"}}, "BaseIncompatible", "needs a base")
    with pytest.raises(Failure, match="known architecture"):
        base_image_size(Base("http", "sha256:" + "0" * 64, "https://example.com/weights", tmp_path))
    detector = version(tmp_path / "detector", "visual-detector/retinanet-resnet50", {})
    refused(make() | {"base": detector}, "BaseIncompatible", "visual-detector/retinanet-resnet50")
    other = version(tmp_path / "other", "context-based-classifier/linear", {})
    refused(make() | {"base": other}, "BaseIncompatible", "context-based-classifier/linear")
    changed = detector | {"digest": "sha256:" + "0" * 64}
    refused(make() | {"base": changed}, "BaseUnavailable", "manifest")
    refused(make() | {"derived": ""}, "InputInvalid", "derived")
