"""Which of a training's processes this one is, and so which items of each batch are its own.

Nothing here needs PyTorch. The words are those of torchrun: a rank is a process, a local rank one of its node.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .failure import Failure


@dataclass(frozen=True)
class Share:
    """Rank `rank` of `processes`. A training of one process is rank 0 of 1."""

    rank: int = 0
    processes: int = 1
    local_rank: int = 0
    local_processes: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process validates, exports, writes and reports for all."""
        return self.rank == 0


_own = Share()


def own_share() -> Share:
    """This process's share; of all the work until `take_share` says otherwise."""
    return _own


def take_share(share: Share) -> None:
    """Says which process this is, before anything is trained."""
    global _own  # noqa: PLW0603 - a process is one rank, as it has one process id
    _own = share


def local_processes(run: Mapping[str, Any]) -> int:
    """How many processes a run file wants on each node: one for each GPU, without GPUs one."""
    return max(1, int(run["gpus"])) if run["task"] == "train" else 1


def share_of(run: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Share:
    """The share that a run file, JOB_COMPLETION_INDEX (of an Indexed Job) and LOCAL_RANK name.

    Raises Failure(InputInvalid) where several nodes are to train and this one has no number.
    """
    if run["task"] != "train":
        return Share()
    nodes, local = int(run.get("nodes", 1)), local_processes(run)
    index = environment.get("JOB_COMPLETION_INDEX", "") if nodes > 1 else "0"
    if not index.isdecimal() or int(index) >= nodes:
        raise Failure(
            "InputInvalid",
            f"run file: nodes is {nodes}, but JOB_COMPLETION_INDEX is {index!r}: run it as an Indexed Job.",
        )
    local_rank = int(environment.get("LOCAL_RANK", "0"))
    return Share(int(index) * local + local_rank, nodes * local, local_rank, local)
