"""The task `prepare`: what it leaves for a training, and what it refuses instead of one."""

import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CONCEPTS, Process, RunFile
from contract import assert_record
from dataset.test_fetch import Handler, Server, serving
from safetensors.torch import save
from stored import coloured, store_boxed, train_run

from deeptrain_trainer import basefetch, pixels
from deeptrain_trainer.basefetch import fetched_weights
from deeptrain_trainer.models.resnet import ResNet18

PREPARED = "detection_score_threshold", "output", "gpus", "nodes", "rendezvous", "progressUrl"


def preparing(run: dict[str, Any]) -> dict[str, Any]:
    """The run file of what precedes a training."""
    return {name: value for name, value in run.items() if name not in PREPARED} | {
        "task": "prepare"
    }


@pytest.fixture(scope="module")
def weights() -> bytes:
    """A file of weights that a ResNet-18 can begin with."""
    torch.manual_seed(0)
    return save(ResNet18(32).state_dict())


@pytest.fixture
def by_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The servers of the tests are on this machine."""

    def fetch(*given: Any) -> Path:
        return fetched_weights(*given, allow_loopback=True)

    monkeypatch.setattr(basefetch, "fetched_weights", fetch)


@pytest.fixture
def server(weights: bytes, by_loopback: None) -> Iterator[Server]:
    """Serves the weights."""
    with serving(lambda handler, _: Handler.reply(handler, 200, weights)) as served:
        yield served


def http_base(url: str, content: bytes, folder: Path) -> dict[str, Any]:
    return {
        "id": "http",
        "digest": "sha256:" + hashlib.sha256(content).hexdigest(),
        "url": url,
        "path": str(folder),
        "denyPrivateSources": False,
    }


def test_a_base_is_fetched_once_and_the_training_needs_no_network(
    process: Process, run_file: RunFile, tmp_path: Path, weights: bytes, server: Server
) -> None:
    base = http_base(server.url, weights, tmp_path / "bases")
    run = run_file(base=base, num_epochs=1, init_epochs=1)
    for _ in range(2):
        code, record = process(preparing(run))
        assert (code, record["outcome"], record["task"]) == (0, "prepared", "train")
        assert_record(record)
    assert len(server.requests) == 1
    assert [path.name for path in (tmp_path / "bases").iterdir()] == [
        f"{base['digest'][7:]}.safetensors"
    ]
    assert not (tmp_path / "output").exists()
    offline = run | {"base": base | {"url": "http://127.0.0.1:1/weights"}}
    code, record = process(offline)
    assert (code, record["outcome"]) == (0, "published")


@pytest.mark.parametrize(
    ("served", "named", "want"),
    [
        (b"PK\x03\x04 a pickle", b"PK\x03\x04 a pickle", "BaseIncompatible"),
        (b"another file", b"the file", "BaseUnavailable"),
    ],
)
def test_corrupt_weights_are_refused(
    process: Process,
    run_file: RunFile,
    tmp_path: Path,
    by_loopback: None,
    served: bytes,
    named: bytes,
    want: str,
) -> None:
    with serving(lambda handler, _: Handler.reply(handler, 200, served)) as server:
        base = http_base(server.url, named, tmp_path / "bases")
        code, record = process(preparing(run_file(base=base)))
    assert (code, record["outcome"], record["reason"]) == (42, "failed", want)
    assert record["message"].startswith("spec.base")
    assert_record(record)


def test_what_was_killed_halfway_is_done_again(
    process: Process, run_file: RunFile, tmp_path: Path, weights: bytes, server: Server
) -> None:
    folder = tmp_path / "bases"
    run = preparing(run_file(base=http_base(server.url, weights, folder)))
    folder.mkdir()
    half = folder / f".{run['base']['digest'][7:]}-1-0123abcd"
    half.write_bytes(weights[:1000])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Handler, "reply", stopping(Handler.reply))
        code, record = process(run)
    assert (code, record["outcome"]) == (143, "stopped")
    assert_record(record)
    assert list(folder.iterdir()) == [half]
    assert process(run)[0] == 0
    whole = folder / f"{run['base']['digest'][7:]}.safetensors"
    assert whole.read_bytes() == weights


def stopping(reply: Callable[..., None]) -> Callable[..., None]:
    """The pod is told to stop while it is answered."""

    def replied(handler: Handler, status: int, content: bytes) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        reply(handler, status, content)

    return replied


@pytest.mark.parametrize(
    ("changes", "concepts", "want"),
    [
        ({"batch_size": 1000}, CONCEPTS, "BatchLargerThanData"),
        ({"logreg": False}, ["red"], "SingleConcept"),
        ({}, ["green", "violet"], "InputInvalid"),
        ({"template": "visual-detector/ssdlite-efficientnet-lite0"}, CONCEPTS, "NoBoxes"),
        ({"template": "visual-embedder/arcface-resnet50"}, ["red"], "SingleConcept"),
    ],
)
def test_data_that_cannot_be_trained_on_are_refused(
    process: Process, run_file: RunFile, changes: dict[str, Any], concepts: list[str], want: str
) -> None:
    code, record = process(preparing(run_file(**changes) | {"concepts": concepts}))
    assert (code, record["reason"]) == (42, want)
    assert_record(record)


@pytest.mark.parametrize(
    "template",
    [
        "visual-classifier/resnet18",
        "visual-embedder/arcface-efficientnet-lite0",
        "visual-detector/ssdlite-efficientnet-lite0",
    ],
)
def test_no_picture_is_decoded_for_pixels_that_are_gone_when_the_training_begins(
    process: Process,
    run_file: RunFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    template: str,
) -> None:
    def refuse(_data: bytes) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(pixels, "decode_rgb", refuse)
    run = run_file(template=template)
    if template.startswith("visual-detector"):
        pictures = coloured({"train": 8, "validation": 2, "test": 2}, CONCEPTS)
        boxed = [(p, ((names[0], 4, 4, 30, 30),), split) for p, names, split in pictures]
        dataset = store_boxed(tmp_path / "datasets", boxed)
        run = train_run(dataset, tmp_path / "output", CONCEPTS, template=template)
        run["hyperparameters"] |= {"image_size": 96, "use_perclass_regression": False}
        del run["hyperparameters"]["logreg"]
    code, record = process(preparing(run))
    assert (code, record["outcome"]) == (0, "prepared")
