"""Samples videos in a process of its own, so that one that kills or hangs a decoder costs one item
only.

As a program (`python -m deeptrain_trainer.dataset.sampler <descriptor>`) it is that process: it
gets a video over a socket, writes its frames into a file, and answers where each is. The frames of
a video that turns out to be damaged at its end so never reach the store.
"""

import errno
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, NamedTuple

from .checker import Process
from .publish import naming_full_disk

_MODULE: Final = "deeptrain_trainer.dataset.sampler"
_PATIENCE_SECONDS: Final = 120.0
"""How long nothing may be heard of a video before its process is given up."""
_SIGN_SECONDS: Final = 2.0
_READY: Final = b"ready"
_ALIVE: Final = b"alive"


class SampledFrame(NamedTuple):
    """A frame of a video that was sampled."""

    time_ms: int
    width: int
    height: int
    sha256: bytes
    length: int


class Sampler:
    """The process and the file for its frames: `with Sampler(...) as sampler`."""

    def __init__(self, spool: Path, frames_per_second: float, module: str = _MODULE) -> None:
        """`spool` is a file that may be written and removed."""
        self._spool = spool
        self._frames_per_second = frames_per_second
        self._module = module
        self._process: Process | None = None

    def __enter__(self) -> "Sampler":
        """Begins nothing: the process begins with the first video."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process and removes the file."""
        if self._process is not None:
            self._process.end()
        self._spool.unlink(missing_ok=True)

    def sample(self, video: bytes) -> list[SampledFrame] | str:
        """The frames, in the order of their times; or what is wrong with the video."""
        if self._process is None:
            self._process = Process(self._module)
            if self._answer() != _READY:
                raise RuntimeError(f"the sampling process does not start: {self._process.end()}")
        order = {"spool": str(self._spool), "framesPerSecond": self._frames_per_second}
        try:
            self._process.connection.send_bytes(json.dumps(order).encode())
            self._process.connection.send_bytes(video)
            answer = self._answer()
        except OSError:
            answer = None
        if answer is None:
            how = self._process.end()
            self._process = None
            return f"the decoder did not survive it ({how})"
        found = json.loads(answer)
        if "errno" in found:
            with naming_full_disk(self._spool, len(video)):
                raise OSError(found["errno"], os.strerror(found["errno"]), str(self._spool))
        if "problem" in found:
            return str(found["problem"])
        return [
            SampledFrame(time_ms, width, height, bytes.fromhex(sha256), length)
            for time_ms, width, height, sha256, length in found["frames"]
        ]

    def read(self, frames: list[SampledFrame]) -> Iterator[tuple[SampledFrame, bytes]]:
        """The frames that `sample` told, each with its bytes."""
        with self._spool.open("rb") as file:
            for frame in frames:
                yield frame, file.read(frame.length)

    def _answer(self) -> bytes | None:
        """The next message that is more than a sign of life; None of a process that died or hangs."""
        assert self._process is not None
        connection = self._process.connection
        try:
            while connection.poll(_PATIENCE_SECONDS):
                message = connection.recv_bytes()
                if message != _ALIVE:
                    return message
        except (EOFError, OSError):
            pass
        return None


def serve(descriptor: int) -> None:
    """Answers videos until the parent closes the connection or dies."""
    with Connection(descriptor) as connection:
        connection.send_bytes(_READY)
        while True:
            try:
                order = json.loads(connection.recv_bytes())
                video = connection.recv_bytes()
            except (EOFError, OSError):
                return
            connection.send_bytes(json.dumps(_sampled(order, video, connection)).encode())


def _sampled(order: dict[str, object], video: bytes, connection: Connection) -> dict[str, object]:
    # FFmpeg takes long to load: only who samples needs it.
    from .video import InvalidVideoError, sampled_frames

    rows = []
    heard = time.monotonic()
    try:
        with Path(str(order["spool"])).open("wb") as spool:
            for frame in sampled_frames(video, float(str(order["framesPerSecond"]))):
                if time.monotonic() > heard + _SIGN_SECONDS:
                    connection.send_bytes(_ALIVE)
                    heard = time.monotonic()
                if frame is not None:
                    spool.write(frame.jpeg)
                    digest = hashlib.sha256(frame.jpeg).hexdigest()
                    rows.append((frame.time_ms, frame.width, frame.height, digest, len(frame.jpeg)))
    except InvalidVideoError as error:
        return {"problem": str(error)}
    except OSError as error:
        return {"errno": error.errno or errno.EIO}
    return {"frames": rows}


if __name__ == "__main__":
    serve(int(sys.argv[1]))
