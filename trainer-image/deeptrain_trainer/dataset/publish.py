"""Writes a dataset into the store: all of it under its digest, or nothing.

Everything is made in a temporary directory beside its later place (one volume, so the rename is
atomic), synced to disk, and renamed once. Equal data are stored once: where the digest is already
there and whole, only the split file is added.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import struct
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..durable import sync_directory, write_synced
from ..failure import Failure
from .box import unpack_boxes
from .index import Item, pack
from .store import (
    CONCEPTS,
    INDEX,
    MANIFEST,
    REPORT,
    SPLITS,
    Manifest,
    Split,
    StoreCorruptError,
    hex_of,
    sha256_of_file,
    shard_name,
    split_name,
    verify,
)
from .workfolder import LOCK, hold, sweep

SHARD_BYTES = 256 * 1024 * 1024
# Shard, offset, length: packed, a fifth of the memory of three numbers.
_PLACE = struct.Struct("<IQI")
_UID = re.compile(r"[A-Za-z0-9-]{1,64}")
# The group owns the store too: pods get it through fsGroup, whatever their user is.
_DIRECTORY_MODE = 0o775
_FILE_MODE = 0o664


class LabelledItem(NamedTuple):
    """A checked picture and what it shows."""

    sha256: bytes
    """Digest of its bytes."""
    concepts: tuple[str, ...]
    """Names of the concepts that it shows, sorted."""
    width: int = 0
    """Pixels of the upright picture."""
    height: int = 0
    boxes: bytes = b""
    """Packed; their concepts' numbers are places in the sorted names of all items' concepts."""
    video: bytes = b""
    """Digest of the video that it is a frame of; empty for a picture."""
    time_ms: int = 0
    """Of a frame: milliseconds since the beginning of its video."""
    denied: tuple[str, ...] = ()
    """Names of the concepts that it is said not to show, sorted; only where it is partial."""
    is_partial: bool = False
    """Whether nothing is known of the concepts that are neither shown nor denied; else they are not shown."""
    split: Split | None = None
    """The split that the source put it in, if it has splits. No part of the content."""
    source_group: bytes = b""
    """Digest of the group that the source put it in; empty: in none. No part of the content."""

    @property
    def group(self) -> bytes:
        """Frames of a video are a group, and so are pictures of the same bytes."""
        return self.video or self.sha256

    @property
    def content(self) -> tuple[object, ...]:
        """All that the digest is made of."""
        return self[:-2]


def in_order(items: list[LabelledItem]) -> None:
    """Sorts items as `DatasetWriter.publish` wants them: groups side by side, videos in order."""
    # In several stable sorts, because tuples as keys would need half as much memory again.
    items.sort(key=lambda item: item.split or "")
    for name in ("denied", "is_partial", "boxes", "concepts", "sha256", "time_ms", "group"):
        items.sort(key=attrgetter(name))


def concepts_of(items: Iterable[LabelledItem]) -> list[str]:
    """The names of all concepts that the items show, sorted."""
    return sorted({concept for item in items for concept in item.concepts})


def content_digest(items: Sequence[LabelledItem]) -> str:
    """`sha256:<hex>` over content and labels: independent of order, of file names and of splits.

    It is the SHA-256 of one line for each item, sorted: the hexadecimal digest of the bytes, a
    space, the concepts as a JSON list; then, where there are some, a space and the boxes as a JSON
    list of [concept, x_min, y_min, x_max, y_max, ignored], for a frame a space, its video's digest,
    a colon and its time, and for a partial item a space, an exclamation mark and the concepts that it
    denies as a JSON list.
    """
    names = concepts_of(items)
    total = hashlib.sha256()
    for item in sorted(items, key=attrgetter("content")):
        line = f"{item.sha256.hex()} {_json(list(item.concepts))}"
        if item.boxes:
            boxes = sorted([names[box.concept], *box[1:]] for box in unpack_boxes(item.boxes))
            line += f" {_json(boxes)}"
        if item.video:
            line += f" {item.video.hex()}:{item.time_ms}"
        if item.is_partial:
            line += f" !{_json(list(item.denied))}"
        total.update(f"{line}\n".encode())
    return f"sha256:{total.hexdigest()}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def split_file(digest: str, assignment: Sequence[Split]) -> bytes:
    """The bytes of a split file; their SHA-256 is the split digest.

    Args:
        digest: Digest of the dataset.
        assignment: The split of each item, in the order of the index.
    """
    marks = "".join(str(SPLITS.index(split)) for split in assignment)
    value = {"assignment": marks, "dataset": digest, "splits": SPLITS, "version": 1}
    return json.dumps(value, separators=(",", ":")).encode()


@contextlib.contextmanager
def naming_full_disk(path: Path, size: int) -> Iterator[None]:
    """Turns "no space left" into the failure `DiskFull`, with the path and the bytes that did not
    fit.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Failure(
            "DiskFull",
            f"{path}: no space left for {size} more bytes; give the claim more room, then set the "
            "annotation deeptrain.dev/retry",
        ) from error


