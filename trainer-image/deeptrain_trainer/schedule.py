"""How long the training is and how its learning rate goes: pure functions of the hyperparameters and the step."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, pi
from typing import Literal

from .run import Hyperparameters

MOST_WARMUP_STEPS = 500
WARMUP_SHARE = 0.05


@dataclass(frozen=True)
class Schedule:
    """Steps are counted from 0, epochs from 0 while they run."""

    epochs: int
    steps_per_epoch: int
    lrate: float
    init_epochs: int
    step_epochs: int
    test_freq: int
    # Epochs without a rise on the validation split after which the training ends; 0: it goes on to the last.
    early_stop_epochs: int = 0
    # What the rate is multiplied by at each drop.
    lrate_decay: float = 0.3
    # `step`: drops after init_epochs and then every step_epochs. `cosine`: half a wave down to 0, by the step.
    shape: Literal["step", "cosine"] = "step"

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return self.epochs * self.steps_per_epoch

    @property
    def warmup_steps(self) -> int:
        """Steps over which the learning rate rises linearly from nearly nothing."""
        return min(MOST_WARMUP_STEPS, int(self.steps * WARMUP_SHARE))

    def drops(self, epoch: int) -> int:
        """How often the learning rate has dropped when epoch `epoch` (from 0) runs."""
        if epoch < self.init_epochs:
            return 0
        return 1 + (epoch - self.init_epochs) // self.step_epochs

    def lrate_at(self, step: int) -> float:
        """The learning rate with which step `step` is made."""
        warmup = min(1.0, (step + 1) / (self.warmup_steps + 1))
        if self.shape == "cosine":
            return float(self.lrate * warmup * 0.5 * (1 + cos(pi * step / self.steps)))
        return float(
            self.lrate * warmup * self.lrate_decay ** self.drops(step // self.steps_per_epoch)
        )

    def evaluates_after(self, finished: int) -> bool:
        """Whether the validation split is evaluated when so many epochs are finished."""
        return finished % self.test_freq == 0 or finished == self.epochs

    def is_over(self, finished: int, measured: Mapping[int, float]) -> bool:
        """Whether so many epochs are enough. `measured`: the metric that chooses, by the epoch after which it was
        evaluated, in order; an equal value is no rise."""
        if finished >= self.epochs:
            return True
        if not self.early_stop_epochs or not measured:
            return False
        highest = max(measured, key=measured.__getitem__)  # the first of equal ones
        return max(measured) - highest >= self.early_stop_epochs

    def evaluations_after(self, step: int) -> int:
        """How many evaluations are still to come when `step` steps are done."""
        finished = step // self.steps_per_epoch
        return sum(self.evaluates_after(epoch) for epoch in range(finished + 1, self.epochs + 1))


def schedule_of(hyperparameters: Hyperparameters, training_items: int) -> Schedule:
    """An epoch is num_items_per_epoch items (0: the training split), rounded up to whole batches."""
    items = hyperparameters.num_items_per_epoch or training_items
    return Schedule(
        epochs=hyperparameters.num_epochs,
        steps_per_epoch=-(-items // hyperparameters.batch_size),
        lrate=hyperparameters.lrate,
        init_epochs=hyperparameters.init_epochs,
        step_epochs=hyperparameters.step_epochs,
        test_freq=hyperparameters.test_freq,
        early_stop_epochs=hyperparameters.early_stop_epochs,
        lrate_decay=hyperparameters.lrate_decay,
        shape=hyperparameters.lrate_schedule,
    )
