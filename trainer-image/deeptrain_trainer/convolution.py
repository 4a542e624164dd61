"""Convolutions in bf16 whose gradients are made without barriers between threads.

oneDNN's bf16 gradient of the weights synchronises its threads by spinning, whatever OMP_WAIT_POLICY says. Where a
thread does not get its core at once, as on a node that others use too, the rest burn theirs for a time slice at each
barrier: measured with ResNet-18 on two contended cores, a backward pass took twelve times the CPU time of one thread.
Here the two gradients, of shares of the batch, are tasks of one thread each, and what they make is added in a fixed
order: the same bits however the threads are scheduled.
"""

from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .threads import one_threaded

_Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


class _Workers:
    """The threads that make gradients."""

    def __init__(self, threads: int) -> None:
        self.pool = one_threaded(threads, "gradient")
        # A gradient for the images and one for the weights of each share.
        self.shares = (threads + 1) // 2


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, conv: "SpinFreeConv2d") -> Tensor:
        """The very product of F.conv2d."""
        ctx.save_for_backward(images, weight)
        ctx.conv = conv
        return F.conv2d(images, weight, None, *conv.geometry)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> _Gradients:
        """Gradients of images and weights, by share and kind in threads of their own."""
        images, weight = ctx.saved_tensors
        workers = ctx.conv.workers
        shares = list(
            zip(images.chunk(workers.shares), gradients[0].chunk(workers.shares), strict=True)
        )

        def submit(kind: int) -> list["Future[Tensor]"]:
            if not ctx.needs_input_grad[kind]:
                return []
            return [
                workers.pool.submit(_gradient, kind, gradient, share, weight, ctx.conv.geometry)
                for share, gradient in shares
            ]

        of_images, of_weight = submit(0), submit(1)
        return _joined(of_images), _summed(of_weight), None


def _gradient(kind: int, gradient: Tensor, images: Tensor, weight: Tensor, geometry: Any) -> Tensor:
    """Of the images (kind 0) or of the weights (1)."""
    stride, padding, dilation, groups = geometry
    mask = [kind == 0, kind == 1, False]
    made = torch.ops.aten.convolution_backward(
        gradient, images, weight, None, stride, padding, dilation, False, [0, 0], groups, mask
    )
    result: Tensor = made[kind]
    return result


def _joined(shares: list["Future[Tensor]"]) -> Tensor | None:
    made = [share.result() for share in shares]
    return None if not made else made[0] if len(made) == 1 else torch.cat(made)


def _summed(shares: list["Future[Tensor]"]) -> Tensor | None:
    """In fp32, as one kernel over the whole batch does."""
    made = [share.result() for share in shares]
    if len(made) < 2:
        return made[0] if made else None
    total = made[0].float()
    for share in made[1:]:
        total += share
    return total.to(made[0].dtype)


class SpinFreeConv2d(nn.Conv2d):
    """As nn.Conv2d, except for training in bf16. Made of one by `spare_spinning`."""

    workers: _Workers

    @property
    def geometry(self) -> tuple[Any, Any, Any, int]:
        """Stride, padding, dilation and groups."""
        return self.stride, self.padding, self.dilation, self.groups

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        is_plain = not (torch.is_autocast_enabled("cpu") and torch.is_grad_enabled())
        if is_plain or self.padding_mode != "zeros":
            plain: Tensor = super()._conv_forward(input, weight, bias)
            return plain
        with torch.autocast("cpu", enabled=False):
            made: Tensor = _Convolution.apply(input.bfloat16(), weight.bfloat16(), self)
            return made if bias is None else made + bias.bfloat16()[:, None, None]


def spare_spinning(model: nn.Module, threads: int) -> None:
    """Lets the convolutions of a model that trains in bf16 on the CPU make their gradients without barriers.

    Its weights, its names and its outputs stay as they are. One thread has none to wait for.
    """
    convolutions = list(_plain_convolutions(model.modules()))
    if threads < 2 or not convolutions:
        return
    workers = _Workers(threads)
    for module in convolutions:
        module.__class__ = SpinFreeConv2d
        module.workers = workers


def _plain_convolutions(modules: Iterable[nn.Module]) -> Iterable[Any]:
    return (module for module in modules if type(module) is nn.Conv2d)
