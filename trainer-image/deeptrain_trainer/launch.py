"""Several processes of one node: starts them, passes SIGTERM on, and ends with the code of the first that failed.

torchrun would make 1 of every exit code. What it says to its processes is said here in the same words: LOCAL_RANK, and
MASTER_PORT where they meet on this node.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from .failure import EXIT_PEER_LOST, EXIT_STOPPED, Failure
from .record import failed, write_record

LOCAL_RANK = "LOCAL_RANK"
MASTER_PORT = "MASTER_PORT"
# When one has failed, how long the others have to notice it by themselves.
NOTICE_SECONDS = 10.0
_POLL_SECONDS = 0.05
_SIGNALLED = 128
_TRAINER = [sys.executable, "-m", "deeptrain_trainer"]


def run_processes(
    count: int,
    arguments: list[str],
    record: Path,
    envelope: dict[str, Any],
    check_stop: Callable[[], None],
) -> int:
    """Runs the trainer `count` times with the same arguments. The exit code; leaves the record that goes with it.

    `check_stop` raises Stopped where a signal came before.
    """
    port = _free_port()
    processes: list[subprocess.Popen[bytes]] = []
    told = _pass_signals_on(processes)
    check_stop()
    with tempfile.TemporaryDirectory(prefix="deeptrain-") as folder:
        records = [Path(folder, f"record-{rank}.json") for rank in range(count)]
        for rank, path in enumerate(records):
            own = ["--record", str(path)]
            environment = {**os.environ, LOCAL_RANK: str(rank), MASTER_PORT: str(port)}
            processes.append(subprocess.Popen([*_TRAINER, *arguments, *own], env=environment))
        for number in told:  # some may have been started since
            _send(processes, number)
        rank, code = _deciding(_ended(processes), records)
        try:
            content = records[rank].read_bytes()
        except OSError:  # killed before it could write one
            write_record(record, envelope | failed(_killed(rank, code)))
        else:
            record.write_bytes(content)
        return code


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def _pass_signals_on(processes: list["subprocess.Popen[bytes]"]) -> list[int]:
    """From now on. The list tells the signals that came."""
    told: list[int] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        told.append(number)
        _send(processes, number)

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return told


def _send(processes: list["subprocess.Popen[bytes]"], number: int) -> None:
    for process in processes:
        process.send_signal(number)


def _ended(processes: list["subprocess.Popen[bytes]"]) -> list[tuple[int, int]]:
    """Local rank and exit code of all, in the order in which they ended."""
    ends: list[tuple[int, int]] = []
    running = dict(enumerate(processes))
    deadline: float | None = None
    while running:
        for rank, process in list(running.items()):
            code = process.poll()
            if code is None:
                continue
            del running[rank]
            ends.append((rank, code if code >= 0 else _SIGNALLED - code))
            if code not in (0, EXIT_STOPPED) and deadline is None:
                deadline = time.monotonic() + NOTICE_SECONDS
        if deadline is not None and time.monotonic() > deadline:
            for process in running.values():
                process.kill()
        time.sleep(_POLL_SECONDS)
    return ends


def _deciding(ends: list[tuple[int, int]], records: list[Path]) -> tuple[int, int]:
    """The first that failed for a reason of its own, not because another did; rank 0 where none did.

    Those that were stopped ended together, in no order that means anything: the lowest rank that left a record speaks
    for them. Who was told before it could listen has left none.
    """
    failures = [end for end in ends if end[1]]
    own = [end for end in failures if end[1] != EXIT_PEER_LOST]
    first = next(iter([*own, *failures]), (0, 0))
    if first[1] != EXIT_STOPPED:
        return first
    stopped = sorted(end for end in ends if end[1] == EXIT_STOPPED)
    return next((end for end in stopped if records[end[0]].exists()), stopped[0])


def _killed(rank: int, code: int) -> Failure:
    return Failure(
        "TrainingFailed",
        f"Process {rank} of this node ended with {code} and left no record"
        + (
            ": it was killed, most likely for want of memory. Raise spec.resources.memory."
            if code == 137
            else "."
        ),
    )
