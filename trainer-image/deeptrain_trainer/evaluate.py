"""Evaluation: of the model in training, and of the exported graphs from the stored bytes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .augment import to_planes
from .data import LabelledItems
from .device import Device
from .loss import classification_loss
from .metrics import ClassifierMetrics, classifier_metrics
from .models import Classifier
from .pixels import Pixels

_BATCH = 128


@dataclass(frozen=True)
class Validation:
    """Metrics and the mean loss of a split."""

    metrics: ClassifierMetrics
    loss: float


@torch.no_grad()
def validate(
    model: Classifier,
    device: Device,
    pixels: Pixels,
    labelled: LabelledItems,
    names: list[str],
    logreg: bool,
    exclusive: bool,
    check_stop: Callable[[], None],
) -> Validation:
    """Evaluates the model in fp32, as it will be served. `check_stop` may raise to break it off.

    Raises FloatingPointError where a score is not finite: such weights have no metrics.
    """
    model.eval()
    scores, loss = [], 0.0
    for start in range(0, len(labelled), _BATCH):
        check_stop()
        indices = np.arange(start, min(start + _BATCH, len(labelled)))
        batch = torch.from_numpy(pixels.batch(indices)).to(device.torch_device)
        targets = torch.from_numpy(labelled.truth[indices]).float().to(device.torch_device)
        logits = model(to_planes(batch)).float()
        loss += classification_loss(logits, targets, logreg).item() * len(indices)
        scores.append(probabilities(logits, logreg).cpu().numpy())
    all_scores = np.concatenate(scores)
    if not np.isfinite(all_scores).all():
        raise FloatingPointError("scores are not finite")
    metrics = classifier_metrics(all_scores, labelled.truth, names, exclusive, softmax=not logreg)
    return Validation(metrics, loss / len(labelled))


def probabilities(logits: torch.Tensor, logreg: bool) -> torch.Tensor:
    """Scores from 0 to 1: sigmoid for logistic regression, else softmax."""
    return logits.sigmoid() if logreg else logits.softmax(1)


def exported_scores(
    run_model: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    pixels: Pixels,
    check_stop: Callable[[], None],
) -> NDArray[np.float32]:
    """Scores [items, C] of the exported model for pixels that the exported preprocess graph makes."""
    scores = []
    for start in range(0, len(pixels), _BATCH):
        check_stop()
        scores.append(run_model(pixels.batch(np.arange(start, min(start + _BATCH, len(pixels))))))
    return np.concatenate(scores)
