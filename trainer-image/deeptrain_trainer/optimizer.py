"""The optimisers over four groups of parameters: base and the rest, with and without weight decay."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .models import BasedModel
from .run import Hyperparameters

MOMENTUM = 0.9
BETAS = (0.9, 0.999)
# Between the name of a parameter and the name of its buffer; neither holds it.
_OF = "#"


@dataclass(frozen=True)
class Recipe:
    """How a template's weights are updated where no weight_decay is written.

    SGD has Nesterov momentum; AdamW is Loshchilov and Hutter's (2017).
    """

    optimizer: Literal["SGD", "AdamW"]
    weight_decay: float
    # Gradients are scaled down to this Euclidean norm; None: left as they are.
    clip_norm: float | None = None


def build_optimizer(
    model: BasedModel, recipe: Recipe, hyperparameters: Hyperparameters
) -> torch.optim.Optimizer:
    """Each group's `multiplier` is its learning rate over the run's; biases and norms do not decay."""
    written = hyperparameters.weight_decay
    weight_decay = recipe.weight_decay if written is None else written
    base_multiplier = hyperparameters.base_gradient_multiplier
    of_base = {id(p) for p in model.base_parameters()}
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = []
    for is_base, multiplier in ((True, base_multiplier), (False, 1.0)):
        own = [p for p in trained if (id(p) in of_base) == is_base]
        matrices = [p for p in own if p.ndim > 1]
        vectors = [p for p in own if p.ndim <= 1]
        for parameters, decay in ((matrices, weight_decay), (vectors, 0.0)):
            if parameters:
                groups.append(
                    {"params": parameters, "weight_decay": decay, "multiplier": multiplier}
                )
    if recipe.optimizer == "AdamW":
        return torch.optim.AdamW(groups, lr=1.0, betas=BETAS, fused=True)
    return torch.optim.SGD(groups, lr=1.0, momentum=MOMENTUM, nesterov=True, fused=True)


def set_lrate(optimizer: torch.optim.Optimizer, lrate: float) -> None:
    """The run's learning rate for the next step."""
    for group in optimizer.param_groups:
        group["lr"] = lrate * group["multiplier"]


def optimizer_state(model: BasedModel, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's buffers (momentum, moments, step counts), named `<parameter>#<buffer>`."""
    buffers = {}
    for name, parameter in model.named_parameters():
        # Not [], which would make an entry.
        for buffer, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                buffers[f"{name}{_OF}{buffer}"] = value
    return buffers


def restore_optimizer(
    model: BasedModel, optimizer: torch.optim.Optimizer, buffers: dict[str, Tensor]
) -> None:
    """Puts the buffers back in the memory layout of their parameters: another one would round differently."""
    parameters = dict(model.named_parameters())
    for name, value in buffers.items():
        parameter_name, _, buffer = name.rpartition(_OF)
        parameter = parameters[parameter_name]
        if value.shape == parameter.shape:
            restored = torch.empty_like(parameter)
            restored.copy_(value)
        else:  # a step count
            restored = value.to(parameter.device)
        optimizer.state[parameter][buffer] = restored
