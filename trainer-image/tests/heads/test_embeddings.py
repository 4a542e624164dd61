"""Embeddings: what is stored and shared, and which bases can make them."""

import hashlib
import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Recorder
from numpy.typing import NDArray
from test_models import DIGESTS

from deeptrain_trainer import embeddings
from deeptrain_trainer.basegraph import BaseGraph, base_graph, base_image_size
from deeptrain_trainer.data import open_data
from deeptrain_trainer.embeddings import open_embeddings
from deeptrain_trainer.failure import Failure, Stopped
from deeptrain_trainer.preparation import prepare_inputs
from deeptrain_trainer.preprocess import open_session
from deeptrain_trainer.run import Base
from deeptrain_trainer.run import train_run as typed
from deeptrain_trainer.train import train

from .headrun import (
    FILES,
    MakeRun,
    forbid_bases,
    linear_run,
    opened,
    trained,
    version,
)


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
