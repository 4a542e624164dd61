"""Gradients in bf16 that no thread spins for: the same as PyTorch's own, and the same bits each time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from deeptrain_trainer.convolution import SpinFreeConv2d, spare_spinning


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, bias=False, groups=2),
        nn.Conv2d(16, 8, 1),
    ).to(memory_format=torch.channels_last)


def images(count: int = 10) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, 12, 12, generator=generator).requires_grad_()


def gradients(model: nn.Module, pixels: Tensor) -> list[Tensor]:
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(pixels)
    (out.float() ** 2).mean().backward()
    assert pixels.grad is not None
    found, pixels.grad = [pixels.grad], None
    return found + [p.grad.clone() for p in model.parameters() if p.grad is not None]


def largest_difference(a: list[Tensor], b: list[Tensor]) -> float:
    return max(((x - y).norm() / y.norm()).item() for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("count", [2, 3, 4])
def test_gradients_are_those_of_pytorch(count: int) -> None:
    with threads(count):
        model, pixels = network(), images()
        expected = gradients(model, pixels)
        spare_spinning(model, count)
        assert largest_difference(gradients(model, pixels), expected) < 0.01


def test_gradients_have_the_same_bits_each_time() -> None:
    with threads(4):
        model, pixels = network(), images()
        spare_spinning(model, 4)
        first = gradients(model, pixels)
        for _ in range(5):
            again = gradients(model, pixels)
            assert all(torch.equal(x, y) for x, y in zip(again, first, strict=True))


def test_a_batch_of_fewer_images_than_shares() -> None:
    with threads(4):
        model, pixels = network(), images(1)
        expected = gradients(model, pixels)
        spare_spinning(model, 4)
        assert largest_difference(gradients(model, pixels), expected) < 0.01


def test_the_threads_of_all_others_stay_as_many() -> None:
    with threads(3):
        spare_spinning(network(), 3)
        assert torch.get_num_threads() == 3


def test_weights_names_and_outputs_stay_as_they_are() -> None:
    with threads(2):
        model, pixels = network(), images()
        state, expected = dict(model.state_dict()), model(pixels)
        spare_spinning(model, 2)
        assert list(model.state_dict()) == list(state)
        assert torch.equal(model(pixels), expected)


def test_one_thread_needs_none_of_it() -> None:
    model = network()
    spare_spinning(model, 1)
    assert type(model[0]) is nn.Conv2d


def test_a_frozen_convolution_passes_its_gradient_on() -> None:
    with threads(2):
        model, pixels = network(), images()
        model[0].requires_grad_(False)
        spare_spinning(model, 2)
        assert len(gradients(model, pixels)) == 4  # the pixels' and those of three other tensors
        assert isinstance(model[0], SpinFreeConv2d)


def raised(work: Callable[[], object]) -> str:
    with pytest.raises(RuntimeError) as caught:
        work()
    return str(caught.value)


def test_an_error_of_a_thread_is_raised_where_it_is_waited_for() -> None:
    with threads(2):
        model = network()
        spare_spinning(model, 2)
        model[2].stride = (0, 0)
        assert "stride" in raised(lambda: gradients(model, images()))
