"""Threads beside the main one, in which PyTorch uses one thread each."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import torch


def one_threaded(threads: int, name: str) -> ThreadPoolExecutor:
    """`threads` threads, all begun; the caller's number of PyTorch's threads stays as it is."""
    pool = ThreadPoolExecutor(threads, name)
    together = Barrier(threads)
    # PyTorch keeps the number for each thread, and that of the newest for those to come.
    own = torch.get_num_threads()
    for started in [pool.submit(_use_one_thread, together) for _ in range(threads)]:
        started.result()
    torch.set_num_threads(own)
    return pool


def _use_one_thread(together: Barrier) -> None:
    torch.get_num_threads()  # without it the first operation would set the common number
    torch.set_num_threads(1)
    together.wait()  # or one thread would take all of these
