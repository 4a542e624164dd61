"""The splits of a stored dataset with their boxes, as a run trains and is evaluated on them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..data import LabelledItems, RunData
from ..dataset.index import Item
from ..failure import Failure
from .letterbox import box_transform, content_size
from .matching import TrueBoxes
from .targets import Truth


@dataclass(frozen=True)
class BoxedItems:
    """Items with the boxes of the run's concepts, in pixels of the original, and `size`, the side of the letterbox."""

    items: Sequence[Item]
    truth: Sequence[TrueBoxes]
    size: int

    def __len__(self) -> int:
        return len(self.items)

    def transforms(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """float [n, 4]: from pixels of the letterbox to shares of the original."""
        items = (self.items[i] for i in indices)
        return np.stack([box_transform(item.width, item.height, self.size) for item in items])

    def sides(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """float [n, 4]: from shares of the original to its pixels."""
        items = (self.items[i] for i in indices)
        return np.array([(item.width, item.height) * 2 for item in items], np.float32)

    def inside(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """float [n, 2]: width and height of the picture within its letterbox."""
        items = (self.items[i] for i in indices)
        sizes = [content_size(item.width, item.height, self.size) for item in items]
        return np.array(sizes, np.float32)

    def batch(self, indices: NDArray[np.int64]) -> Truth:
        """The boxes of some items, in pixels of the letterbox."""
        truth = [self.truth[i] for i in indices]
        most = max(1, *(len(own.corners) for own in truth))
        boxes = np.zeros((len(truth), most, 4), np.float32)
        concepts = np.full((len(truth), most), -1, np.int64)
        ignored = np.zeros((len(truth), most), np.bool_)
        to_square = 1 / (self.transforms(indices) * self.sides(indices))
        for row, own in enumerate(truth):
            n = len(own.corners)
            boxes[row, :n] = own.corners * to_square[row]
            concepts[row, :n] = own.concepts
            ignored[row, :n] = own.ignored
        return Truth(*(torch.from_numpy(values) for values in (boxes, concepts, ignored)))


def boxed_items(labelled: LabelledItems, numbers: dict[int, int], size: int) -> BoxedItems:
    """`numbers`: the run's number of each of the dataset's concepts; boxes of others are background."""
    return BoxedItems(labelled.items, [_true_boxes(item, numbers) for item in labelled.items], size)


def concept_numbers(data: RunData, concepts: list[str]) -> dict[int, int]:
    """The run's number of a concept by the dataset's."""
    place = {name: number for number, name in enumerate(data.dataset.concepts)}
    return {place[name]: number for number, name in enumerate(concepts)}


def check_boxes(data: RunData) -> None:
    """Raises Failure(NoBoxes) where the training split has none at all."""
    if not any(item.packed_boxes for item in data.train.items):
        raise Failure(
            "NoBoxes",
            "The train split has no bounding boxes, which a visual-detector learns from: use a dataset in the format "
            "coco, voc, yolo or csv, imported anew if it was stored by an older importer.",
        )


def _true_boxes(item: Item, numbers: dict[int, int]) -> TrueBoxes:
    own = [box for box in item.boxes if box.concept in numbers]
    return TrueBoxes(
        np.array([box[1:5] for box in own], np.float32).reshape(-1, 4),
        np.array([numbers[box.concept] for box in own], np.int64),
        np.array([box.ignored for box in own], np.bool_),
    )
