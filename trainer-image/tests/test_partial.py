"""Items of which only some concepts are known: imported from CSV, trained on, evaluated."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CONCEPTS, Process
from stored import coloured, png, train_run

from deeptrain_trainer.classifier import ClassifierLearner
from deeptrain_trainer.data import UNKNOWN, LabelledItems, RunData, open_data
from deeptrain_trainer.dataset.importer import import_folder
from deeptrain_trainer.device import choose_device
from deeptrain_trainer.run import train_run as typed

# Of red pictures nothing is said of green.
DENIED = {"blue": "green;red", "green": "blue;red", "red": "blue"}
COUNTS: dict[Any, int] = {"train": 16, "validation": 4, "test": 4}


Row = tuple[str, str | None]
"""Concepts, and what is denied; None: all else."""


def imported(root: Path, row_of: Callable[[int, str, str], Row]) -> dict[str, str]:
    """48 pictures to train on, 12 to validate, 12 to test, labelled by number, concept and split."""
    root.mkdir()
    with (root / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        for number, (pixels, (concept,), split) in enumerate(coloured(COUNTS, CONCEPTS)):
            (root / f"{number}.png").write_bytes(png(pixels))
            concepts, denied = row_of(number, concept, split)
            columns = {"path": f"{number}.png", "concepts": concepts, "split": split}
            if denied is not None:
                columns["not_concepts"] = denied
            if number == 0:
                rows.writerow(columns.keys())
            rows.writerow(columns.values())
    found = import_folder(root, root.parent / f"{root.name}-datasets", format="csv")
    return {"path": str(found.path), "digest": found.digest, "splitDigest": found.split_digest}


@pytest.fixture(scope="module")
def partial(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Each picture shows one concept; of red ones nothing is said of green."""
    root = tmp_path_factory.mktemp("partial") / "source"
    return imported(root, lambda _number, concept, _split: (concept, DENIED[concept]))


def opened(dataset: dict[str, str], concepts: list[str], **changes: Any) -> RunData:
    return open_data(typed(train_run(dataset, Path("/nowhere"), concepts, **changes)))


def targets_of(labelled: LabelledItems) -> dict[tuple[float, ...], int]:
    targets = labelled.targets(np.arange(len(labelled)))
    rows, counts = np.unique(targets, axis=0, return_counts=True)
    return {tuple(row): int(count) for row, count in zip(rows, counts, strict=True)}


def test_targets_say_what_is_unknown(partial: dict[str, str]) -> None:
    data = opened(partial, CONCEPTS)
    assert not data.exclusive
    assert targets_of(data.train) == {(1, 0, 0): 16, (0, 1, 0): 16, (0, UNKNOWN, 1): 16}
    backwards = opened(partial, CONCEPTS[::-1])
    assert targets_of(backwards.test) == {(0, 0, 1): 4, (0, 1, 0): 4, (1, UNKNOWN, 0): 4}
    assert targets_of(opened(partial, ["green"]).test) == {(0,): 4, (1,): 4, (UNKNOWN,): 4}


def test_items_of_which_all_is_known_are_as_any(tmp_path: Path) -> None:
    whole = imported(
        tmp_path / "source", lambda _number, concept, _split: (concept, others(concept))
    )
    data = opened(whole, CONCEPTS)
    assert data.exclusive and data.train.known is None


def others(concept: str) -> str:
    return ";".join(name for name in CONCEPTS if name != concept)


def test_some_of_the_items_keep_what_is_unknown(partial: dict[str, str]) -> None:
    train = opened(partial, CONCEPTS).train
    places = np.flatnonzero(train.truth[:, 2])[:3]
    assert targets_of(train.chosen(places)) == {(0, UNKNOWN, 1): 3}


def test_softmax_needs_no_more_than_the_one_concept(partial: dict[str, str]) -> None:
    data = opened(partial, CONCEPTS, logreg=False)
    assert data.exclusive and data.train.known is None


def test_batches_have_the_targets_of_their_items(partial: dict[str, str], tmp_path: Path) -> None:
    run = typed(train_run(partial, tmp_path, CONCEPTS, batch_size=48))
    learner = ClassifierLearner(run, choose_device(0, 1, False), lambda: None)
    _, targets = learner.load_batch(0)
    assert sorted(map(tuple, targets.tolist())) == sorted(
        [(1, 0, 0)] * 16 + [(0, 1, 0)] * 16 + [(0, UNKNOWN, 1)] * 16
    )


@pytest.mark.parametrize("is_partial", [True, False])
def test_what_is_unknown_does_not_teach_its_absence(
    process: Process, tmp_path: Path, is_partial: bool
) -> None:
    """Three of four green pictures to learn from do not say so."""

    def row_of(number: int, concept: str, split: str) -> Row:
        is_hidden = concept == "green" and split == "train" and number % 4 > 0
        concepts = "" if is_hidden else concept
        return concepts, DENIED[concept] if is_partial else None

    dataset = imported(tmp_path / "source", row_of)
    code, record = process(
        train_run(dataset, tmp_path / "out", CONCEPTS, num_epochs=8, init_epochs=8)
    )
    assert code == 0
    values = record["metrics"]["values"]
    assert set(values) == {"macro_ap", "macro_f1", "best_f1_threshold"}
    # Else green alone is missed: it was said to be absent three times out of four.
    assert values["macro_f1"] == pytest.approx(1 if is_partial else 2 / 3, abs=0.05)
