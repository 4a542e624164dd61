"""Runs the sides of a case, each in a process of its own, epoch by epoch in turn: whatever else the machine does, all
feel it. Only the one whose turn it is works."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from .case import OURS, R1, SIDES, Case, Race, Start, Turn

_SAMPLE_SECONDS = 0.25
_END_SECONDS = 30


class SideError(Exception):
    """A side's process ended before its time."""


class SideProcess:
    """One side, from its first import to its last epoch."""

    def __init__(self, name: str, case: Case) -> None:
        """Starts it and waits until it is ready."""
        self._name = name
        self.turns: list[Turn] = []
        self.peak_bytes = 0
        self._log = case.work / f"{name}.log"
        module = "ours" if name == OURS else "reference"
        given = json.dumps(replace(case, work=case.work / name).to_json())
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"bench.{module}", str(time.monotonic()), given, name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | environment(name, case),
            )
        with self._measured():
            self.start = Start(**self._answer())

    def turn(self) -> Turn:
        """Lets it make one epoch."""
        assert self._process.stdin is not None
        with self._measured():
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
            self.turns.append(Turn(**self._answer()))
        return self.turns[-1]

    def race(self) -> Race:
        """What came of it."""
        return Race(self.start, self.turns, self.peak_bytes)

    def end(self) -> None:
        """Ends the process: by itself when its input ends, else by force."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            log = self._log.read_text(errors="replace")[-2000:]
            raise SideError(f"{self._name} ended with {self._process.returncode}:\n{log}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    @contextmanager
    def _measured(self) -> Iterator[None]:
        """Samples the memory of the process and its workers while it is its turn."""
        over = threading.Event()

        def sample() -> None:
            while not over.wait(_SAMPLE_SECONDS):
                self.peak_bytes = max(self.peak_bytes, memory_bytes(self._process.pid))

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def environment(name: str, case: Case) -> dict[str, str]:
    """What a side's libraries are told: all the same but for huge pages, which ours chooses for itself."""
    told = {
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        "OMP_NUM_THREADS": str(case.threads),
    }
    if name == OURS:
        return told
    huge_pages = name == R1 and case.tuned_huge_pages
    return told | {"THP_MEM_ALLOC_ENABLE": str(int(huge_pages))}


def memory_bytes(pid: int) -> int:
    """Memory of a process and all below it, shared pages divided among those who share them. 0 where it is gone."""
    total = 0
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        if match := re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE):
            total = int(match[1]) * 1024
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return total
    return total + sum(memory_bytes(int(child)) for child in children)


def run_case(case: Case) -> dict[str, Race]:
    """The races of all sides. Raises SideError."""
    case.work.mkdir(parents=True, exist_ok=True)
    sides: dict[str, SideProcess] = {}
    try:
        for name in SIDES:
            sides[name] = SideProcess(name, case)
            print(f"  {name}: ready after {sides[name].start.seconds:.1f} s", file=sys.stderr)
        for number in range(case.epochs):
            order = SIDES[number % len(SIDES) :] + SIDES[: number % len(SIDES)]
            told = []
            for name in order:
                turn = sides[name].turn()
                told.append(f"{name} {turn.images_per_second:.1f} img/s top1 {turn.top1:.3f}")
            print(f"  round {number + 1}: {', '.join(sorted(told))}", file=sys.stderr)
        return {name: side.race() for name, side in sides.items()}
    finally:
        for side in sides.values():
            side.end()
