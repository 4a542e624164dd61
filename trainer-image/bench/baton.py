"""How a side's process is led: it says when it is ready, waits for its turn before each epoch, says what came of it.

One JSON document a line: `start` and `turn` on standard output, an empty line on standard input for each turn.
"""

import json
import sys
import time
from dataclasses import asdict
from typing import Any

from .case import Start, Turn


class Baton:
    """The side's end. `began` is when its process was made, of the clock that all processes share."""

    def __init__(self, began: float) -> None:
        """Call it when all imports are done."""
        self._imported = time.monotonic()
        self._import_seconds = self._imported - began
        self._turn_began = self._train_ended = 0.0
        # Standard output is the baton's alone: what the trainer logs goes to standard error.
        self._said, sys.stdout = sys.stdout, sys.stderr

    def ready(self, device: str, precision: str) -> None:
        """All is opened; waits for the first turn."""
        prepare_seconds = time.monotonic() - self._imported
        self._say(asdict(Start(self._import_seconds, prepare_seconds, device, precision)))
        self._wait()

    def trained(self) -> None:
        """The steps of this epoch are made."""
        self._train_ended = time.monotonic()

    def finish(self, images: int, top1: float) -> None:
        """The epoch is over; waits for the next turn."""
        now = time.monotonic()
        train_seconds = self._train_ended - self._turn_began
        self._say(asdict(Turn(images, train_seconds, now - self._turn_began, top1)))
        self._wait()

    def _wait(self) -> None:
        """Ends the process when whoever leads it is gone, or wants no more of it."""
        if not sys.stdin.readline():
            sys.exit(0)
        self._turn_began = time.monotonic()

    def _say(self, document: dict[str, Any]) -> None:
        self._said.write(json.dumps(document) + "\n")
        self._said.flush()
