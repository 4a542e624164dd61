"""Pictures of shapes with their boxes: bright squares and dark discs on noise, learnt within a few steps."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stored import HYPERPARAMETERS, BoxedPicture, NamedBox, store_boxed, train_run

from deeptrain_trainer.bases import EFFICIENTNET_LITE0, base_folder
from deeptrain_trainer.dataset.store import Split, sha256_of_file

CONCEPTS = ["disc", "square"]
WIDTH, HEIGHT = 96, 72


def picture(
    generator: np.random.Generator, shapes: int
) -> tuple[NDArray[np.uint8], tuple[NamedBox, ...]]:
    """A picture with so many shapes, which may touch each other."""
    pixels = generator.normal(110, 12, (HEIGHT, WIDTH, 3))
    boxes: list[NamedBox] = []
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    for _ in range(shapes):
        side = int(generator.integers(18, 34))
        left, top = (
            int(generator.integers(0, WIDTH - side)),
            int(generator.integers(0, HEIGHT - side)),
        )
        if generator.random() < 0.5:
            pixels[top : top + side, left : left + side] = (250, 210, 40)
            concept = "square"
        else:
            radius = side / 2
            inside = (x - left - radius) ** 2 + (y - top - radius) ** 2 < radius**2
            pixels[inside] = (20, 30, 120)
            concept = "disc"
        boxes.append((concept, float(left), float(top), float(left + side), float(top + side)))
    return pixels.clip(0, 255).astype(np.uint8), tuple(boxes)


def pictures(per_split: dict[Split, int]) -> list[BoxedPicture]:
    """One in eight is background."""
    generator = np.random.default_rng(0)
    return [
        (*picture(generator, 0 if number % 8 == 7 else 1 + number % 2), split)
        for split, count in per_split.items()
        for number in range(count)
    ]


def stored_shapes(datasets: Path, per_split: dict[Split, int]) -> dict[str, str]:
    """The run file's `dataset`."""
    return store_boxed(datasets, pictures(per_split))


def detector_run(dataset: dict[str, str], output: Path, **changes: Any) -> dict[str, Any]:
    """A run file of a detector. `changes` as those of `train_run`."""
    run = train_run(dataset, output, CONCEPTS)
    del run["hyperparameters"]["logreg"]
    run |= {
        "template": "visual-detector/retinanet-efficientnet-lite0",
        "detection_score_threshold": 0.3,
    }
    run["hyperparameters"] |= {
        "base_gradient_multiplier": 0.2,
        "image_size": 96,
        "lrate": 2e-3,
        "use_perclass_regression": False,
    }
    weights = base_folder() / f"{EFFICIENTNET_LITE0}.safetensors"
    run["base"] = {"id": EFFICIENTNET_LITE0, "digest": f"sha256:{sha256_of_file(weights)}"}
    for name, value in changes.items():
        target = run["hyperparameters"] if name in HYPERPARAMETERS else run
        target[name] = value
    return run


def kept(content: bytes, folder: Path) -> dict[str, Any]:
    """A base by its address that was fetched before."""
    digest = hashlib.sha256(content).hexdigest()
    (folder / f"{digest}.safetensors").write_bytes(content)
    return {
        "id": "http",
        "digest": f"sha256:{digest}",
        "url": "http://127.0.0.1:1/detector.safetensors",
        "path": str(folder),
        "denyPrivateSources": False,
    }
