"""The splits of a stored dataset as a run trains on them: the run's concepts, in its order, as targets."""

from collections.abc import Mapping, Sequence
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
# Of a target: whether the item shows the concept is not known.
UNKNOWN = -1.0


@dataclass(frozen=True)
class LabelledItems:
    """Items and what they show: `truth[i, c]` says whether item i shows the run's concept c.

    `known[i, c]` says whether that is known; None where everything is. What is not known is not true in `truth`.
    """

    items: Sequence[Item]
    truth: NDArray[np.bool_]
    known: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.items)

    def chosen(self, places: NDArray[np.int64]) -> "LabelledItems":
        """The items at these places."""
        known = None if self.known is None else self.known[places]
        return LabelledItems([self.items[i] for i in places], self.truth[places], known)

    def targets(self, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """Float [N, C] of the items at these places: 1 where a concept is shown, 0 where not, else UNKNOWN."""
        targets = self.truth[places].astype(np.float32)
        if self.known is not None:
            targets[~self.known[places]] = UNKNOWN
        return targets


@dataclass(frozen=True)
class RunData:
    """All splits. `exclusive`: each item of each split shows exactly one concept, and none that is unknown."""

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
    exclusive = all(_is_exclusive(split) for split in (train, validation, test) if len(split))
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
    return everything.chosen(chosen)


def _is_exclusive(labelled: LabelledItems) -> bool:
    return labelled.known is None and is_exclusive(labelled.truth)


def _labelled(
    dataset: StoredDataset, split: Split, concepts: list[str], softmax: bool
) -> LabelledItems:
    """With softmax, items of none of the concepts are left out, and what is not known to be shown is not.

    Else items of none are negatives of all.
    """
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
        return LabelledItems(items, truth).chosen(np.flatnonzero(truth.any(1)))
    return LabelledItems(items, truth, _known(items, truth, column))


def _known(
    items: Sequence[Item], truth: NDArray[np.bool_], column: Mapping[int, int]
) -> NDArray[np.bool_] | None:
    """What is known of items [N] that show `truth` [N, C]; None: everything. `column`: c of a label, if it has one."""
    partial = [i for i, item in enumerate(items) if item.denied is not None]
    if not partial:
        return None
    known = np.ones_like(truth)
    known[partial] = truth[partial]
    for i in partial:
        known[i, [column[label] for label in items[i].denied or () if label in column]] = True
    return None if known.all() else known


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
