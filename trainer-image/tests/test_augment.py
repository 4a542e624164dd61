"""Augmentation: what it does to pictures, and that its random numbers decide it."""

import numpy as np
import pytest
import torch

from deeptrain_trainer.augment import DRAWS, augment, to_planes

# Area 1, ratio 1, centred, no flip, no jitter.
NEUTRAL = [1.0, 0.5, 0.5, 0.5, 0.9, 0.5, 0.5, 0.5]


def pictures(count: int = 4) -> torch.Tensor:
    return torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    )


def draws(count: int = 4, **changes: float) -> torch.Tensor:
    names = ["area", "ratio", "x", "y", "flip", "brightness", "contrast", "saturation"]
    values = torch.tensor([NEUTRAL] * count)
    assert values.shape[1] == DRAWS == len(names)
    for name, value in changes.items():
        values[:, names.index(name)] = value
    return values


def test_neutral_numbers_leave_a_picture_as_it_is() -> None:
    assert torch.allclose(augment(pictures(), draws(), True), to_planes(pictures()), atol=1e-2)


def test_half_of_the_pictures_are_mirrored_where_flips_are_on() -> None:
    mirrored = to_planes(pictures()).flip(3)
    assert torch.allclose(augment(pictures(), draws(flip=0.49), True), mirrored, atol=1e-2)
    assert torch.allclose(
        augment(pictures(), draws(flip=0.5), True), to_planes(pictures()), atol=1e-2
    )


def test_no_picture_is_mirrored_where_flips_are_off() -> None:
    assert torch.allclose(
        augment(pictures(), draws(flip=0.0), False), to_planes(pictures()), atol=1e-2
    )


def test_the_smallest_crop_is_35_percent_of_the_area_and_stays_inside() -> None:
    ramp = torch.arange(16, dtype=torch.uint8).view(1, 1, 16, 1).expand(1, 16, 16, 3) * 16
    left = augment(ramp, draws(1, area=0.0, x=0.0), False)[0, 0, 8]
    right = augment(ramp, draws(1, area=0.0, x=1.0), False)[0, 0, 8]
    share = (left[-1] - left[0]).item() / (ramp[0, 0, -1, 0] - ramp[0, 0, 0, 0]).item()
    assert abs(share - 0.35**0.5) < 0.03
    assert left[0] == 0 and right[-1] == 240


def test_brightness_contrast_and_saturation_change_by_20_percent() -> None:
    grey = torch.full((1, 8, 8, 3), 100, dtype=torch.uint8)
    assert augment(grey, draws(1, brightness=1.0), False).mean().item() == pytest.approx(120)
    assert augment(grey, draws(1, contrast=1.0), False).mean().item() == pytest.approx(100)
    picture = pictures(1)
    plain = to_planes(picture)
    contrast = augment(picture, draws(1, contrast=0.0), False)
    assert contrast.std() < 0.85 * plain.std()
    less = augment(picture, draws(1, saturation=0.0), False)
    spread = (plain.amax(1) - plain.amin(1)).mean()
    assert abs((less.amax(1) - less.amin(1)).mean() / spread - 0.8) < 0.01


def test_results_are_grey_levels() -> None:
    out = augment(pictures(), draws(brightness=1.0, contrast=1.0, saturation=1.0), True)
    assert out.min() >= 0 and out.max() <= 255
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_an_image_is_the_same_in_any_batch_and_in_any_part_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = pictures(7)
    numbers = torch.from_numpy(np.random.default_rng(1).random((7, DRAWS), np.float32))
    together = augment(images, numbers, True)
    assert torch.equal(augment(images[5:6], numbers[5:6], True), together[5:6])
    monkeypatch.setattr("deeptrain_trainer.augment._VALUES_AT_ONCE", 2 * 16 * 16 * 3)
    assert torch.equal(augment(images, numbers, True), together)


def test_brightness_contrast_and_saturation_come_one_after_the_other() -> None:
    # From 64 to 191: no value leaves the range on the way, where the order would show.
    picture = pictures(1) // 2 + 64
    found = augment(picture, draws(1, brightness=0.0, contrast=0.75, saturation=0.25), False)
    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    image = 0.8 * to_planes(picture)
    mean = (image * luma).sum(1).mean()
    image = 1.1 * (image - mean) + mean
    grey = (image * luma).sum(1, keepdim=True)
    assert torch.allclose(found, 0.9 * (image - grey) + grey, atol=0.05)
