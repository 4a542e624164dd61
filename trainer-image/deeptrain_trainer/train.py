"""The task `train`: from a run file to a published artifact."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from safetensors.torch import save

from .artifact import CONCEPTS, METRICS, document, publish, published_record
from .checkpoint import Checkpoint, Checkpoints
from .convolution import spare_spinning
from .device import choose_device
from .distributed import Processes, is_peer_loss, open_processes, peer_lost
from .engine import Training, restore_state, run_training
from .failure import Failure, Stopped
from .garbage import without_search
from .heap import Heap
from .learner import Evaluation
from .metrics import worst_by, worst_first
from .optimizer import build_optimizer
from .record import gated_values
from .report import Reporter, log
from .run import TrainRun
from .sharded import share_modules
from .share import Share, own_share
from .templates import bf16_on_cpu, open_learner

CHECKPOINTS = "checkpoints"
# Concepts in a report: the worst first.
MOST_CONCEPT_ROWS = 50


def train(run: TrainRun, reporter: Reporter, check_stop: Callable[[], None]) -> dict[str, Any]:
    """Trains, or goes on from the newest checkpoint, and publishes. The fields of the published record.

    A run whose artifact is there already only repeats its record. Raises Failure and Stopped.
    """
    share = own_share()
    processes = open_processes(run, share, check_stop)
    node_threads = run.threads
    run = replace(run, threads=max(1, run.threads // share.local_processes))
    agreed = False
    try:
        record = _train(run, reporter, check_stop, processes, node_threads)
        agreed = True
    except (Failure, Stopped) as end:
        # Whatever else ends one process alone is a surprise; it ends the others by closing its connections.
        agreed = not isinstance(end, Failure) or end.reason != "PeerLost"
        raise
    finally:
        processes.close(agreed=agreed)
    return record


def _train(
    run: TrainRun,
    reporter: Reporter,
    check_stop: Callable[[], None],
    processes: Processes,
    node_threads: int,
) -> dict[str, Any]:
    checkpoints = Checkpoints(run.output / CHECKPOINTS, run.inputs_hash)
    training: Training | None = None
    try:
        record = processes.from_first(lambda: _published(run, checkpoints))
        if record is not None:
            return record
        reporter.send({"type": "phase", "phase": "loading"})
        opened = training = prepare(run, reporter, check_stop, processes)
        resume(training)
        reporter.send({"type": "phase", "phase": "training"})
        run_training(training)
        return processes.from_first(lambda: _finish(opened, node_threads))
    except (Failure, Stopped, RuntimeError) as surprise:
        end = peer_lost(surprise) if is_peer_loss(surprise) else surprise
        if not isinstance(end, Failure | Stopped):
            raise
        # Until the training begins, what an earlier attempt left is on disk alone.
        saved = checkpoints.position() if training is None else training.saved
        if saved is not None:
            end.facts.setdefault("checkpoint", saved)
        raise end from surprise.__cause__


def _published(run: TrainRun, checkpoints: Checkpoints) -> dict[str, Any] | None:
    """The record of what an earlier attempt published."""
    try:
        record = published_record(run.output, run.inputs_hash, run.gated)
    except Failure as failure:  # damaged: trained again
        log({"type": "artifact-damaged", "problem": failure.message})
        return None
    if record is not None:
        # It may have been killed between publishing and this.
        checkpoints.remove()
    return record


def prepare(
    run: TrainRun,
    reporter: Reporter,
    check_stop: Callable[[], None],
    processes: Processes | None = None,
) -> Training:
    """Everything that training needs, as it is before the first step."""
    processes = processes or Processes(Share())
    share, bf16 = processes.share, bf16_on_cpu(run.template)
    device = processes.together(
        lambda: choose_device(run.gpus, run.threads, bf16, share.local_rank)
    )
    if processes.any(device.precision == "fp32"):  # nodes may differ
        device = replace(device, precision="fp32")
    learner = processes.together(lambda: open_learner(run, device, check_stop))
    processes.together(check_stop)
    model = learner.model
    share_modules(model, share, device.torch_device.type)
    model.to(device.torch_device).to(memory_format=torch.channels_last)
    if device.torch_device.type == "cpu" and device.precision == "bf16":
        spare_spinning(model, run.threads)
    with without_search():  # the first optimiser of a process imports PyTorch's compiler
        optimizer = build_optimizer(model, learner.recipe, run.hyperparameters)
    return Training(
        run=run,
        learner=learner,
        optimizer=optimizer,
        device=device,
        checkpoints=Checkpoints(run.output / CHECKPOINTS, run.inputs_hash),
        reporter=reporter,
        check_stop=check_stop,
        processes=processes,
        loss=processes.loss_of(learner),
        heap=Heap(learner.reserve_bytes),
    )


def resume(t: Training) -> None:
    """Restores the newest checkpoint, if there is one, and says where the training begins."""
    checkpoint = _newest_checkpoint(t)
    if checkpoint is not None:
        restore_state(t, checkpoint)
    t.reporter.send(
        {
            "type": "started",
            "epoch": t.state.epoch,
            "epochs": t.schedule.epochs,
            "step": t.state.step,
            "steps": t.schedule.steps,
            "threads": t.run.threads,
            "device": t.device.name,
            "precision": t.device.precision,
            **t.model.base_counts(),
        }
    )


def _newest_checkpoint(t: Training) -> Checkpoint | None:
    """What rank 0 read, so that all begin at the same step; the best weights stay with it."""
    whole: Checkpoint | None = None

    def load() -> Checkpoint | None:
        nonlocal whole
        whole = t.checkpoints.load()
        return None if whole is None else replace(whole, best={})

    told = t.processes.from_first(load)
    return whole or told


def _finish(t: Training, node_threads: int) -> dict[str, Any]:
    """Exports the best epoch, checks and evaluates what was exported, and publishes it.

    With all threads of the node: its other processes only wait.
    """
    run = t.run
    t.reporter.send({"type": "phase", "phase": "exporting"})
    model = t.model.cpu().to(memory_format=torch.contiguous_format)
    model.load_state_dict(t.best_weights)
    model.eval()
    if t.processes.share.local_processes > 1:
        t.learner.run = run = replace(run, threads=node_threads)
        torch.set_num_threads(node_threads)
    files = t.learner.export()
    t.check_stop()

    t.reporter.send({"type": "phase", "phase": "evaluating"})
    evaluation = t.learner.evaluate(files)
    rows = worst_rows(evaluation)
    t.reporter.send(
        {
            "type": "evaluation",
            "split": evaluation.split,
            "values": evaluation.values,
            "concepts": rows,
        }
    )

    t.reporter.send({"type": "phase", "phase": "publishing"})
    measured = {
        "split": evaluation.split,
        "values": evaluation.values,
        "items": evaluation.items,
    }
    facts = {
        "metrics": measured,
        "epochs": t.state.epoch,
        "steps": t.state.step,
        "bestEpoch": t.state.best_epoch,
        **model.base_counts(),
    }
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    files |= {
        "weights.safetensors": save(weights),
        CONCEPTS: document(run.concepts),
        METRICS: document(measured | _details(t, evaluation)),
        **evaluation.files,
    }
    identity = {
        "inputsHash": run.inputs_hash,
        "template": run.template,
        "templateRevision": run.template_revision,
        "image_size": run.hyperparameters.image_size,
        "logreg": run.hyperparameters.logreg,
    }
    artifact = publish(run.output, files, identity | evaluation.manifest | facts, run.attempt)
    t.checkpoints.remove()
    gated = gated_values(run.gated, run.concepts, evaluation.concepts)
    record = {"outcome": "published", "inputsHash": run.inputs_hash, "artifact": artifact}
    return {**record, **facts, **gated}


def _details(t: Training, evaluation: Evaluation) -> dict[str, Any]:
    """What `metrics.json` has beside the values of all."""
    return {
        "selectedBy": t.learner.selection_metric,
        "bestEpoch": t.state.best_epoch,
        "concepts": evaluation.concepts,
        "history": t.state.history,
        "warnings": evaluation.warnings,
    }


def worst_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Without those that could not be measured."""
    rows = evaluation.concepts
    worst = [rows[i] for i in worst_first(rows) if worst_by(rows) in rows[i]]
    return worst[:MOST_CONCEPT_ROWS]
