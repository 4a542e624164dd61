"""Which device a process computes on, and how exactly. The tests have no GPU: PyTorch's answers are given."""

from collections.abc import Callable

import pytest
import torch

from deeptrain_trainer import distributed
from deeptrain_trainer.device import choose_device
from deeptrain_trainer.distributed import is_peer_loss
from deeptrain_trainer.failure import Failure
from deeptrain_trainer.share import Share

Cuda = Callable[..., None]


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    """Makes PyTorch see GPUs."""

    def see(count: int, capability: tuple[int, int] = (9, 0)) -> None:
        def has_bf16(including_emulation: bool = True) -> bool:
            return including_emulation or capability >= (8, 0)

        answers = {
            "is_available": lambda: count > 0,
            "device_count": lambda: count,
            "set_device": lambda _device: None,
            "get_device_name": lambda _device: "NVIDIA Test",
            "get_device_capability": lambda _device: capability,
            "is_bf16_supported": has_bf16,
        }
        for name, answer in answers.items():
            monkeypatch.setattr(torch.cuda, name, answer)

    return see


def test_each_process_has_a_gpu_of_its_own(cuda: Cuda) -> None:
    cuda(2)
    device = choose_device(2, 4, True, 1)
    assert device.torch_device == torch.device("cuda", 1)
    assert (device.name, device.precision) == ("NVIDIA Test", "bf16")
    assert device.evaluated_at_once == 128


def test_bf16_that_a_gpu_only_emulates_is_not_taken(cuda: Cuda) -> None:
    cuda(1, (7, 5))
    assert choose_device(1, 2, True).precision == "fp32"


def test_a_gpu_that_pytorch_has_no_kernels_for_is_named(cuda: Cuda) -> None:
    cuda(1, (7, 0))
    with pytest.raises(Failure, match=r"NVIDIA Test is too old .* 7\.5 .*spec\.scheduling"):
        choose_device(1, 2, True)


@pytest.mark.parametrize(("seen", "text"), [(0, "sees no GPU:"), (1, "sees 1 GPU:")])
def test_missing_gpus_are_named(cuda: Cuda, seen: int, text: str) -> None:
    cuda(seen)
    with pytest.raises(Failure, match=f"spec.resources.gpus is 2 but PyTorch {text}"):
        choose_device(2, 2, True)


@pytest.mark.parametrize(
    ("error", "is_loss"),
    [
        (RuntimeError("NCCL error: remote process exited or there was a network error"), True),
        (torch.distributed.DistBackendError("ncclRemoteError: connection closed"), True),
        (torch.distributed.DistBackendError("[1] store->get('0') got error: timed out"), True),
        (torch.distributed.DistBackendError("NCCL error: Duplicate GPU detected"), False),
        (torch.distributed.DistBackendError("ncclSystemError: No space left on device"), False),
        (torch.distributed.DistNetworkError("recv failed"), True),
        (RuntimeError("[gloo] Connection closed by peer"), True),
        (RuntimeError("CUDA out of memory"), False),
        (OSError("Connection reset by peer"), False),
    ],
)
def test_an_error_of_ones_own_is_not_the_loss_of_a_peer(
    monkeypatch: pytest.MonkeyPatch, error: Exception, is_loss: bool
) -> None:
    monkeypatch.setattr(distributed, "own_share", lambda: Share(rank=1, processes=2))
    assert is_peer_loss(error) == is_loss
