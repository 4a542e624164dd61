"""The training loop. All that outlives a step is in `State`, the weights and the optimiser: a checkpoint has all of it.
All else is a pure function of the step."""

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from math import inf
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from .checkpoint import Checkpoint, Checkpoints
from .device import Device
from .distributed import Processes
from .failure import Failure, Stopped
from .heap import Heap
from .learner import Batch, Learner, Validation
from .models import BasedModel
from .optimizer import optimizer_state, restore_optimizer, set_lrate
from .order import derived_seed
from .report import Reporter, rounded
from .run import TrainRun
from .schedule import Schedule
from .speed import Speed
from .threads import one_threaded

CHECKPOINT_SECONDS = 300.0
REPORT_SECONDS = 3.0
# Short epochs end without a checkpoint while the last one is younger, or where all of them would take more than this
# share of the time: on a slow volume that is a long while.
SHORTEST_SAVE_SECONDS = 2.0
MOST_SAVE_SHARE = 0.05
# Non-finite steps running, and validation loss over the first one after warm-up, that mean divergence.
MOST_BAD_STEPS = 3
MOST_LOSS_GROWTH = 10.0
# The first loss after warm-up counts for this at least: from next to nothing it may grow, and still be small.
LEAST_REFERENCE_LOSS = 0.1


@dataclass
class State:
    """Where a training is. `epoch` counts closed epochs: evaluated, if that was due, and entered in the history."""

    step: int = 0
    epoch: int = 0
    epoch_loss: float = 0.0
    epoch_steps: int = 0
    bad_steps: int = 0
    best_value: float | None = None
    best_epoch: int = 0
    # Validation and training loss at the first evaluation after warm-up.
    reference_loss: float | None = None
    reference_training_loss: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Training:
    """The parts of one training. `check_stop` raises Stopped after a SIGTERM."""

    run: TrainRun
    learner: Learner
    optimizer: torch.optim.Optimizer
    device: Device
    checkpoints: Checkpoints
    reporter: Reporter
    check_stop: Callable[[], None]
    # All that train this model: each on its share of a batch.
    processes: Processes
    # The loss of this process's share; its gradients are the means over all processes.
    loss: Callable[[Batch], Tensor]
    heap: Heap
    state: State = field(default_factory=State)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    saved: dict[str, int] | None = None
    saved_at: float = 0.0
    # What the last checkpoint took.
    save_seconds: float = 0.0

    @property
    def model(self) -> BasedModel:
        """What is trained."""
        return self.learner.model

    @property
    def schedule(self) -> Schedule:
        """How long, and with which learning rates."""
        return self.learner.schedule


def run_training(t: Training) -> None:
    """Trains to the end. A checkpoint of the very step is left behind when it is stopped."""
    speed = Speed(t.run.hyperparameters.batch_size)
    try:
        with one_threaded(1, "batch") as loader:
            while not _is_over(t):
                began = time.monotonic()
                _train_epoch(t, speed, loader)
                point = _close_epoch(t, speed)
                seconds = rounded(time.monotonic() - began, 4)
                epoch = {**_position(t, speed), **point, "seconds": seconds}
                t.reporter.send({"type": "epoch", **epoch})
    except Stopped:
        save_state(t)
        raise
    finally:
        t.heap.give_back()


def _is_over(t: Training) -> bool:
    """After the last epoch, or sooner where early_stop_epochs says so."""
    metric = t.learner.selection_metric
    validations = {point["epoch"]: point.get("validation", {}) for point in t.state.history}
    measured = {epoch: each[metric] for epoch, each in validations.items() if metric in each}
    return t.schedule.is_over(t.state.epoch, measured)


def _train_epoch(t: Training, speed: Speed, loader: Executor) -> None:
    """Steps until the end of the epoch that `state` is in. `loader` makes a batch while another is trained on."""
    end = (t.state.epoch + 1) * t.schedule.steps_per_epoch
    if t.state.step == end:  # resumed between its last step and its evaluation
        return
    t.model.train()
    last_report = time.monotonic()
    t.saved_at = t.saved_at or last_report
    waiting = loader.submit(t.learner.load_batch, t.state.step)
    while t.state.step < end:
        _stop_together(t)
        began = time.monotonic()
        batch = waiting.result()
        if t.state.step + 1 < end:
            waiting = loader.submit(t.learner.load_batch, t.state.step + 1)
        loss = train_step(t, batch)
        now = time.monotonic()
        speed.step(now - began)
        t.heap.after_step()
        _judge(t, loss)
        if now - last_report >= REPORT_SECONDS and loss is not None:
            t.reporter.send({"type": "step", **_position(t, speed), **_rates(t, loss)})
            last_report = now
        if now - t.saved_at >= CHECKPOINT_SECONDS:
            save_state(t)


