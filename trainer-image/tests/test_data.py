"""The splits as a run sees them, and runs that cannot be trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stored import coloured, store, train_run

from deeptrain_trainer import data
from deeptrain_trainer.data import open_data, validation_sample
from deeptrain_trainer.dataset.store import shard_name
from deeptrain_trainer.failure import Failure
from deeptrain_trainer.run import train_run as typed

CONCEPTS = ["blue", "green", "red"]


def opened(dataset: dict[str, str], concepts: list[str], **changes: Any) -> data.RunData:
    return open_data(typed(train_run(dataset, Path("/nowhere"), concepts, **changes)))


def test_targets_follow_the_order_of_the_runs_concepts(dataset: dict[str, str]) -> None:
    forward, backward = opened(dataset, CONCEPTS), opened(dataset, CONCEPTS[::-1])
    assert np.array_equal(forward.train.truth, backward.train.truth[:, ::-1])
    assert (len(forward.train), len(forward.validation), len(forward.test)) == (48, 12, 12)
    assert forward.exclusive and forward.final_split[0] == "test"


def test_softmax_leaves_items_of_other_concepts_out(dataset: dict[str, str]) -> None:
    subset = opened(dataset, ["red", "blue"], logreg=False)
    assert len(subset.train) == 32 and subset.exclusive


def test_logreg_keeps_them_as_negatives(dataset: dict[str, str]) -> None:
    subset = opened(dataset, ["red", "blue"])
    assert len(subset.train) == 48 and not subset.exclusive
    assert (subset.train.truth.sum(1) == 0).sum() == 16


def test_without_a_test_split_the_validation_split_is_final(tmp_path: Path) -> None:
    dataset = store(tmp_path, coloured({"train": 8, "validation": 2}, CONCEPTS))
    assert opened(dataset, CONCEPTS).final_split[0] == "validation"


def test_overlapping_concepts_need_logreg(tmp_path: Path) -> None:
    pictures = coloured({"train": 8}, CONCEPTS)
    pictures[0] = (pictures[0][0], ("blue", "red"), "train")
    dataset = store(tmp_path, pictures)
    assert not opened(dataset, CONCEPTS).exclusive
    wanted = r"spec\.hyperparameters\.logreg: false needs exactly one concept"
    with pytest.raises(Failure, match=wanted) as refused:
        opened(dataset, CONCEPTS, logreg=False)
    assert refused.value.reason == "ConceptsOverlap" and refused.value.exit_code == 42


@pytest.mark.parametrize(
    ("changes", "reason", "message"),
    [
        ({"batch_size": 49}, "BatchLargerThanData", "batch_size is 49, but the train split has 48"),
        ({"logreg": False, "concepts": ["red"]}, "SingleConcept", "at least two concepts"),
        ({"concepts": ["red", "pink"]}, "InputInvalid", "no concept 'pink'"),
    ],
)
def test_runs_that_cannot_be_trained(
    dataset: dict[str, str], changes: dict[str, Any], reason: str, message: str
) -> None:
    with pytest.raises(Failure, match=message) as refused:
        opened(dataset, changes.pop("concepts", CONCEPTS), **changes)
    assert refused.value.reason == reason and refused.value.exit_code == 42


def test_a_concept_without_training_items_is_no_positives(tmp_path: Path) -> None:
    pictures = coloured({"train": 8, "test": 2}, CONCEPTS)
    dataset = store(tmp_path, [p for p in pictures if p[1] != ("red",) or p[2] == "test"])
    with pytest.raises(Failure, match="concept 'red'") as refused:
        opened(dataset, CONCEPTS)
    assert refused.value.reason == "NoPositives"


def test_a_dataset_that_is_not_the_one_named_is_refused(dataset: dict[str, str]) -> None:
    with pytest.raises(Failure, match="not sha256:0000"):
        opened(dataset | {"digest": "sha256:" + "0" * 64}, CONCEPTS)
    with pytest.raises(Failure, match="cannot be opened"):
        opened(dataset | {"path": "/nowhere"}, CONCEPTS)


def test_a_damaged_index_is_refused(tmp_path: Path) -> None:
    dataset = store(tmp_path, coloured({"train": 8}, CONCEPTS))
    index = Path(dataset["path"], "index.bin")
    index.write_bytes(index.read_bytes()[:-1])
    with pytest.raises(Failure, match="cannot be opened"):
        opened(dataset, CONCEPTS)
    assert Path(dataset["path"], shard_name(0)).exists()


def test_validation_is_a_fixed_sample_of_many_items(
    dataset: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = typed(train_run(dataset, Path("/nowhere"), CONCEPTS))
    everything = open_data(run)
    assert len(validation_sample(run, everything)) == 12
    monkeypatch.setattr(data, "MOST_VALIDATION_ITEMS", 5)
    first, second = validation_sample(run, everything), validation_sample(run, everything)
    assert len(first) == 5 and list(first.items) == list(second.items)
    assert all(item in everything.validation.items for item in first.items)
