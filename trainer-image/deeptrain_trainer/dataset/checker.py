"""Checks images in processes of their own, so that a file that kills a decoder costs one item only.

As a program (`python -m deeptrain_trainer.dataset.checker <descriptor>`) it is one such process: it
gets batches of files over a socket and answers each with its verdicts; it ends when its parent
does.
"""

import contextlib
import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Final, Generic, NamedTuple, TypeVar

from .image import InvalidImageError, check_image, image_format

T = TypeVar("T")

_MODULE = "deeptrain_trainer.dataset.checker"
_READY: Final = b"ready"
_BATCH_FILES: Final = 64
_BATCH_BYTES: Final = 4 * 1024 * 1024
_PATIENCE_SECONDS: Final = 120.0
"""How long a batch may take before its process is given up: a decoder may hang as well as die."""
_END_SECONDS: Final = 0.5


class Verdict(NamedTuple):
    """What a check found."""

    sha256: bytes
    problem: str | None
    """None for a usable image."""
    is_image: bool
    """Whether the first bytes are those of an accepted format."""
    width: int = 0
    """Pixels of the upright picture; 0 where it cannot be used."""
    height: int = 0


class Checked(NamedTuple, Generic[T]):
    """A file that was checked."""

    key: T
    """Whatever the caller knows the file by."""
    data: bytes
    verdict: Verdict


def check(data: bytes) -> Verdict:
    """Decodes `data` wholly; a header alone proves nothing."""
    problem, width, height = None, 0, 0
    try:
        width, height = check_image(data)
    except InvalidImageError as error:
        problem = str(error)
    is_image = image_format(data) is not None
    return Verdict(hashlib.sha256(data).digest(), problem, is_image, width, height)


def check_all(
    files: Iterable[tuple[T, bytes]], processes: int, module: str = _MODULE
) -> Iterator[Checked[T]]:
    """Checks all files with `processes` processes; the order of the answers is not that of the
    files.

    Takes one batch for each process and one more ahead of its answers, so memory stays bounded.
    """
    workers: list[_Worker[T]] = []
    try:
        for batch in _batches(files):
            free = next((worker for worker in workers if worker.batch is None), None)
            # A process begins only when there is work for it: a small set, or a typo, needs few.
            if free is None and len(workers) < processes:
                free = _Worker(module)
                workers.append(free)
            while free is None:
                yield from _answers(workers)
                free = next((worker for worker in workers if worker.batch is None), None)
            free.give(batch)
        while any(worker.batch for worker in workers):
            yield from _answers(workers)
    finally:
        for worker in workers:
            worker.end()


def _batches(files: Iterable[tuple[T, bytes]]) -> Iterator[list[tuple[T, bytes]]]:
    batch: list[tuple[T, bytes]] = []
    size = 0
    for entry in files:
        batch.append(entry)
        size += len(entry[1])
        if len(batch) >= _BATCH_FILES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _answers(workers: "list[_Worker[T]]") -> Iterator[Checked[T]]:
    """The answers that arrive next, from whichever process."""
    busy = {worker.connection: worker for worker in workers if worker.batch}
    ready = wait(list(busy), _PATIENCE_SECONDS)
    for connection, worker in busy.items():
        # Nothing from anybody for so long: they all hang.
        if connection in ready or not ready:
            yield from worker.answers()


class Process:
    """A Python process that runs a module, with a connection to it. It ends when its parent does."""

    def __init__(self, module: str) -> None:
        """Begins `python -m <module> <descriptor of the connection>`."""
        self.connection, child = Pipe()
        with child:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(child.fileno())],
                pass_fds=[child.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": _python_path(), "OMP_NUM_THREADS": "1"},
            )

    def end(self) -> str:
        """Ends the process, if it has not ended; returns how it ended."""
        # Closed first, so that an idle process ends by itself, and a dying one keeps its own signal.
        self.connection.close()
        try:
            code = self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"


class _Worker(Generic[T]):
    """One checking process, begun again when it dies, and the batch that it has.

    It has one at a time, so that giving it the next never waits for a process that hangs.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self.batch: list[tuple[T, bytes]] | None = None
        self._begin()

    def _begin(self) -> None:
        self._is_ready = False
        self._process = Process(self._module)
        self.connection = self._process.connection

    def give(self, batch: list[tuple[T, bytes]]) -> None:
        self.batch = batch
        # When it has died, `answers` will notice.
        with contextlib.suppress(OSError):
            self.connection.send_bytes(_packed([data for _, data in batch]))

    def answers(self) -> Iterator[Checked[T]]:
        """The answer to the batch, or nothing yet. It died over it: each file alone."""
        message = self._receive()
        if not self._is_ready:
            if message != _READY:
                raise RuntimeError(f"the checking process does not start: {self.end()}")
            self._is_ready = True
            return
        batch, self.batch = self.batch or [], None
        if message is not None:
            for (key, data), (sha256, *found) in zip(batch, json.loads(message), strict=True):
                yield Checked(key, data, Verdict(bytes.fromhex(sha256), *found))
            return
        how = self.end()
        self._begin()
        if len(batch) == 1:
            key, data = batch[0]
            problem = f"the decoder did not survive it ({how})"
            yield Checked(key, data, Verdict(hashlib.sha256(data).digest(), problem, True))
            return
        for entry in batch:
            self.give([entry])
            while self.batch:
                self.connection.poll(_PATIENCE_SECONDS)
                yield from self.answers()

    def _receive(self) -> bytes | None:
        """The next message; None when the process is dead or hangs."""
        try:
            return self.connection.recv_bytes() if self.connection.poll(0) else None
        except (EOFError, OSError):
            return None

    def end(self) -> str:
        """Ends the process, if it has not ended; returns how it ended."""
        return self._process.end()


def _python_path() -> str:
    package_parent = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join([package_parent, *filter(None, [os.environ.get("PYTHONPATH")])])


def _packed(files: list[bytes]) -> bytes:
    lengths = struct.pack(f"<I{len(files)}Q", len(files), *map(len, files))
    return b"".join([lengths, *files])


def _unpacked(message: bytes) -> Iterator[bytes]:
    (count,) = struct.unpack_from("<I", message)
    lengths = struct.unpack_from(f"<{count}Q", message, 4)
    offset = 4 + 8 * count
    for length in lengths:
        yield message[offset : offset + length]
        offset += length


def serve(descriptor: int) -> None:
    """Answers batches until the parent closes the connection or dies."""
    with Connection(descriptor) as connection:
        connection.send_bytes(_READY)
        while True:
            try:
                message = connection.recv_bytes()
            except (EOFError, OSError):
                return
            verdicts = [check(data) for data in _unpacked(message)]
            answer = [(v.sha256.hex(), *v[1:]) for v in verdicts]
            connection.send_bytes(json.dumps(answer).encode())


if __name__ == "__main__":
    serve(int(sys.argv[1]))