def _stop_together(t: Training) -> None:
    """Raises Stopped in all processes when one was told to stop: they end at the same step."""
    try:
        t.check_stop()
        stopped = False
    except Stopped:
        stopped = True
    if t.processes.any(stopped):
        raise Stopped


def train_step(t: Training, batch: Batch) -> float | None:
    """One update. The loss, or None where loss, gradient or statistics are not finite: then the model is as before."""
    set_lrate(t.optimizer, t.schedule.lrate_at(t.state.step))
    t.device.seed(derived_seed("dropout", t.run.seed, t.state.step))
    statistics = _moving_statistics(t.model)
    before = [buffer.clone() for buffer in statistics]
    loss = t.loss(batch)
    t.optimizer.zero_grad()
    loss.backward()
    loss = t.processes.mean(loss)
    trained = [p for p in t.model.parameters() if p.grad is not None]
    norm = get_total_norm([p.grad for p in trained if p.grad is not None])
    finite = torch.isfinite(loss) & torch.isfinite(norm)
    # The largest instead of the Euclidean norm: a variance may be large, but its square must not overflow.
    largest = get_total_norm([b for b in statistics if b.is_floating_point()], inf)
    finite &= torch.isfinite(largest)
    # Both at once: a GPU is waited for when a value is asked for.
    is_finite, value = torch.stack([finite.to(loss.dtype), loss.detach()]).tolist()
    t.state.step += 1
    if not is_finite:
        for buffer, kept in zip(statistics, before, strict=True):
            buffer.copy_(kept)
        return None
    if t.learner.recipe.clip_norm is not None:
        clip_grads_with_norm_(trained, t.learner.recipe.clip_norm, norm)
    t.optimizer.step()
    return float(value)


def _moving_statistics(model: nn.Module) -> list[Tensor]:
    """What a forward pass itself moves: batch-norm's statistics, where they are not frozen."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
    return [buffer for norm in norms for buffer in norm.buffers(recurse=False)]


def _judge(t: Training, loss: float | None) -> None:
    """Enters a step's loss; three that are not finite running mean divergence."""
    if loss is not None:
        t.state.epoch_loss += loss
        t.state.epoch_steps += 1
        t.state.bad_steps = 0
        return
    t.state.bad_steps += 1
    if t.state.bad_steps >= MOST_BAD_STEPS:
        raise _diverged(t, f"loss or gradient was not finite at {MOST_BAD_STEPS} steps running")


def _close_epoch(t: Training, speed: Speed) -> dict[str, Any]:
    """Evaluates where that is due, enters the epoch in the history, and writes a checkpoint. The history's point."""
    state, epoch = t.state, t.state.epoch + 1
    began = time.monotonic()
    # None where no step of it was finite.
    loss = state.epoch_loss / state.epoch_steps if state.epoch_steps else None
    point: dict[str, Any] = {"epoch": epoch, "lrate": rounded(t.schedule.lrate_at(state.step - 1))}
    if loss is not None:
        point["loss"] = rounded(loss)
    if t.schedule.evaluates_after(epoch) and t.learner.has_validation:
        point["validation"] = _evaluate(t, epoch, loss)
        speed.evaluation(time.monotonic() - began)
    elif epoch == t.schedule.epochs and not state.best_epoch:
        _keep_weights(t, epoch)  # nothing was ever evaluated: the last epoch is exported
    state.epoch, state.epoch_loss, state.epoch_steps = epoch, 0.0, 0
    state.history.append(point)
    pause = max(SHORTEST_SAVE_SECONDS, t.save_seconds / MOST_SAVE_SHARE)
    if _is_over(t) or time.monotonic() - t.saved_at >= min(pause, CHECKPOINT_SECONDS):
        save_state(t)
    return point


