"""What an embedder learns from and what it is measured on: concepts that it has never seen, where there are enough."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .data import MOST_VALIDATION_ITEMS, LabelledItems, RunData
from .dataset.index import Item
from .dataset.store import Split
from .failure import Failure
from .order import derived_seed
from .run import TrainRun

# From so many concepts on some can be spared; an embedder is for what it was not trained on.
LEAST_CONCEPTS = 20
HELD_OUT_SHARE = 0.2

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class ConceptItems:
    """Items that show exactly one of the run's concepts each: its place in them."""

    items: Sequence[Item]
    concepts: Numbers

    def __len__(self) -> int:
        return len(self.items)

    def chosen(self, places: Numbers) -> "ConceptItems":
        """Some of them, in the order of `places`."""
        return ConceptItems([self.items[int(i)] for i in places], self.concepts[places])


@dataclass(frozen=True)
class Protocol:
    """Who teaches, who asks and who is searched.

    With at least 20 concepts a fifth of them is held out: only items of the others teach, and queries and gallery are
    of the held-out ones. With fewer, all teach and all are queries and gallery. The gallery is of the train split,
    queries are of the others: a picture is never sought among pictures that its split was kept apart from. So where
    neither validation nor test has a query there is no measurement: leaving one out of the train split would find
    the near-duplicates that splits keep together.
    """

    # The places of the held-out concepts, ascending; none with fewer than 20 concepts.
    held_out: list[int]
    train: ConceptItems
    # Places in `train`.
    learnt: Numbers
    gallery: Numbers
    validation: ConceptItems
    test: ConceptItems

    @property
    def final_split(self) -> tuple[Split, ConceptItems]:
        """The queries of the final evaluation: of test where it has any, else of validation."""
        return ("test", self.test) if len(self.test) else ("validation", self.validation)


def protocol_of(run: TrainRun, data: RunData) -> Protocol:
    """Raises Failure where an item shows several of the run's concepts, or there is only one."""
    if len(run.concepts) < 2:
        raise Failure(
            "SingleConcept",
            f"spec.concepts: an embedder learns what tells concepts apart, and there is only {run.concepts[0]}: "
            "name others, or add items of others to the dataset.",
        )
    train, validation, test = (
        _exclusive(labelled) for labelled in (data.train, data.validation, data.test)
    )
    asked = np.union1d(validation.concepts, test.concepts)
    held_out = held_out_concepts(run.concepts, run.seed, [int(c) for c in asked])
    of_held_out = np.isin(train.concepts, held_out)
    everything = np.arange(len(train))
    if not held_out:
        return Protocol([], train, everything, everything, validation, test)
    return Protocol(
        held_out,
        train,
        everything[~of_held_out],
        everything[of_held_out],
        *(
            split.chosen(np.flatnonzero(np.isin(split.concepts, held_out)))
            for split in (validation, test)
        ),
    )


def held_out_concepts(concepts: list[str], seed: int, asked: list[int]) -> list[int]:
    """The places of the concepts that are held out: the lowest hashes of seed and name of those that are in a split
    beside train (`asked`), as nothing could be measured on others. None where it is only one: it would always be found.
    """
    if len(concepts) < LEAST_CONCEPTS:
        return []
    order = sorted(asked, key=lambda c: derived_seed("held out", seed, concepts[c]))
    chosen = sorted(order[: round(HELD_OUT_SHARE * len(concepts))])
    return chosen if len(chosen) > 1 else []


def sample(seed: int, name: str, count: int) -> Numbers:
    """All places, or as many as are evaluated during training: the same at every epoch."""
    if count <= MOST_VALIDATION_ITEMS:
        return np.arange(count)
    generator = np.random.default_rng(derived_seed(name, seed))
    return np.sort(generator.permutation(count)[:MOST_VALIDATION_ITEMS])


def _exclusive(labelled: LabelledItems) -> ConceptItems:
    """Items of none of the concepts are left out."""
    shown = labelled.truth.sum(1)
    if (shown > 1).any():
        raise Failure(
            "ConceptsOverlap",
            "spec.concepts: an embedder needs items that show one concept each, but some show several: "
            "name concepts that exclude one another.",
        )
    kept = np.flatnonzero(shown)
    return ConceptItems([labelled.items[int(i)] for i in kept], labelled.truth[kept].argmax(1))
