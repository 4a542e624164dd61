"""Several processes that train one model: how they meet, what they agree on, and how they end together.

Each trains on its share of every batch; DistributedDataParallel averages their gradients, so that all hold the same
weights at every step. Rank 0 alone validates, exports, writes and reports; the others wait for what came of it.
One process alone passes through here without a group, and without a difference.
"""

import os
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

# torch.distributed has them under the same names, but not for mypy.
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore
from torch.nn.parallel import DistributedDataParallel

from .failure import Failure, Stopped
from .heartbeat import Heartbeat
from .learner import Batch, Learner
from .report import log
from .run import TrainRun
from .share import Share, own_share

RENDEZVOUS_SECONDS = 600.0
_CONNECT_SECONDS = 5.0
# Rank 0 may validate and export for long; a peer that is gone is told by the heartbeat, not by this.
_COLLECTIVE_SECONDS = 24 * 3600.0
# How Gloo and the store say that the other end is gone, and how NCCL does: its other errors are of this process itself.
_LOST = ("closed by peer", "reset by peer", "broken pipe", "gloo", "timed out waiting")
_LOST_BY_NCCL = ("ncclremoteerror", "remote process", "aborted", "store->get")

T = TypeVar("T")


class Processes:
    """The processes of one training, as one of them sees them."""

    def __init__(self, share: Share, heartbeat: Heartbeat | None = None) -> None:
        self.share = share
        self._heartbeat = heartbeat

    @property
    def is_first(self) -> bool:
        """Whether this one works for all where one is enough."""
        return self.share.is_first

    def any(self, mine: bool) -> bool:
        """Whether it is so in any process; all get the same answer."""
        if self.share.processes == 1:
            return mine
        flag = torch.tensor(int(mine))
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag.item())

    def mean(self, value: Tensor) -> Tensor:
        """The mean over the processes, which hold as many items each; without a gradient."""
        if self.share.processes == 1:
            return value
        total = value.detach().clone()
        dist.all_reduce(total)
        return total / self.share.processes

    def from_first(self, work: Callable[[], T]) -> T:
        """Does the work in rank 0 alone. All get its result, its Failure, or its Stopped."""
        if self.share.processes == 1:
            return work()
        outcome: list[Any] = [_outcome(work) if self.is_first else None]
        dist.broadcast_object_list(outcome, src=0, device=torch.device("cpu"))
        result: T = _told(outcome[0])
        return result

    def together(self, work: Callable[[], T]) -> T:
        """Does the work in every process. Where one fails or is stopped all do, by the lowest rank's reason."""
        if self.share.processes == 1:
            return work()
        mine = _outcome(work)
        kinds: list[Any] = [None] * self.share.processes
        dist.all_gather_object(kinds, None if mine[0] == "value" else mine)
        for other in kinds:
            if other is not None:
                _told(other)
        result: T = mine[1]
        return result

    def loss_of(self, learner: Learner) -> Callable[[Batch], Tensor]:
        """The learner's loss; its gradients are averaged over the processes while they are computed."""
        if self.share.processes == 1:
            return learner.loss
        # Statistics are either frozen or equal in all processes: there is nothing to broadcast at each step.
        averaged: Callable[[Batch], Tensor] = DistributedDataParallel(
            _Loss(learner), forward_sync_buffers=False
        )
        return averaged

    def close(self, *, agreed: bool) -> None:
        """Ends the group. `agreed`: all processes end here, in the same way, and wait for one another."""
        if self.share.processes == 1:
            return
        try:
            if agreed:
                self.any(False)  # rank 0 may still be writing: until then all must be heard of
        except RuntimeError as error:  # another has ended before: that is as well
            log({"type": "group-closed", "problem": str(error)})
        if self._heartbeat is not None:
            self._heartbeat.stop()


def normaliser(count: Tensor, least: float = 1.0) -> Tensor:
    """What the sum of a loss over this process's items is divided by, where it is divided by a count.

    The mean over the processes is then the sum of all over the count of all, or over `least` where that is more.
    """
    share = own_share()
    if share.processes == 1:
        return count.clamp(min=least)
    total = count.detach().clone()
    dist.all_reduce(total)
    return total.clamp(min=least) / share.processes


def is_peer_loss(error: BaseException) -> bool:
    """Whether a collective broke off because another process is gone."""
    if own_share().processes == 1 or not isinstance(error, RuntimeError):
        return False
    text = str(error).lower()
    if "nccl" in text:
        return any(words in text for words in _LOST_BY_NCCL)
    return isinstance(error, dist.DistError) or any(words in text for words in _LOST)


