"""Makes a stored dataset and run files for the tests, in a temporary folder."""

import hashlib
import io
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deeptrain_trainer.dataset.box import Box, pack_boxes
from deeptrain_trainer.dataset.publish import DatasetWriter, LabelledItem
from deeptrain_trainer.dataset.store import Split, hex_of
from deeptrain_trainer.run import Hyperparameters

Picture = tuple[NDArray[np.uint8], tuple[str, ...], Split]
INPUTS_HASH = "sha256:" + "a" * 64
HYPERPARAMETERS = {field.name for field in fields(Hyperparameters)}
UID = "11111111-2222-3333-4444-555555555555"


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of uint8 [H, W, 3]."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def store(datasets: Path, pictures: list[Picture]) -> dict[str, str]:
    """Stores the pictures; the run file's `dataset`."""
    with DatasetWriter(datasets, UID, 1) as writer:
        rows = []
        for pixels, concepts, split in pictures:
            data = png(pixels)
            sha256 = hashlib.sha256(data).digest()
            writer.add(sha256, data)
            rows.append((LabelledItem(sha256, concepts), split))
        rows.sort(key=lambda row: row[0])
        digest, split_digest = writer.publish(
            [row[0] for row in rows], [row[1] for row in rows], b"{}"
        )
    path = datasets / hex_of(digest)
    return {"path": str(path), "digest": digest, "splitDigest": split_digest}


NamedBox = tuple[str, float, float, float, float] | tuple[str, float, float, float, float, bool]
"""Concept, x_min, y_min, x_max, y_max, and whether it is ignored."""
BoxedPicture = tuple[NDArray[np.uint8], tuple[NamedBox, ...], Split]


def store_boxed(datasets: Path, pictures: list[BoxedPicture]) -> dict[str, str]:
    """Stores pictures with boxes; the run file's `dataset`. No boxes = background."""
    names = sorted({box[0] for _, boxes, _ in pictures for box in boxes if not any(box[5:])})
    with DatasetWriter(datasets, UID, 1) as writer:
        rows = []
        for pixels, boxes, split in pictures:
            data = png(pixels)
            sha256 = hashlib.sha256(data).digest()
            writer.add(sha256, data)
            packed = pack_boxes(Box(names.index(box[0]), *box[1:]) for box in boxes)
            concepts = tuple(sorted({box[0] for box in boxes if not any(box[5:])}))
            height, width = pixels.shape[:2]
            rows.append((LabelledItem(sha256, concepts, width, height, packed), split))
        rows.sort(key=lambda row: row[0])
        digest, split_digest = writer.publish(
            [row[0] for row in rows], [row[1] for row in rows], b"{}"
        )
    path = datasets / hex_of(digest)
    return {"path": str(path), "digest": digest, "splitDigest": split_digest}


def coloured(per_concept: dict[Split, int], concepts: list[str], side: int = 40) -> list[Picture]:
    """Noisy pictures of one hue for each concept: learnt within a few steps."""
    generator = np.random.default_rng(0)
    pictures: list[Picture] = []
    for number, concept in enumerate(concepts):
        hue = np.array(
            Image.new("HSV", (1, 1), (256 * number // len(concepts), 200, 200)).convert("RGB")
        )
        for split, count in per_concept.items():
            for _ in range(count):
                noise = generator.normal(0, 40, (side, side, 3))
                pictures.append(((hue + noise).clip(0, 255).astype(np.uint8), (concept,), split))
    return pictures


def train_run(
    dataset: dict[str, str], output: Path, concepts: list[str], **changes: Any
) -> dict[str, Any]:
    """A run file. `changes` are hyperparameters or, where named so, its other fields."""
    run: dict[str, Any] = {
        "task": "train",
        "object": {"namespace": "default", "name": "model-v1", "uid": UID},
        "attempt": 1,
        "inputsHash": INPUTS_HASH,
        "template": "visual-classifier/resnet18",
        "templateRevision": 1,
        "hyperparameters": {
            "average_horizontal_flips": True,
            "base_gradient_multiplier": 1,
            "batch_size": 8,
            "image_size": 32,
            "init_epochs": 2,
            "step_epochs": 1,
            "logreg": True,
            "lrate": 0.005,
            "num_epochs": 2,
            "num_items_per_epoch": 0,
            "test_freq": 1,
        },
        "seed": 0,
        "concepts": concepts,
        "dataset": dataset,
        "base": {"id": "none"},
        "output": str(output),
        "threads": 1,
        "gpus": 0,
    }
    for name, value in changes.items():
        target = run["hyperparameters"] if name in HYPERPARAMETERS else run
        target[name] = value
    return run
