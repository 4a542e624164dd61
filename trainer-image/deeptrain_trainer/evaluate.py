"""Scores of a classifier, of its logits and of the exported graphs from the stored bytes, and what they are worth."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from .data import LabelledItems, RunData
from .metrics import ClassifierMetrics, classifier_metrics
from .order import evaluation_batches
from .pixels import Pixels
from .run import TrainRun
from .videos import video_metrics


def probabilities(logits: torch.Tensor, logreg: bool) -> torch.Tensor:
    """Scores from 0 to 1: sigmoid for logistic regression, else softmax."""
    return logits.sigmoid() if logreg else logits.softmax(1)


def exported_scores(
    run_model: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    pixels: Pixels,
    batch_size: int,
    check_stop: Callable[[], None],
) -> NDArray[np.float32]:
    """Scores [items, C] of the exported model for pixels that the exported preprocess graph makes."""
    scores = []
    for indices in evaluation_batches(len(pixels), batch_size):
        check_stop()
        scores.append(run_model(pixels.batch(indices)))
    return np.concatenate(scores)


def measure(
    run: TrainRun, data: RunData, scores: NDArray[np.float32], labelled: LabelledItems
) -> ClassifierMetrics:
    """Metrics of a classifier's scores [items, C]; where the items are frames, those of their videos too."""
    names, exclusive, softmax = run.concepts, data.exclusive, not run.hyperparameters.logreg
    known = labelled.known
    measured = classifier_metrics(scores, labelled.truth, names, exclusive, softmax, known)
    if not data.are_frames:
        return measured
    values, rows = video_metrics(scores, labelled.truth, labelled.items, names, exclusive, softmax)
    both = [frames | videos for frames, videos in zip(measured.concepts, rows, strict=True)]
    return replace(measured, values=values | measured.values, concepts=both)
