"""Modules that do on a share of a batch what others do on the whole of it: statistics and dropout.

Their names, parameters and buffers are those of the modules that they stand for.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from .models import BasedModel
from .share import Share


def share_modules(model: BasedModel, share: Share, device_type: str) -> None:
    """Makes the modules of a model whose answer depends on the other items of a batch see all of them.

    Batch-norm with frozen statistics stays: it does not look at the batch.
    """
    if share.processes == 1:
        return
    frozen: set[nn.Module] = set()
    if model.base_statistics_frozen:
        frozen = set(model.base.modules()) - set(model.new_in_base)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d) and child not in frozen:
                setattr(parent, name, _shared_norm(child, device_type))
            elif type(child) is nn.Dropout and child.p:
                setattr(parent, name, ShardedDropout(child.p, share))
            elif isinstance(child, StochasticDepth) and child.p:
                setattr(parent, name, ShardedStochasticDepth(child.p, child.mode, share))


def _shared_norm(norm: nn.BatchNorm2d, device_type: str) -> nn.Module:
    if device_type == "cuda":  # PyTorch's own has kernels for GPUs only
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)
        return converted
    shared = SharedBatchNorm2d(norm.num_features, norm.eps, norm.momentum, norm.affine)
    shared.weight, shared.bias = norm.weight, norm.bias
    for name, buffer in norm.named_buffers(recurse=False):
        setattr(shared, name, buffer)
    return shared


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch-norm over the items of all processes, which hold as many each, on any device."""

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, H, W] to the same; N is of this process."""
        if not self.training:
            unshared: Tensor = super().forward(input)
            return unshared
        x = input.float() if input.dtype.itemsize < 4 else input
        count = x.numel() // x.shape[1] * dist.get_world_size()
        variances, means = torch.var_mean(x, (0, 2, 3), correction=0)
        means, variances = _FromAll.apply(torch.stack([means, variances])).unbind(1)
        mean = means.mean(0)
        # Not of squares, which cancel where means are large.
        variance = variances.mean(0) + (means - mean).square().mean(0)
        self._move_statistics(mean.detach(), variance.detach() * count / max(1, count - 1))
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        shift = -mean * scale + (self.bias if self.affine else 0.0)
        normed: Tensor = x * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
        return normed.to(input.dtype)

    def _move_statistics(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:  # a cumulative average
            momentum = 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)


class _FromAll(torch.autograd.Function):
    """The values of all processes, [W, ...]. Every process's loss depends on them, so gradients are summed."""

    @staticmethod
    def forward(_context: Any, value: Tensor) -> Tensor:
        values = [torch.empty_like(value) for _ in range(dist.get_world_size())]
        dist.all_gather(values, value)
        return torch.stack(values)

    @staticmethod
    def backward(_context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        own: Tensor = total[dist.get_rank()]
        return own


class ShardedDropout(nn.Dropout):
    """Draws for the whole batch, from a generator that all processes seeded alike, and uses its own rows."""

    def __init__(self, p: float, share: Share) -> None:
        super().__init__(p)
        self._share = share

    def forward(self, input: Tensor) -> Tensor:
        """[N, ...] to the same; N is of this process."""
        if not self.training:
            return input
        return input * _own_rows(super().forward, input, input.shape, self._share)


class ShardedStochasticDepth(StochasticDepth):
    """As ShardedDropout, of whole items."""

    def __init__(self, p: float, mode: str, share: Share) -> None:
        super().__init__(p, mode)
        self._share = share

    def forward(self, input: Tensor) -> Tensor:
        """[N, ...] to the same; N is of this process."""
        if not self.training:
            return input
        # One number for each item: more dimensions of 1 keep the shape that the mode expects.
        shape = torch.Size([input.shape[0]] + [1] * (input.ndim - 1))
        return input * _own_rows(super().forward, input, shape, self._share)


def _own_rows(drop: Any, input: Tensor, shape: torch.Size, share: Share) -> Tensor:
    """What `drop` makes of ones for the whole batch: rank r has its rows r, r + W, ..."""
    whole = input.new_ones([shape[0] * share.processes, *shape[1:]])
    rows: Tensor = drop(whole)[share.rank :: share.processes]
    return rows
