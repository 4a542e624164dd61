"""The heartbeat's end. What it watches is tested with real processes in test_distributed.py."""

import threading
from datetime import timedelta

import pytest
from torch._C._distributed_c10d import HashStore, Store

from deeptrain_trainer import heartbeat
from deeptrain_trainer.heartbeat import Heartbeat
from deeptrain_trainer.share import Share


class _SlowStore(Store):
    """Answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.answer = threading.Event(), threading.Event()
        self._values = HashStore()
        self._values.set_timeout(timedelta(seconds=1))

    def set(self, key: str, value: str) -> None:
        self.asked.set()
        self.answer.wait()
        self._values.set(key, value)


def test_it_has_ended_when_it_is_stopped_whatever_it_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thread that is in the store while the interpreter ends aborts the process."""
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)
    store = _SlowStore()
    beat = Heartbeat(lambda: store, Share(1, 2))
    beat.start()
    assert store.asked.wait(10)
    threading.Timer(0.3, store.answer.set).start()
    beat.stop()
    assert "heartbeat" not in {thread.name for thread in threading.enumerate()}


def test_one_that_never_began_is_stopped_at_once() -> None:
    Heartbeat(HashStore, Share(0, 2)).stop()