def peer_lost(error: BaseException) -> Failure:
    """The failure of a process whose peer is gone."""
    share = own_share()
    return Failure(
        "PeerLost",
        f"Process {share.rank} of {share.processes} lost another one: {error}. "
        "The next attempt goes on from the last checkpoint.",
    )


def open_processes(run: TrainRun, share: Share, check_stop: Callable[[], None]) -> Processes:
    """Waits for all processes of the run. Raises Stopped, and Failure where they do not come or do not fit."""
    if share.processes == 1:
        return Processes(share)
    batch_size = run.hyperparameters.batch_size
    if batch_size % share.processes:
        below = batch_size - batch_size % share.processes
        nearest = " or ".join(str(n) for n in (below, below + share.processes) if n)
        raise Failure(
            "BatchNotDivisible",
            f"spec.hyperparameters.batch_size is {batch_size}, but {share.processes} processes share each batch: "
            f"set it to {nearest}.",
        )
    host, port = run.rendezvous or ("127.0.0.1", int(os.environ["MASTER_PORT"]))
    store = _meet(run, share, (host, port), check_stop)
    heartbeat = Heartbeat(lambda: _attempt_store(run, (host, port), is_host=False), share)
    heartbeat.start()
    # NCCL waits with the store's own timeout for what rank 0 tells of itself, at the first collective of a GPU.
    meeting = PrefixStore("group", store)
    meeting.set_timeout(timedelta(seconds=RENDEZVOUS_SECONDS))
    # NCCL's watchdog would abort this process, without a record, where a peer is gone: the heartbeat ends it with one.
    os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
    # Without a driver NCCL cannot even be asked for; choose_device says what is missing.
    has_nccl = run.gpus > 0 and torch.cuda.is_available()
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if has_nccl else "gloo",
            store=meeting,
            rank=share.rank,
            world_size=share.processes,
            timeout=timedelta(seconds=_COLLECTIVE_SECONDS),
        )
    except BaseException:
        heartbeat.stop()
        raise
    return Processes(share, heartbeat)


def _meet(
    run: TrainRun, share: Share, address: tuple[str, int], check_stop: Callable[[], None]
) -> Store:
    """The store that rank 0 hosts, once all have come."""
    deadline = time.monotonic() + RENDEZVOUS_SECONDS
    host, port = address
    came = 0
    store: Store | None = None
    while came < share.processes:
        check_stop()
        if time.monotonic() > deadline:
            raise Failure(
                "RendezvousTimedOut",
                f"After {RENDEZVOUS_SECONDS:g} s {came} of {share.processes} processes had come to {host}:{port}: "
                "look whether all pods of the Job could be scheduled.",
            )
        try:
            if store is None:
                store = _attempt_store(run, address, is_host=share.is_first)
                Heartbeat.first(store, share)
                came = store.add("came", 1)
            else:
                came = store.add("came", 0)
        except (RuntimeError, OSError) as error:
            if store is not None:
                raise peer_lost(error) from error
            log({"type": "rendezvous", "address": f"{host}:{port}", "problem": str(error)[:200]})
        if came < share.processes:
            time.sleep(0.2)
    assert store is not None
    return store


def _attempt_store(run: TrainRun, address: tuple[str, int], *, is_host: bool) -> Store:
    host, port = address
    if is_host:
        host = "127.0.0.1"  # its own name may not be known yet
    else:
        socket.getaddrinfo(host, port)  # nor that of rank 0: an OSError at once
    store = TCPStore(
        host,
        port,
        is_master=is_host,
        wait_for_workers=False,
        timeout=timedelta(seconds=_CONNECT_SECONDS),
    )
    return PrefixStore(f"attempt-{run.attempt}", store)


class _Loss(nn.Module):
    """A learner's loss as a module's output: DistributedDataParallel wants a module's forward to begin at."""

    def __init__(self, learner: Learner) -> None:
        super().__init__()
        self.model = learner.model
        self._learner = learner

    def forward(self, batch: Batch) -> Tensor:
        """The scalar loss."""
        return self._learner.loss(batch)


def _outcome(work: Callable[[], Any]) -> tuple[Any, ...]:
    """What came of the work, as it can be told to others. Surprises end this process, and with it the others."""
    try:
        return ("value", work())
    except Failure as failure:
        return ("failure", failure.reason, failure.message, failure.exit_code, failure.facts)
    except Stopped as stopped:
        return ("stopped", stopped.facts)


def _told(outcome: tuple[Any, ...]) -> Any:
    if outcome[0] == "failure":
        raise Failure(outcome[1], outcome[2], exit_code=outcome[3], **outcome[4])
    if outcome[0] == "stopped":
        raise Stopped(**outcome[1])
    return outcome[1]
