"""The confusion matrix as files."""

import json

import numpy as np

from deeptrain_trainer.figures.confusion import confusion_files, most_confused

from .painted import pixels


def test_all_cells_that_are_not_zero_are_in_the_json() -> None:
    counts = np.array([[3, 1, 0], [0, 4, 0], [2, 0, 0]])
    files = confusion_files(counts, ["猫", "b", "🐈"])
    document = json.loads(files["evaluation/confusion.json"])
    assert document["concepts"] == ["猫", "b", "🐈"]
    assert document["cells are"] == ["truth", "predicted", "items"]
    assert document["cells"] == [[0, 0, 3], [0, 1, 1], [1, 1, 4], [2, 0, 2]]


def test_right_is_blue_and_wrong_is_red() -> None:
    picture = pixels(
        confusion_files(np.array([[0, 9], [0, 9]]), ["a", "b"])["evaluation/confusion.png"]
    )
    red, green, blue = (picture[..., c].astype(int) for c in range(3))
    is_red, is_blue = (red > blue + 100) & (red > green + 100), blue > red + 100
    # Both cells are whole: the wrong one in the first row, the right one below it.
    assert is_red.sum() > 1000 and is_blue.sum() > 1000
    assert np.nonzero(is_red)[0].mean() + 50 < np.nonzero(is_blue)[0].mean()
    assert abs(np.nonzero(is_red)[1].mean() - np.nonzero(is_blue)[1].mean()) < 2


def test_of_many_concepts_the_most_confused_pairs_are_shown() -> None:
    counts = np.diag(np.full(1000, 50))
    counts[700, 3], counts[4, 998], counts[8, 9] = 9, 8, 1
    assert most_confused(counts, 4).tolist() == [3, 4, 700, 998]
    assert {3, 4, 8, 9, 700, 998} <= set(most_confused(counts, 40).tolist())
    names = [f"concept number {i}" for i in range(1000)]
    files = confusion_files(counts, names)
    assert pixels(files["evaluation/confusion.png"]).shape[0] < 1300
    assert len(json.loads(files["evaluation/confusion.json"])["cells"]) == 1003
    assert confusion_files(counts, names) == files
