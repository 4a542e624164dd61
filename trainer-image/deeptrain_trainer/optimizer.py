"""SGD with Nesterov momentum over four groups of parameters: base and head, with and without weight decay."""

import torch
from torch import Tensor

from .models import Classifier

MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4


def build_optimizer(model: Classifier, base_multiplier: float) -> torch.optim.SGD:
    """Each group's `multiplier` is its learning rate over the run's; biases and norms do not decay."""
    groups = []
    for module, multiplier in ((model.base, base_multiplier), (model.head, 1.0)):
        trained = [p for p in module.parameters() if p.requires_grad]
        matrices = [p for p in trained if p.ndim > 1]
        vectors = [p for p in trained if p.ndim <= 1]
        for parameters, decay in ((matrices, WEIGHT_DECAY), (vectors, 0.0)):
            if parameters:
                groups.append(
                    {"params": parameters, "weight_decay": decay, "multiplier": multiplier}
                )
    return torch.optim.SGD(groups, lr=1.0, momentum=MOMENTUM, nesterov=True, fused=True)


def set_lrate(optimizer: torch.optim.SGD, lrate: float) -> None:
    """The run's learning rate for the next step."""
    for group in optimizer.param_groups:
        group["lr"] = lrate * group["multiplier"]


def momentum_of(model: Classifier, optimizer: torch.optim.SGD) -> dict[str, Tensor]:
    """The momentum buffers by the names of their parameters."""
    buffers = {}
    for name, parameter in model.named_parameters():
        buffer = (
            optimizer.state[parameter].get("momentum_buffer") if parameter.requires_grad else None
        )
        if buffer is not None:
            buffers[name] = buffer
    return buffers


def restore_momentum(
    model: Classifier, optimizer: torch.optim.SGD, buffers: dict[str, Tensor]
) -> None:
    """Puts the buffers back in the memory layout of their parameters: another one would round differently."""
    for name, parameter in model.named_parameters():
        if name in buffers:
            buffer = torch.empty_like(parameter)
            buffer.copy_(buffers[name])
            optimizer.state[parameter]["momentum_buffer"] = buffer
