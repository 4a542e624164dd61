"""The stored datasets of the tests are as the import stores them."""

from pathlib import Path

import numpy as np
from stored import store_boxed

from deeptrain_trainer.dataset.box import Box
from deeptrain_trainer.dataset.store import StoredDataset


def test_pictures_are_stored_with_their_boxes(tmp_path: Path) -> None:
    picture = np.zeros((30, 40, 3), np.uint8)
    stored = store_boxed(
        tmp_path,
        [
            (
                picture,
                (("cat", 1, 2, 11, 12), ("ant", 0, 0, 40, 30, True), ("bee", 3, 3, 5, 5)),
                "train",
            ),
            (picture + 1, (("ant", 0, 0.5, 4, 4),), "test"),
            (picture + 2, (), "train"),
        ],
    )
    dataset = StoredDataset.open(Path(stored["path"]), stored["splitDigest"])
    assert dataset.concepts == ("ant", "bee", "cat")
    (test,) = dataset.items("test")
    assert test.boxes == (Box(0, 0, 0.5, 4, 4),)
    by_labels = {item.labels: item for item in dataset.items("train")}
    assert set(by_labels) == {(), (1, 2)}
    assert set(by_labels[1, 2].boxes) == {
        Box(2, 1, 2, 11, 12),
        Box(0, 0, 0, 40, 30, True),
        Box(1, 3, 3, 5, 5),
    }
    assert {(item.width, item.height) for item in dataset.items("train")} == {(40, 30)}
