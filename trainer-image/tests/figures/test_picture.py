"""Pictures in the size that figures need."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from stored import store

from deeptrain_trainer.dataset.store import StoredDataset
from deeptrain_trainer.figures.picture import StoredPictures, thumbnail


@pytest.mark.parametrize(
    ("size", "want"),
    [((400, 200), (100, 50)), ((20, 40), (50, 100)), ((1, 5000), (1, 100)), ((5000, 1), (100, 1))],
)
def test_the_longest_side_is_as_asked_for(size: tuple[int, int], want: tuple[int, int]) -> None:
    made = thumbnail(Image.new("RGB", size, "red"), 100)
    assert made.image.size == want
    assert made.scale == 100 / max(size)


def test_stored_pictures_are_told_by_the_digest_of_their_file(tmp_path: Path) -> None:
    painted = np.full((20, 10, 3), (200, 30, 60), np.uint8)
    stored = store(tmp_path, [(painted, ("a",), "train"), (painted // 2, ("a",), "test")])
    dataset = StoredDataset.open(Path(stored["path"]), stored["splitDigest"])
    items = dataset.items("test")
    pictures = StoredPictures(dataset, items)
    made = pictures.thumbnail(0, 40)
    assert made.image.size == (20, 40) and made.image.getpixel((10, 20)) == (100, 15, 30)
    assert pictures.sha256(0) == items[0].sha256.hex()
