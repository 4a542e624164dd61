"""The pictures of a benchmark: one folder that torchvision's ImageFolder reads, and the same files as stored."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from deeptrain_trainer.dataset.image import image_format
from deeptrain_trainer.dataset.publish import DatasetWriter, LabelledItem
from deeptrain_trainer.dataset.store import Split, hex_of

TRAIN, VALIDATION = "train", "validation"
# In this order: what a folder has of these is what the sides are validated on.
VALIDATION_NAMES = (VALIDATION, "val", "valid", "test")


class FolderError(Exception):
    """The folder cannot be raced on; the message says why."""


def link_pictures(source: Path, target: Path, train: int, validation: int) -> None:
    """Links at most so many pictures of `source` into target/train and target/validation, concept by concept in turn.

    `source` has train/<concept>/ and one of VALIDATION_NAMES with the same concepts.
    """
    held_out = next((name for name in VALIDATION_NAMES if (source / name).is_dir()), None)
    if not (source / TRAIN).is_dir() or held_out is None:
        raise FolderError(f"{source} must have train/ and one of {', '.join(VALIDATION_NAMES)}/")
    concepts = sorted(path.name for path in (source / TRAIN).iterdir() if path.is_dir())
    for split, name, count in ((TRAIN, TRAIN, train), (VALIDATION, held_out, validation)):
        per_concept = [_pictures(source / name / concept) for concept in concepts]
        if not all(per_concept):
            empty = concepts[per_concept.index([])]
            raise FolderError(f"{source / name} has no pictures of {empty!r}")
        for concept, path in list(_in_turn(concepts, per_concept))[:count]:
            link = target / split / concept / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())


def _pictures(folder: Path) -> list[Path]:
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in paths if image_format(path.read_bytes()[:16]) is not None]


def _in_turn(concepts: list[str], pictures: list[list[Path]]) -> Iterator[tuple[str, Path]]:
    for place in range(max(len(paths) for paths in pictures)):
        for concept, paths in zip(concepts, pictures, strict=True):
            if place < len(paths):
                yield concept, paths[place]


def count_pictures(folder: Path, split: str) -> int:
    """Pictures of a split."""
    return sum(1 for _ in (folder / split).glob("*/*"))


def concepts_in(folder: Path) -> list[str]:
    """Names of the concepts, sorted as ImageFolder does."""
    return sorted(path.name for path in (folder / TRAIN).iterdir())


def store_pictures(folder: Path, datasets: Path) -> dict[str, str]:
    """Stores the folder as an import would; the run file's `dataset`."""
    splits: tuple[Split, ...] = ("train", "validation")
    rows: dict[LabelledItem, Split] = {}
    with DatasetWriter(datasets, "benchmark", 1) as writer:
        for split in splits:
            for path in sorted((folder / split).glob("*/*")):
                data = path.read_bytes()
                sha256 = hashlib.sha256(data).digest()
                item = LabelledItem(sha256, (path.parent.name,))
                if item not in rows:
                    writer.add(sha256, data)
                    rows[item] = split
        items = sorted(rows, key=lambda item: item.sha256)
        digest, split_digest = writer.publish(items, [rows[item] for item in items], b"{}")
    path = datasets / hex_of(digest)
    return {"path": str(path), "digest": digest, "splitDigest": split_digest}