def _evaluate(t: Training, epoch: int, training_loss: float | None) -> dict[str, float]:
    """Metrics on the validation split; keeps the weights when they are the best so far, ties going to the later."""
    state = t.state
    t.model.eval()
    result = t.processes.from_first(lambda: _validate(t))
    if state.step > t.schedule.warmup_steps and training_loss is not None:
        _judge_validation(t, result.loss, training_loss)
    value = result.values.get(t.learner.selection_metric)
    if value is None or state.best_value is None or value >= state.best_value:
        state.best_value = value
        _keep_weights(t, epoch)
    return result.values


def _validate(t: Training) -> Validation:
    try:
        return t.learner.validate()
    except FloatingPointError as error:
        raise _diverged(t, "the scores of the validation split were not finite") from error


def _judge_validation(t: Training, loss: float, training_loss: float) -> None:
    """Divergence is a validation loss that exploded while the training loss rose too.

    Where only the first explodes, batch-norm statistics lag behind the weights: that passes within a few steps.
    """
    state = t.state
    if state.reference_loss is None:
        state.reference_loss, state.reference_training_loss = loss, training_loss
    reference = max(state.reference_loss, LEAST_REFERENCE_LOSS)
    exploded = not loss <= MOST_LOSS_GROWTH * reference  # NaN has exploded too
    if exploded and training_loss > state.reference_training_loss:
        raise _diverged(
            t,
            f"the validation loss {loss:.4g} is over {MOST_LOSS_GROWTH:g} times the first after warm-up, "
            f"{reference:.4g}, and the training loss rose",
        )


def _keep_weights(t: Training, epoch: int) -> None:
    t.state.best_epoch = epoch
    if t.processes.is_first:
        t.best_weights = {
            name: v.detach().cpu().clone() for name, v in t.model.state_dict().items()
        }


def _diverged(t: Training, what: str) -> Failure:
    lrate = t.schedule.lrate
    return Failure(
        "Diverged",
        f"Diverged at step {t.state.step}: {what}, with the learning rate {lrate:.6g}. "
        f"Set spec.hyperparameters.lrate to {lrate / 2:.6g} or lower, in place of any other spelling.",
    )


def save_state(t: Training) -> None:
    """Writes a checkpoint of the very step; rank 0 does it for all."""
    if not t.processes.is_first:
        return
    began = time.monotonic()
    state = asdict(t.state)
    step, best_epoch = state.pop("step"), state.pop("best_epoch")
    t.checkpoints.save(
        Checkpoint(
            step,
            state,
            {name: v.detach().cpu().contiguous() for name, v in t.model.state_dict().items()},
            {n: v.cpu().contiguous() for n, v in optimizer_state(t.model, t.optimizer).items()},
            {name: v.contiguous() for name, v in t.best_weights.items()},
            best_epoch,
            best_is_model=step == best_epoch * t.schedule.steps_per_epoch > 0,
        )
    )
    t.saved = {"epoch": t.state.epoch, "step": t.state.step}
    t.saved_at = time.monotonic()
    t.save_seconds = t.saved_at - began
    t.reporter.send({"type": "checkpoint", **t.saved})


def restore_state(t: Training, checkpoint: Checkpoint) -> None:
    """Goes on from a checkpoint, bit by bit as if nothing had happened."""
    t.state = State(step=checkpoint.step, best_epoch=checkpoint.best_epoch, **checkpoint.state)
    t.model.load_state_dict(checkpoint.model)
    restore_optimizer(t.model, t.optimizer, checkpoint.optimizer)
    t.best_weights = checkpoint.best
    t.saved = {"epoch": t.state.epoch, "step": t.state.step}


def _position(t: Training, speed: Speed | None = None) -> dict[str, Any]:
    position: dict[str, Any] = {
        "epoch": t.state.epoch,
        "epochs": t.schedule.epochs,
        "step": t.state.step,
        "steps": t.schedule.steps,
    }
    if speed is not None:
        step, is_over = t.state.step, _is_over(t)
        evaluates = t.learner.has_validation and not is_over
        evaluations = t.schedule.evaluations_after(step) if evaluates else 0
        position |= speed.report(0 if is_over else t.schedule.steps - step, evaluations)
    return position


def _rates(t: Training, loss: float) -> dict[str, float]:
    return {"loss": rounded(loss), "lrate": rounded(t.schedule.lrate_at(t.state.step - 1))}
