"""The task `train`: from a run file to a published artifact."""

from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import save

from .artifact import document, publish, published_record
from .checkpoint import Checkpoints
from .device import choose_device
from .engine import Training, restore_state, run_training
from .failure import Failure, Stopped
from .learner import Evaluation
from .optimizer import build_optimizer
from .report import Reporter, log
from .run import TrainRun
from .templates import bf16_on_cpu, open_learner

CHECKPOINTS = "checkpoints"
# Concepts in a report: the worst first.
MOST_CONCEPT_ROWS = 50


def train(run: TrainRun, reporter: Reporter, check_stop: Callable[[], None]) -> dict[str, Any]:
    """Trains, or goes on from the newest checkpoint, and publishes. The fields of the published record.

    A run whose artifact is there already only repeats its record. Raises Failure and Stopped.
    """
    try:
        record = published_record(run.output, run.inputs_hash)
    except Failure as failure:  # damaged: trained again
        log({"type": "artifact-damaged", "problem": failure.message})
        record = None
    checkpoints = Checkpoints(run.output / CHECKPOINTS, run.inputs_hash)
    if record is not None:
        # It may have been killed between publishing and this.
        checkpoints.remove()
        return record
    training: Training | None = None
    try:
        reporter.send({"type": "phase", "phase": "loading"})
        training = prepare(run, reporter, check_stop)
        resume(training)
        reporter.send({"type": "phase", "phase": "training"})
        run_training(training)
        return _finish(training)
    except (Failure, Stopped) as end:
        # Until the training begins, what an earlier attempt left is on disk alone.
        saved = checkpoints.position() if training is None else training.saved
        if saved is not None:
            end.facts.setdefault("checkpoint", saved)
        raise


def prepare(run: TrainRun, reporter: Reporter, check_stop: Callable[[], None]) -> Training:
    """Everything that training needs, as it is before the first step."""
    device = choose_device(run.gpus, run.threads, bf16_on_cpu(run.template))
    learner = open_learner(run, device, check_stop)
    learner.model.to(device.torch_device).to(memory_format=torch.channels_last)
    multiplier = run.hyperparameters.base_gradient_multiplier
    return Training(
        run=run,
        learner=learner,
        optimizer=build_optimizer(learner.model, learner.recipe, multiplier),
        device=device,
        checkpoints=Checkpoints(run.output / CHECKPOINTS, run.inputs_hash),
        reporter=reporter,
        check_stop=check_stop,
    )


def resume(t: Training) -> None:
    """Restores the newest checkpoint, if there is one, and says where the training begins."""
    checkpoint = t.checkpoints.load()
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
        }
    )


def _finish(t: Training) -> dict[str, Any]:
    """Exports the best epoch, checks and evaluates what was exported, and publishes it."""
    run = t.run
    t.reporter.send({"type": "phase", "phase": "exporting"})
    model = t.model.cpu().to(memory_format=torch.contiguous_format)
    model.load_state_dict(t.best_weights)
    model.eval()
    files = t.learner.export()
    t.check_stop()

    t.reporter.send({"type": "phase", "phase": "evaluating"})
    evaluation = t.learner.evaluate(files)
    rows = _worst_first(evaluation)
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
        "epochs": t.schedule.epochs,
        "steps": t.schedule.steps,
        "bestEpoch": t.state.best_epoch,
    }
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    metrics = {
        **measured,
        "selectedBy": t.learner.selection_metric,
        "bestEpoch": t.state.best_epoch,
        "concepts": evaluation.concepts,
        "history": t.state.history,
        "warnings": evaluation.warnings,
    }
    files |= {
        "weights.safetensors": save(weights),
        "concepts.json": document(run.concepts),
        "metrics.json": document(metrics),
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
    return {"outcome": "published", "inputsHash": run.inputs_hash, "artifact": artifact, **facts}


def _worst_first(evaluation: Evaluation) -> list[dict[str, Any]]:
    """By average precision, of embedders by recall."""
    supported = [row for row in evaluation.concepts if "ap" in row or "recall" in row]
    worst = sorted(supported, key=lambda row: float(row["ap"] if "ap" in row else row["recall"]))
    return worst[:MOST_CONCEPT_ROWS]
