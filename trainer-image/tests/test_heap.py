"""What a training keeps of the memory of its steps. In processes of their own: the C library's heap is one for all."""

import json
import subprocess
import sys

STEPS = """
import json, re, sys
from pathlib import Path
import torch
from deeptrain_trainer import heap

def resident_megabytes():
    return int(re.search("Rss: +([0-9]+) kB", Path("/proc/self/smaps_rollup").read_text())[1]) / 1024

def step(blocks):
    [torch.zeros(10 << 20) for _ in range(blocks)]  # 40 MiB each

heap.LOOK_SECONDS = 0.0
begun = resident_megabytes()
limit, later = (int(megabytes) << 20 for megabytes in sys.argv[1:])
kept = heap.Heap(later, limit)
resident = []
for blocks in (4, 4, 4, 40, 4):
    step(blocks)
    kept.after_step()
    resident.append(resident_megabytes() - begun)
keeps = kept.keeps
kept.give_back()
print(json.dumps([keeps, resident, resident_megabytes() - begun]))
"""


def after_steps(limit_megabytes: int, later_megabytes: int = 0) -> tuple[bool, list[float], float]:
    """Whether memory was kept; MiB of it after steps of 160, 160, 160, 1,600 and 160 MiB, and after the training."""
    command = [sys.executable, "-c", STEPS, str(limit_megabytes), str(later_megabytes)]
    kept, resident, after = json.loads(subprocess.check_output(command, text=True).splitlines()[-1])
    return kept, resident, after


def test_memory_of_a_step_is_kept_for_the_next_and_given_back_in_the_end() -> None:
    kept, resident, after = after_steps(1 << 20)
    assert kept and resident[2] > 150 and resident[4] > 1500 and after < 30


def test_what_is_in_nobodys_use_is_given_back_near_the_limit() -> None:
    kept, resident, _ = after_steps(1400)
    assert kept and resident[2] > 150 and resident[3] < 30


def test_what_comes_later_has_its_place() -> None:
    kept, resident, _ = after_steps(3000, later_megabytes=1600)
    assert kept and resident[2] > 150 and resident[3] < 30
    kept, _, _ = after_steps(3000, later_megabytes=2800)
    assert not kept


def test_none_is_kept_where_it_might_not_fit() -> None:
    kept, resident, _ = after_steps(256)
    assert not kept and max(resident) < 30
