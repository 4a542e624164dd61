"""Who teaches an embedder, who asks and who is searched."""

from pathlib import Path

import pytest
from conftest import CONCEPTS
from stored import coloured, store, train_run

from deeptrain_trainer.data import open_data
from deeptrain_trainer.failure import Failure
from deeptrain_trainer.heldout import Protocol, held_out_concepts, protocol_of
from deeptrain_trainer.run import train_run as typed

MANY = [f"hue {number:02}" for number in range(20)]


def protocol(dataset: dict[str, str], concepts: list[str], seed: int = 0) -> Protocol:
    """Of a run on these concepts."""
    run = typed(train_run(dataset, Path("output"), concepts, seed=seed))
    return protocol_of(run, open_data(run))


def test_a_fifth_of_many_concepts_is_held_out(tmp_path: Path) -> None:
    pictures = coloured({"train": 4, "validation": 1, "test": 2}, MANY)
    found = protocol(store(tmp_path, pictures), MANY)
    assert len(found.held_out) == 4
    taught = set(found.train.concepts[found.learnt])
    assert taught == set(range(20)) - set(found.held_out)
    for concepts in (
        found.train.concepts[found.gallery],
        found.validation.concepts,
        found.test.concepts,
    ):
        assert set(concepts) == set(found.held_out)
    assert len(found.gallery) == 16 and len(found.validation) == 4 and len(found.test) == 8


def test_few_concepts_all_teach_and_are_all_searched(dataset: dict[str, str]) -> None:
    found = protocol(dataset, CONCEPTS)
    assert found.held_out == []
    assert len(found.learnt) == len(found.gallery) == 48
    assert len(found.validation) == 12 and len(found.test) == 12


def test_which_concepts_are_held_out_depends_on_their_names_and_the_seed() -> None:
    asked = list(range(20))
    chosen = held_out_concepts(MANY, 0, asked)
    assert len(chosen) == 4
    names = {MANY[c] for c in chosen}
    turned = MANY[::-1]
    assert {turned[c] for c in held_out_concepts(turned, 0, asked)} == names
    assert {MANY[c] for c in held_out_concepts(MANY, 1, asked)} != names
    # What is in the train split alone could not be measured.
    assert held_out_concepts(MANY, 0, [1, 2, 3, 4]) == [1, 2, 3, 4]
    assert held_out_concepts(MANY, 0, [3, 9]) == [3, 9]
    assert held_out_concepts(MANY, 0, [3]) == held_out_concepts(MANY, 0, []) == []
    assert held_out_concepts(MANY[:19], 0, asked) == []


def test_without_a_test_split_the_validation_split_asks(tmp_path: Path) -> None:
    pictures = coloured({"train": 8, "validation": 3}, CONCEPTS)
    split, queries = protocol(store(tmp_path, pictures), CONCEPTS).final_split
    assert split == "validation" and len(queries) == 9


def test_items_of_other_concepts_are_left_out(dataset: dict[str, str]) -> None:
    found = protocol(dataset, ["red", "blue"])
    assert len(found.train) == 32 and len(found.test) == 8
    assert set(found.train.concepts) == {0, 1}


def test_one_concept_is_refused(dataset: dict[str, str]) -> None:
    with pytest.raises(Failure, match=r"spec\.concepts: .* there is only red") as refused:
        protocol(dataset, ["red"])
    assert refused.value.reason == "SingleConcept" and refused.value.exit_code == 42


def test_items_of_several_concepts_are_refused(tmp_path: Path) -> None:
    pictures = coloured({"train": 8}, CONCEPTS)
    pixels, _, split = pictures[0]
    pictures[0] = (pixels, ("blue", "red"), split)
    dataset = store(tmp_path, pictures)
    with pytest.raises(Failure, match=r"spec\.concepts: .* some show several") as refused:
        protocol(dataset, CONCEPTS)
    assert refused.value.reason == "ConceptsOverlap"
    assert refused.value.exit_code == 42
    assert len(protocol(dataset, ["blue", "green"]).train) == 16
