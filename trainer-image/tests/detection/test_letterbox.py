"""The letterbox graph agrees with Pillow and with the arithmetic of the trainer."""

import numpy as np
import pytest
from PIL import Image

from deeptrain_trainer.detection.letterbox import (
    Letterbox,
    box_transform,
    content_size,
    letterbox_graph,
)


@pytest.mark.parametrize(
    ("width", "height", "inside"),
    [
        (640, 480, (320, 240)),
        (480, 640, (240, 320)),
        (3, 900, (1, 320)),
        (1, 1, (320, 320)),
        (100, 37, (320, 118)),
    ],
)
def test_a_picture_is_put_top_left_and_the_rest_is_grey(
    width: int, height: int, inside: tuple[int, int]
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels, transform = Letterbox(320).with_transform(picture)
    assert content_size(width, height, 320) == inside
    resized = Image.fromarray(picture).resize(inside, Image.Resampling.BILINEAR)
    content = pixels[: inside[1], : inside[0]].astype(int)
    assert abs(content - np.asarray(resized)).max() <= 1
    assert (pixels[inside[1] :] == 114).all() and (pixels[:, inside[0] :] == 114).all()
    assert np.array_equal(transform, box_transform(width, height, 320))
    corners = np.array([0, 0, *inside], np.float32) * transform
    assert corners.tolist() == [0, 0, 1, 1]


def test_it_is_what_pixels_are_made_with() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (50, 64, 3), dtype=np.uint8)
    letterbox = Letterbox(64)
    assert letterbox.size == 64
    assert np.array_equal(letterbox(picture)[:50], picture)


def test_the_graph_is_the_same_bytes_every_time() -> None:
    first, second = (letterbox_graph(64).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second
