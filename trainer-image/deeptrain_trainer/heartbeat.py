"""Tells a process that a peer is gone where no connection broke: a node without power, a kernel that hangs.

Rank 0 hosts the store that all write their beats to; it watches all, and all watch it.
"""

import os
import threading
import time
from collections.abc import Callable

# torch.distributed has them under the same names, but not for mypy.
from torch._C._distributed_c10d import Store

from .failure import EXIT_PEER_LOST
from .report import log
from .share import Share

BEAT_SECONDS = 2.0
SILENCE_SECONDS = 60.0
# What a broken connection tells the main thread comes first, and leaves a record.
GRACE_SECONDS = 10.0
# Longer than the store waits for an answer.
END_SECONDS = 15.0


class Heartbeat:
    """A thread that ends the process with 44 when a peer has not been heard of for SILENCE_SECONDS."""

    def __init__(self, connect: Callable[[], Store], share: Share) -> None:
        """`connect` gives a connection to the store that nothing else uses."""
        self._connect = connect
        self._share = share
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="heartbeat", daemon=True)

    @staticmethod
    def first(store: Store, share: Share) -> None:
        """The first beat, before the others may look for it. `store`: the one of this attempt."""
        store.set(_key(share.rank), "0")

    def start(self) -> None:
        """Begins to beat and to watch."""
        self._thread.start()

    def stop(self) -> None:
        """The others may end from now on.

        Waits for the thread: one that came back from the store while an interpreter ends aborts the process.
        """
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(END_SECONDS)

    def _work(self) -> None:
        lost = self._watch()
        if lost is None or self._stopped.wait(GRACE_SECONDS):
            return
        log({"type": "peer-lost", "rank": self._share.rank, "problem": lost})
        os._exit(EXIT_PEER_LOST)

    def _watch(self) -> str | None:
        """What was lost; None once it is stopped."""
        share = self._share
        watched = [0] if share.rank else list(range(1, share.processes))
        heard: dict[int, tuple[bytes, float]] = {}
        beat = 0
        try:
            store = self._connect()
            while not self._stopped.wait(BEAT_SECONDS):
                beat += 1
                store.set(_key(share.rank), str(beat))
                now = time.monotonic()
                beats = store.multi_get([_key(rank) for rank in watched])
                for rank, value in zip(watched, beats, strict=True):
                    if rank not in heard or heard[rank][0] != value:
                        heard[rank] = (value, now)
                    elif now - heard[rank][1] > SILENCE_SECONDS:
                        return f"process {rank} has been silent for {SILENCE_SECONDS:g} s"
        except (RuntimeError, OSError) as error:
            return f"the store of process 0 is gone: {error}"
        return None


def _key(rank: int) -> str:
    return f"alive/{rank}"
