"""SIGTERM as a flag that is looked at where stopping is safe."""

import signal
from types import FrameType

from .failure import Stopped


class StopFlag:
    """Set by SIGTERM and SIGINT from its creation on."""

    def __init__(self) -> None:
        self._is_set = False
        signal.signal(signal.SIGTERM, self._handle)
        signal.signal(signal.SIGINT, self._handle)

    def check(self) -> None:
        """Raises Stopped after a signal."""
        if self._is_set:
            raise Stopped

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        self._is_set = True
