"""The task `train`: from a run file to a published artifact."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .artifact import publish, published_record
from .checkpoint import Checkpoints
from .data import LabelledItems, RunData, open_data, validation_sample
from .device import Device, choose_device
from .engine import Training, restore_state, run_training
from .evaluate import exported_scores
from .export import PARITY_IMAGES, artifact_files, exported_model, model_graph, parity
from .failure import Failure, Stopped
from .metrics import ClassifierMetrics, classifier_metrics, selection_metric
from .models import Classifier, architecture_of, build_classifier
from .optimizer import build_optimizer
from .pixels import CACHE_SHARE, Pixels, memory_limit_bytes
from .preprocess import Preprocess
from .report import Reporter, log
from .run import TrainRun
from .schedule import schedule_of

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
        data = open_data(run)
        device = choose_device(run.gpus, run.threads, architecture_of(run.template).bf16_on_cpu)
        training = prepare(run, data, device, reporter, check_stop)
        resume(training)
        reporter.send({"type": "phase", "phase": "training"})
        run_training(training)
        return _finish(training, data)
    except (Failure, Stopped) as end:
        # Until the training begins, what an earlier attempt left is on disk alone.
        saved = checkpoints.position() if training is None else training.saved
        if saved is not None:
            end.facts.setdefault("checkpoint", saved)
        raise


def prepare(
    run: TrainRun,
    data: RunData,
    device: Device,
    reporter: Reporter,
    check_stop: Callable[[], None],
) -> Training:
    """Everything that training needs, as it is before the first step."""
    budget = int(CACHE_SHARE * memory_limit_bytes())
    preprocess = Preprocess(run.hyperparameters.image_size)

    def load(labelled: LabelledItems, bytes_left: int) -> Pixels:
        return Pixels(data.dataset, labelled.items, preprocess, run.threads, bytes_left, check_stop)

    pixels = load(data.train, budget)
    validation = validation_sample(run, data)
    validation_pixels = load(validation, budget - pixels.bytes if pixels.is_cached else budget)
    model = build_classifier(run).to(device.torch_device).to(memory_format=torch.channels_last)
    return Training(
        run=run,
        model=model,
        optimizer=build_optimizer(model, run.hyperparameters.base_gradient_multiplier),
        schedule=schedule_of(run.hyperparameters, len(data.train)),
        device=device,
        pixels=pixels,
        labelled=data.train,
        validation_pixels=validation_pixels,
        validation=validation,
        exclusive=data.exclusive,
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


def _finish(t: Training, data: RunData) -> dict[str, Any]:
    """Exports the best epoch, checks and evaluates what was exported, and publishes it."""
    run, size, logreg = t.run, t.run.hyperparameters.image_size, t.run.hyperparameters.logreg
    t.reporter.send({"type": "phase", "phase": "exporting"})
    model: Classifier = t.model.cpu().to(memory_format=torch.contiguous_format)
    model.load_state_dict(t.best_weights)
    model.eval()
    graph = model_graph(model, size, logreg, run.concepts)
    run_model = exported_model(graph, run.threads)
    t.check_stop()

    t.reporter.send({"type": "phase", "phase": "evaluating"})
    split, labelled = data.final_split
    # No budget: the final evaluation reads the stored bytes.
    pixels = Pixels(data.dataset, labelled.items, Preprocess(size), run.threads, 0, t.check_stop)
    sample = pixels if len(pixels) else t.pixels
    comparison = parity(
        model, logreg, run_model, sample.batch(np.arange(min(PARITY_IMAGES, len(sample))))
    )
    scores = (
        exported_scores(run_model, pixels, t.check_stop)
        if len(pixels)
        else np.empty((0, len(run.concepts)), np.float32)
    )
    measured = classifier_metrics(
        scores, labelled.truth, run.concepts, data.exclusive, softmax=not logreg
    )
    headline = {"split": split, "values": measured.values, "items": measured.items}
    t.reporter.send(
        {
            "type": "evaluation",
            "split": split,
            "values": measured.values,
            "concepts": _worst_first(measured),
        }
    )

    t.reporter.send({"type": "phase", "phase": "publishing"})
    facts = {
        "metrics": headline,
        "epochs": t.schedule.epochs,
        "steps": t.schedule.steps,
        "bestEpoch": t.state.best_epoch,
    }
    documents = _documents(t, headline, measured, comparison)
    files = artifact_files(model, graph, size, documents)
    identity = {
        "inputsHash": run.inputs_hash,
        "template": run.template,
        "templateRevision": run.template_revision,
        "image_size": size,
        "logreg": logreg,
    }
    artifact = publish(run.output, files, identity | facts, run.attempt)
    t.checkpoints.remove()
    return {"outcome": "published", "inputsHash": run.inputs_hash, "artifact": artifact, **facts}


def _documents(
    t: Training, headline: dict[str, Any], measured: ClassifierMetrics, comparison: dict[str, Any]
) -> dict[str, Any]:
    """The artifact's JSON files."""
    documents: dict[str, Any] = {
        "concepts.json": t.run.concepts,
        "metrics.json": {
            **headline,
            "selectedBy": selection_metric(t.exclusive),
            "bestEpoch": t.state.best_epoch,
            "concepts": measured.concepts,
            "history": t.state.history,
        },
        "parity.json": comparison,
    }
    if measured.confusion:
        documents["confusion.json"] = {
            "concepts": t.run.concepts,
            "rows": "truth",
            "columns": "predicted",
            "counts": measured.confusion,
        }
    return documents


def _worst_first(measured: ClassifierMetrics) -> list[dict[str, Any]]:
    supported = [row for row in measured.concepts if "ap" in row]
    return sorted(supported, key=lambda row: float(row["ap"]))[:MOST_CONCEPT_ROWS]