class DatasetWriter:
    """One import's place in the store: `with DatasetWriter(...) as writer`. Leaves nothing behind
    on failure.
    """

    def __init__(
        self, datasets: Path, uid: str, attempt: int, shard_bytes: int = SHARD_BYTES
    ) -> None:
        """Writes below `datasets`, for the attempt `attempt` of the object `uid`."""
        if not _UID.fullmatch(uid):
            raise Failure("ImportFailed", f"not a UID: {uid[:80]!r}")
        self._datasets = datasets
        self._uid = uid
        self._folder = datasets / f".import-{uid}-{attempt}"
        self._lock: int | None = None
        self._shard_bytes = shard_bytes
        self._places: dict[bytes, bytes] = {}
        self._shard: BinaryIO | None = None
        self._shard_number = -1
        self._shard_offset = 0

    def __enter__(self) -> "DatasetWriter":
        """Removes what dead imports left, and begins anew."""
        try:
            with naming_full_disk(self._datasets, 0):
                self._datasets.mkdir(parents=True, exist_ok=True)
                sweep(self._datasets, self._uid, self._folder)
                _make_directory(self._folder)
                self._lock = hold(self._folder)
                _make_directory(self._folder / "shards")
                _make_directory(self._folder / "splits")
        except OSError as error:
            raise Failure(
                "StoreNotReady", f"{error.filename or self._datasets}: {error.strerror}"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        """Removes the temporary directory, if it was not published."""
        self._close_shard(sync=False)
        shutil.rmtree(self._folder, ignore_errors=True)
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    @property
    def download(self) -> Path:
        """Where a downloaded archive may lie until the import ends."""
        return self._folder / "download"

    @property
    def spool(self) -> Path:
        """Where frames of a video may lie until they are added."""
        return self._folder / "spool"

    def add(self, sha256: bytes, data: bytes) -> None:
        """Stores the bytes of an item; bytes that are already there are not stored again."""
        if sha256 in self._places:
            return
        if self._shard is None or self._shard_offset + len(data) > self._shard_bytes:
            self._next_shard()
        assert self._shard is not None
        with naming_full_disk(self._folder, len(data)):
            self._shard.write(data)
        self._places[sha256] = _PLACE.pack(self._shard_number, self._shard_offset, len(data))
        self._shard_offset += len(data)

    def publish(
        self, items: Sequence[LabelledItem], assignment: Sequence[Split], report: bytes
    ) -> tuple[str, str]:
        """Makes the dataset appear under its digest.

        Args:
            items: What was added, in the order of `in_order`.
            assignment: The split of each of them.
            report: The text of report.json.

        Returns:
            The digest and the split digest.
        """
        digest = content_digest(items)
        splits = split_file(digest, assignment)
        split_digest = f"sha256:{hashlib.sha256(splits).hexdigest()}"
        with naming_full_disk(self._folder, self._shard_offset + len(splits) + len(report)):
            self.download.unlink(missing_ok=True)
            self._close_shard(sync=True)
            self._write_lists(digest, items)
            _write(self._folder / split_name(split_digest), splits)
            _write(self._folder / REPORT, report)
            for folder in ("shards", "splits", "."):
                sync_directory(self._folder / folder)
            self._appear(self._datasets / hex_of(digest), split_digest)
        return digest, split_digest

    def _write_lists(self, digest: str, items: Sequence[LabelledItem]) -> None:
        concepts = concepts_of(items)
        _write(self._folder / INDEX, pack(self._index(items, concepts)))
        _write(self._folder / CONCEPTS, json.dumps(concepts, ensure_ascii=False).encode())
        names = [INDEX, CONCEPTS, *(shard_name(n) for n in range(self._shard_number + 1))]
        files = {
            name: ((self._folder / name).stat().st_size, sha256_of_file(self._folder / name))
            for name in names
        }
        _write(self._folder / MANIFEST, Manifest(digest, files).to_json().encode())

    def _index(self, items: Sequence[LabelledItem], concepts: Sequence[str]) -> Iterator[Item]:
        """`items` are sorted, so those of a group lie side by side."""
        number = {concept: place for place, concept in enumerate(concepts)}
        group, before = -1, b""
        for place, item in enumerate(items):
            group += item.group != before
            before = item.group
            labels = tuple(sorted(number[name] for name in item.concepts))
            shard, offset, length = _PLACE.unpack(self._places[item.sha256])
            yield Item(
                place,
                labels,
                group,
                shard,
                offset,
                length,
                item.sha256,
                item.width,
                item.height,
                item.time_ms,
                item.boxes,
                tuple(sorted(number[name] for name in item.denied)) if item.is_partial else None,
            )

    def _appear(self, place: Path, split_digest: str) -> None:
        """Renames the directory to its digest, or adds to the equal one that is already there."""
        if place.exists():
            try:
                verify(place)
            except StoreCorruptError:
                self._replace_broken(place)
                return
        try:
            # Fails when a non-empty directory is there: also when another import was faster just
            # now.
            self._folder.rename(place)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            for name in (split_name(split_digest), REPORT):
                (self._folder / name).replace(place / name)
                sync_directory((place / name).parent)
        self._appeared(place)

    def _replace_broken(self, place: Path) -> None:
        """Puts the new directory in the place of one that is damaged, keeping its intact split
        files.
        """
        for path in sorted((place / "splits").glob("*.json")):
            kept = self._folder / "splits" / path.name
            if not kept.exists() and sha256_of_file(path) == path.stem:
                _write(kept, path.read_bytes())
        broken = self._folder.with_name(self._folder.name.replace(".import-", ".broken-", 1))
        place.rename(broken)
        self._folder.rename(place)
        self._appeared(place)
        shutil.rmtree(broken, ignore_errors=True)

    def _appeared(self, place: Path) -> None:
        # Only now: without the lock, the folder of a long import would look as if it were left.
        (place / LOCK).unlink(missing_ok=True)
        sync_directory(self._datasets)

    def _next_shard(self) -> None:
        self._close_shard(sync=True)
        self._shard_number += 1
        self._shard_offset = 0
        path = self._folder / shard_name(self._shard_number)
        with naming_full_disk(path, 0):
            self._shard = path.open("xb")
            path.chmod(_FILE_MODE)

    def _close_shard(self, *, sync: bool) -> None:
        shard, self._shard = self._shard, None
        if shard is None:
            return
        if not sync:
            with contextlib.suppress(OSError):
                shard.close()
            return
        with shard, naming_full_disk(self._folder, self._shard_offset):
            shard.flush()
            os.fsync(shard.fileno())


def _make_directory(path: Path) -> None:
    path.mkdir()
    # chmod, because the umask may have taken bits away; the set-group-ID bit that fsGroup relies on
    # stays.
    path.chmod(stat.S_IMODE(path.stat().st_mode) | _DIRECTORY_MODE)


def _write(path: Path, data: bytes) -> None:
    write_synced(path, data)
    path.chmod(_FILE_MODE)
