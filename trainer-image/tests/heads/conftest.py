"""A base of random weights, and its embeddings of one small dataset."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from deeptrain_trainer import embeddings
from deeptrain_trainer.basegraph import BaseGraph, base_graph
from deeptrain_trainer.models.resnet import ResNet18
from deeptrain_trainer.run import Base
from deeptrain_trainer.run import train_run as typed

from .headrun import MakeRun, linear_run, opened, version


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A version of a classifier, with random weights: these tell colours apart too."""
    torch.manual_seed(0)
    weights = {f"base.{name}": t for name, t in ResNet18(32).state_dict().items()}
    files = {"weights.safetensors": save(weights)}
    return version(tmp_path_factory.mktemp("base"), "visual-classifier/resnet18", files)


@pytest.fixture(scope="session")
def built(classifier: dict[str, str]) -> BaseGraph:
    """The graph of that version."""
    return base_graph(Base("model", classifier["digest"], path=Path(classifier["path"])))


@pytest.fixture(scope="session")
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


@pytest.fixture
def make(
    dataset: dict[str, str], classifier: dict[str, str], derived: Path, tmp_path: Path
) -> MakeRun:
    """Makes run files whose embeddings are stored already, in a copy that may be changed."""
    copy = shutil.copytree(derived, tmp_path / "derived")

    def run_file(output: str = "output", **changes: Any) -> dict[str, Any]:
        return linear_run(dataset, classifier, copy, tmp_path / output, **changes)

    return run_file
