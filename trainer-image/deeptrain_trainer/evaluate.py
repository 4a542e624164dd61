"""Scores of a classifier: of its logits, and of the exported graphs from the stored bytes."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from .pixels import Pixels

_BATCH = 128


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
