"""The embeddings of a dataset under one base: computed once, and shared by every model that uses both.

`<derived>/<hex digest of the base>-<image size>/` holds `base.onnx`, `embeddings.npy` (float32 [items, F], a row for
each item in the order of the index, whatever its split), `reference.npy` (what PyTorch makes of some of the items) and
`manifest.json`, which is written last and has the digests of all. They are made by the exported graphs under ONNX
Runtime: what a head is trained on is what it is served with.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .basegraph import EMBEDDING, BaseGraph, base_graph, base_image_size
from .dataset.index import Item
from .dataset.store import SPLITS, StoredDataset, hex_of, sha256_of_file
from .durable import sync_directory, write_synced
from .export import PARITY_IMAGES
from .failure import Failure
from .pixels import Pixels
from .preprocess import Preprocess, open_session
from .report import log
from .run import TrainRun

# A folder that is being made and was not written to for so long belongs to a process that is gone.
ABANDONED_SECONDS = 3600.0
# One that was written to since is waited for: its owner is at work.
FRESH_SECONDS = 60.0
_LOOK_SECONDS = 0.5
_FORMAT = 1
_MANIFEST = "manifest.json"
_GRAPH, _VECTORS, _REFERENCE = "base.onnx", "embeddings.npy", "reference.npy"
_MAKING = ".making-"
# Pictures that one thread embeds at a time: with more, their activations leave the processor's caches.
EMBEDDED_BATCH = 16
_LOG_SECONDS = 3.0
# The group owns the store too: pods get it through fsGroup, whatever their user is.
_DIRECTORY_MODE = 0o775
_FILE_MODE = 0o664


@dataclass(frozen=True)
class Embeddings:
    """`vectors` [items, F] has row i for the item of index i, as `graph` (base.onnx) makes it of `size` pixels.

    `references` [R, F] are PyTorch's for the items of the indices `compared`.
    """

    size: int
    graph: bytes
    vectors: NDArray[np.float32]
    compared: NDArray[np.int64]
    references: NDArray[np.float32]


def open_embeddings(
    run: TrainRun, dataset: StoredDataset, check_stop: Callable[[], None]
) -> Embeddings:
    """Those that are stored, else new ones, which are stored. `check_stop` may raise to break that off.

    Raises Failure: BaseUnavailable, BaseIncompatible; InputInvalid where the run file names no folder.
    """
    size = base_image_size(run.base)
    if run.derived == Path():
        raise Failure("InputInvalid", "run file: derived: a context-based classifier needs it.")
    folder = run.derived / f"{hex_of(run.base.digest)}-{size}"
    items = items_in_order(dataset)
    identity = {
        "format": _FORMAT,
        "base": run.base.digest,
        "dataset": dataset.digest,
        # The digest of a dataset says nothing of the order of its items.
        "items": hashlib.sha256(b"".join(item.sha256 for item in items)).hexdigest(),
    }
    known = _inode(folder)
    try:
        found = _load(folder, identity)
        log({"type": "embeddings-found", "items": len(found.vectors)})
        return found
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        log({"type": "embeddings-damaged", "path": str(folder), "problem": str(error)})
    pixels = Pixels(dataset, items, Preprocess(size), run.threads)
    with _place(folder) as making:
        if not _made_by_another(folder, known, identity, making, check_stop):
            log({"type": "embeddings-begun", "items": len(items)})
            (making / _GRAPH).touch()  # whoever looks sees somebody at work
            with _kept_fresh(making):
                base = base_graph(run.base)
                _make(making, identity, _Source(base, size, pixels, run.threads, check_stop))
            _appear(making, folder, identity)
    return _load(folder, identity)


@dataclass(frozen=True)
class _Source:
    """What embeddings are made of."""

    base: BaseGraph
    size: int
    pixels: Pixels
    threads: int
    check_stop: Callable[[], None]

    def vectors(self) -> Iterator[NDArray[np.float32]]:
        """Of all pictures, in order, some at a time."""
        # Whole batches in parallel: threads inside of an operator would wait for one another at each.
        session = open_session(self.base.graph, threads=1)

        def embed(start: int) -> NDArray[np.float32]:
            indices = range(start, min(start + EMBEDDED_BATCH, len(self.pixels)))
            found: NDArray[np.float32] = session.run(
                [EMBEDDING], {"pixels": self.pixels.batch(indices)}
            )[0]
            return found

        pool = ThreadPoolExecutor(self.threads)
        logged = time.monotonic()
        done = 0
        try:
            for found in pool.map(embed, range(0, len(self.pixels), EMBEDDED_BATCH)):
                self.check_stop()
                yield found
                done += len(found)
                if time.monotonic() - logged >= _LOG_SECONDS:
                    log({"type": "embedding", "done": done, "items": len(self.pixels)})
                    logged = time.monotonic()
        finally:
            pool.shutdown(cancel_futures=True)

    @torch.no_grad()
    def references(
        self, compared: NDArray[np.int64], found: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """PyTorch's embeddings; `found` are the graph's, which stand for them where it was proven before."""
        if self.base.module is None:
            return found
        batches = range(0, len(compared), EMBEDDED_BATCH)
        images = (self.pixels.batch(compared[start : start + EMBEDDED_BATCH]) for start in batches)
        return np.concatenate([self.base.module(torch.from_numpy(some)).numpy() for some in images])


def _load(folder: Path, identity: dict[str, Any]) -> Embeddings:
    """Raises OSError, ValueError, KeyError or TypeError where they are not there, not whole or of something else."""
    manifest = json.loads((folder / _MANIFEST).read_bytes())
    if {key: manifest[key] for key in identity} != identity:
        raise ValueError("it was made of something else")
    for name in (_GRAPH, _VECTORS, _REFERENCE):
        if sha256_of_file(folder / name) != manifest["files"][name]:
            raise ValueError(f"{name} is not what was written")
    return Embeddings(
        size=manifest["imageSize"],
        graph=(folder / _GRAPH).read_bytes(),
        vectors=np.load(folder / _VECTORS, mmap_mode="r"),
        compared=np.array(manifest["compared"], np.int64),
        references=np.load(folder / _REFERENCE),
    )


@contextlib.contextmanager
def _place(folder: Path) -> Iterator[Path]:
    """A new folder in which that one is made. It is removed at the end, if it still has its name."""
    derived = folder.parent
    derived.mkdir(parents=True, exist_ok=True)
    _sweep(derived)
    making = derived / f"{_MAKING}{folder.name}-{os.urandom(6).hex()}"
    making.mkdir()
    try:
        # chmod, because the umask may have taken bits away; the set-group-ID bit of the store stays.
        making.chmod(stat.S_IMODE(making.stat().st_mode) | _DIRECTORY_MODE)
        yield making
    finally:
        shutil.rmtree(making, ignore_errors=True)


@contextlib.contextmanager
def _kept_fresh(making: Path) -> Iterator[None]:
    """Says every few seconds that somebody is at work in the folder: what takes long may write nothing."""
    ended = threading.Event()

    def say() -> None:
        while not ended.wait(FRESH_SECONDS / 10):
            with contextlib.suppress(OSError):
                os.utime(making)

    speaker = threading.Thread(target=say, name="embeddings", daemon=True)
    speaker.start()
    try:
        yield
    finally:
        ended.set()
        speaker.join()


def _made_by_another(
    folder: Path,
    known: int | None,
    identity: dict[str, Any],
    making: Path,
    check_stop: Callable[[], None],
) -> bool:
    """Waits while another process makes the same, so that models which begin together embed once. Whether it is there.

    `known`: the inode of what is damaged there. Where two begin at the very same moment both may make it: for nothing,
    and harmlessly.
    """
    said = False
    while _is_being_made(making):
        check_stop()
        if not said:
            log({"type": "embeddings-awaited", "path": str(folder)})
            said = True
        time.sleep(_LOOK_SECONDS)
        if (inode := _inode(folder)) != known:
            if _is_whole(folder, identity):
                return True
            known = inode
    # It may have appeared between the last look and this one.
    return _inode(folder) != known and _is_whole(folder, identity)


def _inode(folder: Path) -> int | None:
    """Tells one folder of that name from the next; None where there is none."""
    with contextlib.suppress(OSError):
        return folder.stat().st_ino
    return None


def _is_whole(folder: Path, identity: dict[str, Any]) -> bool:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        _load(folder, identity)
        return True
    return False


def _is_being_made(mine: Path) -> bool:
    """Whether another process is at work on it, or has begun to and goes first by its name."""
    os.utime(mine)  # whoever waits for this one is not to take it for dead
    now = mine.stat().st_mtime  # by the clock of the store
    for other in mine.parent.glob(f"{mine.name.rpartition('-')[0]}-*"):
        if other == mine:
            continue
        with contextlib.suppress(OSError):
            files = list(other.iterdir())
            newest = max(path.stat().st_mtime for path in (other, *files))
            if now - newest < FRESH_SECONDS and (files or other.name < mine.name):
                return True
    return False


def _make(making: Path, identity: dict[str, Any], source: _Source) -> None:
    """Fills the folder."""
    count = len(source.pixels)
    compared = np.unique(np.linspace(0, count - 1, min(count, PARITY_IMAGES)).astype(np.int64))
    files = {
        _GRAPH: write_synced(making / _GRAPH, source.base.graph),
        _VECTORS: _write_rows(making / _VECTORS, source.vectors(), count),
    }
    found = np.load(making / _VECTORS, mmap_mode="r")[compared]
    np.save(making / _REFERENCE, source.references(compared, found))
    files[_REFERENCE] = write_synced(making / _REFERENCE, (making / _REFERENCE).read_bytes())
    manifest = {
        **identity,
        "imageSize": source.size,
        "compared": compared.tolist(),
        "files": files,
    }
    write_synced(making / _MANIFEST, json.dumps(manifest).encode())
    for path in making.iterdir():
        path.chmod(_FILE_MODE)
    sync_directory(making)


def _write_rows(path: Path, chunks: Iterator[NDArray[np.float32]], rows: int) -> str:
    """An .npy file of float32 [rows, F], written as its rows come; its SHA-256."""
    total = hashlib.sha256()
    with path.open("w+b") as file:
        for number, chunk in enumerate(chunks):
            if number == 0:
                shape = (rows, chunk.shape[1])
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
            file.write(np.ascontiguousarray(chunk, "<f4").tobytes())
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def _appear(making: Path, folder: Path, identity: dict[str, Any]) -> None:
    """Renames what was made to its name, unless somebody else was faster; what is damaged there is replaced."""
    if folder.exists():
        if _is_whole(folder, identity):
            return
        broken = making.with_name(f"{making.name}-broken")
        with contextlib.suppress(FileNotFoundError):  # another one replaces it too
            folder.rename(broken)
        shutil.rmtree(broken, ignore_errors=True)
    try:
        making.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    sync_directory(folder.parent)


def _sweep(derived: Path) -> None:
    """Removes what killed processes left half made."""
    for left in derived.glob(f"{_MAKING}*"):
        with contextlib.suppress(OSError):
            newest = max(path.stat().st_mtime for path in (left, *left.iterdir()))
            if time.time() - newest > ABANDONED_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def items_in_order(dataset: StoredDataset) -> list[Item]:
    """The items of all splits: the item of index i at i."""
    everything = (item for split in SPLITS for item in dataset.items(split))
    return sorted(everything, key=lambda item: item.index)


def rows_of(items: Sequence[Item]) -> NDArray[np.int64]:
    """The rows of `Embeddings.vectors` that belong to items."""
    return np.array([item.index for item in items], np.int64)
