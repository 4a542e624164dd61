"""Augmentation moves pixels and boxes alike."""

import numpy as np
import pytest
import torch
from torch import Tensor

from deeptrain_trainer.detection.augment import DRAWS, augment
from deeptrain_trainer.detection.targets import Truth

SIZE = 64
# Of a picture twice as wide as high.
INSIDE = torch.tensor([[64.0, 32.0]])
# Draws that change nothing: scale 1, no shift up or left, no flip, brightness 1, no crop.
STILL = [0.5, 0.0, 0.0, 0.9, 0.5, 0.0, 0.9]


def marked(box: tuple[int, int, int, int]) -> tuple[Tensor, Truth]:
    """A dark picture in its letterbox with a bright box, and its truth."""
    pixels = torch.full((1, SIZE, SIZE, 3), 114, dtype=torch.uint8)
    pixels[:, :32] = 20
    left, top, right, bottom = box
    pixels[:, top:bottom, left:right] = 220
    truth = Truth(
        torch.tensor([[box, (0, 0, 0, 0)]], dtype=torch.float32),
        torch.tensor([[3, -1]]),
        torch.zeros(1, 2, dtype=torch.bool),
    )
    return pixels, truth


def bright_box(images: Tensor) -> list[float]:
    """Corners of what is bright."""
    y, x = np.nonzero(images[0, 0].numpy() > 150)
    return [x.min(), y.min(), x.max() + 1, y.max() + 1]


def test_nothing_drawn_changes_nothing() -> None:
    pixels, truth = marked((10, 4, 30, 20))
    images, moved = augment(pixels, INSIDE, truth, torch.tensor([STILL]), True, True)
    assert torch.allclose(images, pixels.permute(0, 3, 1, 2).float(), atol=0.01)
    assert torch.equal(moved.boxes, truth.boxes)
    assert torch.equal(moved.concepts, truth.concepts) and not moved.ignored[0, 0]


def test_boxes_are_flipped_with_their_image_and_only_where_flips_are_wanted() -> None:
    pixels, truth = marked((10, 4, 30, 20))
    draws = torch.tensor([STILL])
    draws[0, 3] = 0.4
    images, moved = augment(pixels, INSIDE, truth, draws, True, False)
    assert moved.boxes[0, 0].tolist() == [34, 4, 54, 20]
    assert bright_box(images) == [34, 4, 54, 20]
    images, moved = augment(pixels, INSIDE, truth, draws, False, False)
    assert bright_box(images) == moved.boxes[0, 0].tolist() == [10, 4, 30, 20]


@pytest.mark.parametrize("crops", [False, True])
def test_boxes_go_where_their_pixels_go(crops: bool) -> None:
    pixels, truth = marked((20, 8, 44, 26))
    generator = torch.Generator().manual_seed(0)
    seen = 0
    for _ in range(40):
        draws = torch.rand(1, DRAWS, generator=generator)
        draws[0, 4] = 0.5
        images, moved = augment(pixels, INSIDE, truth, draws, True, crops)
        if moved.concepts[0, 0] >= 0:
            seen += 1
            assert np.allclose(bright_box(images), moved.boxes[0, 0], atol=1.01)
        assert moved.boxes.min() >= 0 and moved.boxes.max() <= SIZE
    assert seen > 30


def test_a_box_whose_centre_is_cut_off_is_neither_example_nor_background() -> None:
    pixels, truth = marked((0, 0, 20, 20))
    # Enlarged to 2 * 1.25, the lower right part of it.
    draws = torch.tensor([[0.999, 0.1, 0.1, 0.9, 0.5, 0.0, 0.0]])
    _, moved = augment(pixels, INSIDE, truth, draws, True, True)
    assert moved.boxes[0, 0, 2] > 0 and not moved.ignored[0, 0]
    draws[0, 1] = 0.4
    _, moved = augment(pixels, INSIDE, truth, draws, True, True)
    assert moved.ignored[0, 0] and moved.concepts[0, 0] == 3
    draws[0, 1] = 1.0
    _, moved = augment(pixels, INSIDE, truth, draws, True, True)
    assert moved.concepts[0, 0] == -1


def test_the_picture_stays_whole_where_it_fits() -> None:
    """The free side of the letterbox is what it may be shifted over."""
    pixels, truth = marked((0, 0, 64, 32))
    draws = torch.tensor([STILL])
    draws[0, 2] = 1.0
    _, moved = augment(pixels, INSIDE, truth, draws, True, False)
    assert moved.boxes[0, 0].tolist() == [0, 32, 64, 64]


def test_brightness_changes_by_up_to_a_fifth() -> None:
    pixels, truth = marked((10, 4, 30, 20))
    draws = torch.tensor([STILL])
    for drawn, factor in ((0.0, 0.8), (0.75, 1.1)):
        draws[0, 4] = drawn
        images, _ = augment(pixels, INSIDE, truth, draws, True, False)
        assert torch.allclose(images[0, 0, 10, 15], torch.tensor(220 * factor), atol=0.1)
