"""A dataset in the store, as training reads it.

The directory `<datasets>/<hex digest>/` holds `shards/NNNNN.bin` (the items' original bytes),
`index.bin`, `concepts.json`, `manifest.json` (SHA-256 of all of these), `splits/<hex split
digest>.json` (one for each way the items were divided) and `report.json` (what the newest import
found). Only the last two are ever added or replaced after the directory appeared under its name.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Literal, get_args

from .index import Item, unpack

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

MANIFEST = "manifest.json"
INDEX = "index.bin"
CONCEPTS = "concepts.json"
REPORT = "report.json"

MANIFEST_VERSION = 1
_DIGEST_PREFIX = "sha256:"


class StoreCorruptError(Exception):
    """What lies in the store is not what was written there; the message names the file."""


def shard_name(shard: int) -> str:
    """Path of a shard inside the dataset's directory."""
    return f"shards/{shard:05d}.bin"


def split_name(split_digest: str) -> str:
    """Path of a split file inside the dataset's directory."""
    return f"splits/{hex_of(split_digest)}.json"


def hex_of(digest: str) -> str:
    """The 64 hexadecimal digits of `sha256:<hex>`.

    Raises:
        ValueError: It is not such a digest (and so must not become part of a path).
    """
    digits = digest.removeprefix(_DIGEST_PREFIX)
    if len(digits) != 64 or set(digits) - set("0123456789abcdef") or digits == digest:
        raise ValueError(f"not a digest: {digest[:80]!r}")
    return digits


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checked(path: Path, sha256: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreCorruptError(f"{path}: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise StoreCorruptError(f"{path}: its SHA-256 is not the recorded one")
    return data


class StoredDataset:
    """A dataset of the store together with one division into splits. Read-only.

    `read` may be called from several threads, and after a fork: it never moves a shared file
    position.
    """

    def __init__(
        self,
        path: Path,
        digest: str,
        concepts: tuple[str, ...],
        items: list[Item],
        assignment: str,
    ) -> None:
        """Use `open`."""
        self._path = path
        self._digest = digest
        self._concepts = concepts
        self._items = items
        self._assignment = assignment
        self._descriptors: dict[int, int] = {}

    @staticmethod
    def open(path: Path, split_digest: str) -> "StoredDataset":
        """Opens the dataset in the directory `path`, divided as `split_digest` says.

        The index, the concepts and the splits are checked against their digests here; the bytes of
        an item when it is read.

        Raises:
            StoreCorruptError: A file is missing, or is not what was written.
        """
        manifest = read_manifest(path)
        index = _checked(path / INDEX, manifest.sha256_of(INDEX))
        concepts = json.loads(_checked(path / CONCEPTS, manifest.sha256_of(CONCEPTS)))
        splits = json.loads(_checked(path / split_name(split_digest), hex_of(split_digest)))
        try:
            items = unpack(index)
        except ValueError as error:
            raise StoreCorruptError(f"{path / INDEX}: {error}") from error
        assignment = splits["assignment"]
        if splits["dataset"] != manifest.digest or len(assignment) != len(items):
            raise StoreCorruptError(f"{path / split_name(split_digest)}: made for another dataset")
        return StoredDataset(path, manifest.digest, tuple(concepts), items, assignment)

    @property
    def digest(self) -> str:
        """`sha256:<hex>` over the content and the labels of all items."""
        return self._digest

    @property
    def concepts(self) -> tuple[str, ...]:
        """Names of all concepts, sorted; `Item.labels` are places in it."""
        return self._concepts

    def items(self, split: Split) -> list[Item]:
        """The items of one split, in the order of their `index`."""
        mark = str(SPLITS.index(split))
        return [
            item for item, own in zip(self._items, self._assignment, strict=True) if own == mark
        ]

    def read(self, item: Item) -> bytes:
        """The original bytes of the item's file.

        Raises:
            StoreCorruptError: They are not the bytes that were imported.
        """
        descriptor = self._descriptors.get(item.shard)
        if descriptor is None:
            # Two threads may both open a shard; the loser's descriptor is closed again.
            opened = os.open(self._path / shard_name(item.shard), os.O_RDONLY | os.O_CLOEXEC)
            descriptor = self._descriptors.setdefault(item.shard, opened)
            if descriptor != opened:
                os.close(opened)
        data = os.pread(descriptor, item.length, item.offset)
        if hashlib.sha256(data).digest() != item.sha256:
            name = self._path / shard_name(item.shard)
            raise StoreCorruptError(f"{name}: item {item.index} is not what was imported")
        return data

    def close(self) -> None:
        """Closes the shards; a later `read` opens them again."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])


class Manifest:
    """The list of a dataset's files. It is written last, so its presence says that all of them are
    there.
    """

    def __init__(self, digest: str, files: dict[str, tuple[int, str]]) -> None:
        """`files` maps a path inside the directory to its bytes and its hexadecimal SHA-256."""
        self.digest = digest
        self.files = files

    def sha256_of(self, name: str) -> str:
        """Hexadecimal SHA-256 of a file; the empty string when it is not listed."""
        return self.files.get(name, (0, ""))[1]

    def to_json(self) -> str:
        """The text of `manifest.json`."""
        files = [{"path": p, "bytes": b, "sha256": s} for p, (b, s) in sorted(self.files.items())]
        value = {"version": MANIFEST_VERSION, "digest": self.digest, "files": files}
        return json.dumps(value, indent=1) + "\n"


def read_manifest(path: Path) -> Manifest:
    """The manifest of the dataset in `path`.

    Raises:
        StoreCorruptError: There is none, or it is of another format.
    """
    try:
        value = json.loads((path / MANIFEST).read_bytes())
        if value["version"] != MANIFEST_VERSION:
            raise StoreCorruptError(f"{path / MANIFEST}: version {value['version']} is not known")
        files = {f["path"]: (int(f["bytes"]), str(f["sha256"])) for f in value["files"]}
        return Manifest(str(value["digest"]), files)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreCorruptError(f"{path / MANIFEST}: {error}") from error


def verify(path: Path) -> None:
    """Reads every listed file of the dataset in `path` and compares its SHA-256.

    Raises:
        StoreCorruptError: One is missing or differs.
    """
    for name, (size, sha256) in read_manifest(path).files.items():
        file = path / name
        try:
            same = file.stat().st_size == size and sha256_of_file(file) == sha256
        except OSError as error:
            raise StoreCorruptError(f"{file}: {error.strerror}") from error
        if not same:
            raise StoreCorruptError(f"{file}: its SHA-256 is not the recorded one")
