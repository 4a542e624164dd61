"""The splits of a stored dataset as a run trains on them: the run's concepts, in its order, as targets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .dataset.index import Item
from .dataset.store import Split, StoreCorruptError, StoredDataset
from .failure import Failure
from .metrics import is_exclusive
from .order import derived_seed
from .run import TrainRun
from .videos import are_frames

# During training at most so many validation items are evaluated; the final evaluation uses all.
MOST_VALIDATION_ITEMS = 5_000


@dataclass(frozen=True)
class LabelledItems:
    """Items and what they show: `truth[i, c]` says whether item i shows the run's concept c."""

    items: Sequence[Item]
    truth: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class RunData:
    """All splits. `exclusive`: each item of each split shows exactly one concept."""

    dataset: StoredDataset
    train: LabelledItems
    validation: LabelledItems
    test: LabelledItems
    exclusive: bool
    # The items are frames of videos (videos.py).
    are_frames: bool

    @property
    def final_split(self) -> tuple[Split, LabelledItems]:
        """What the exported model is evaluated on: test where there is one, else validation."""
        return ("test", self.test) if len(self.test) else ("validation", self.validation)


def open_data(run: TrainRun) -> RunData:
    """Opens and checks the data. Raises Failure when this run cannot be trained on them."""
    try:
        dataset = StoredDataset.open(run.dataset_path, run.split_digest)
    except (StoreCorruptError, OSError) as error:
        raise Failure("InputInvalid", f"The stored dataset cannot be opened: {error}") from None
    if dataset.digest != run.dataset_digest:
        raise Failure(
            "InputInvalid",
            f"{run.dataset_path} holds the dataset {dataset.digest}, not {run.dataset_digest}.",
        )
    softmax = not run.hyperparameters.logreg
    train = _labelled(dataset, "train", run.concepts, softmax)
    validation = _labelled(dataset, "validation", run.concepts, softmax)
    test = _labelled(dataset, "test", run.concepts, softmax)
    _check(run, train)
    exclusive = all(is_exclusive(split.truth) for split in (train, validation, test) if len(split))
    if softmax and not exclusive:
        raise Failure(
            "ConceptsOverlap",
            "spec.hyperparameters.logreg: false needs exactly one concept for each item, but some have several: "
            "set it to true.",
        )
    return RunData(dataset, train, validation, test, exclusive, are_frames(train.items))


def validation_sample(run: TrainRun, data: RunData) -> LabelledItems:
    """The validation items that are evaluated during training: the same at every epoch."""
    everything = data.validation
    if len(everything) <= MOST_VALIDATION_ITEMS:
        return everything
    generator = np.random.default_rng(derived_seed("validation", run.seed))
    chosen = np.sort(generator.permutation(len(everything))[:MOST_VALIDATION_ITEMS])
    return LabelledItems([everything.items[i] for i in chosen], everything.truth[chosen])


def _labelled(
    dataset: StoredDataset, split: Split, concepts: list[str], softmax: bool
) -> LabelledItems:
    """With softmax, items of none of the concepts are left out; else they are negatives of all."""
    place = {name: number for number, name in enumerate(dataset.concepts)}
    missing = [name for name in concepts if name not in place]
    if missing:
        raise Failure("InputInvalid", f"The dataset has no concept {missing[0]!r}.")
    column = {place[name]: c for c, name in enumerate(concepts)}
    items = dataset.items(split)
    truth = np.zeros((len(items), len(concepts)), np.bool_)
    for i, item in enumerate(items):
        for label in item.labels:
            if label in column:
                truth[i, column[label]] = True
    if softmax:
        kept = np.flatnonzero(truth.any(1))
        items, truth = [items[i] for i in kept], truth[kept]
    return LabelledItems(items, truth)


def _check(run: TrainRun, train: LabelledItems) -> None:
    if not run.hyperparameters.logreg and len(run.concepts) == 1:
        raise Failure(
            "SingleConcept",
            "spec.hyperparameters.logreg: false needs at least two concepts, but there is one: set it to true.",
        )
    batch_size = run.hyperparameters.batch_size
    if batch_size > len(train):
        raise Failure(
            "BatchLargerThanData",
            f"spec.hyperparameters.batch_size is {batch_size}, but the train split has {len(train)} items: "
            "lower it.",
        )
    absent = [name for c, name in enumerate(run.concepts) if not train.truth[:, c].any()]
    if absent:
        raise Failure(
            "NoPositives", f"No item of the train split shows the concept {absent[0]!r}: add some."
        )
