"""Where and how numbers are computed: threads, device, precision."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch

from .failure import Failure

# PyTorch's kernels are built for these GPUs and newer ones.
_LEAST_CAPABILITY = (7, 5)


@dataclass(frozen=True)
class Device:
    """`name` is `cpu` or the GPU's; `precision` is `fp32` or `bf16` (matrix products of the training steps only)."""

    torch_device: torch.device
    name: str
    precision: str

    def autocast(self) -> AbstractContextManager[None]:
        """Context for the forward pass of a training step."""
        enabled = self.precision == "bf16"
        return torch.autocast(self.torch_device.type, dtype=torch.bfloat16, enabled=enabled)

    @property
    def evaluated_at_once(self) -> int:
        """Most images of one forward pass in an evaluation: on a CPU more would leave the processor's caches."""
        return 16 if self.torch_device.type == "cpu" else 128

    def seed(self, seed: int) -> None:
        """Seeds what is random in a step: dropout.

        As torch.manual_seed, which also formats a stack for each kind of device that is absent: as long as a step.
        """
        torch.default_generator.manual_seed(seed)
        if self.torch_device.type == "cuda":
            torch.cuda.manual_seed(seed)


def choose_device(gpus: int, threads: int, bf16_on_cpu: bool, local_rank: int = 0) -> Device:
    """The CPU with exactly `threads` threads, or that of the pod's GPUs which is this process's."""
    torch.set_num_threads(threads)
    if gpus == 0:
        has_bf16 = bf16_on_cpu and _cpu_has_bf16()
        return Device(torch.device("cpu"), "cpu", "bf16" if has_bf16 else "fp32")
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if seen < gpus:
        raise Failure(
            "TrainingFailed",
            f"spec.resources.gpus is {gpus} but PyTorch sees {seen or 'no'} GPU{'s' if seen > 1 else ''}: "
            "check the node's driver and device plugin.",
        )
    torch.cuda.set_device(local_rank)
    name = torch.cuda.get_device_name(local_rank)[:128]
    if torch.cuda.get_device_capability(local_rank) < _LEAST_CAPABILITY:
        raise Failure(
            "TrainingFailed",
            f"The GPU {name} is too old for the trainer's PyTorch, which needs compute capability "
            f"{_LEAST_CAPABILITY[0]}.{_LEAST_CAPABILITY[1]} or newer: choose nodes with another one in "
            "spec.scheduling.nodeSelector.",
        )
    # Emulated, bf16 is many times slower than fp32.
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    precision = "bf16" if has_bf16 else "fp32"
    return Device(torch.device("cuda", local_rank), name, precision)


def _cpu_has_bf16() -> bool:
    """Whether bf16 matrix products are native; emulated ones are slower than fp32."""
    flags = set(Path("/proc/cpuinfo").read_text().split())
    return bool(flags & {"avx512_bf16", "amx_bf16"})
