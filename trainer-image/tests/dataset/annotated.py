"""What the tests of the formats with boxes have in common."""

from typing import Any

from deeptrain_trainer.dataset.index import Item
from deeptrain_trainer.dataset.store import SPLITS, StoredDataset

from .samples import Place, picture

SIDE = 40


def photo(number: int) -> bytes:
    """A picture of 40 x 40 pixels; another number gives another one."""
    return picture(number, side=SIDE)


def stored(place: Place, record: dict[str, Any]) -> StoredDataset:
    """The dataset that an import published."""
    path = place.datasets / record["digest"].removeprefix("sha256:")
    return StoredDataset.open(path, record["splitDigest"])


def everything(dataset: StoredDataset) -> list[Item]:
    """All items of all splits."""
    return [item for split in SPLITS for item in dataset.items(split)]
