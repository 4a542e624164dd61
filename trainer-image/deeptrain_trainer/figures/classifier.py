"""All files of a classifier's evaluation."""

import numpy as np
from numpy.typing import NDArray

from ..metrics import ClassifierMetrics
from .concepts import concept_files
from .confusion import confusion_files
from .curves import classifier_curves, curve_files
from .mistakes import mistake_files
from .picture import Pictures


def classifier_files(
    scores: NDArray[np.float32],
    truth: NDArray[np.bool_],
    measured: ClassifierMetrics,
    pictures: Pictures,
    split: str,
    known: NDArray[np.bool_] | None = None,
) -> dict[str, bytes]:
    """The content of the files below `evaluation/`, by path. Nothing evaluated: no files.

    Args:
        scores: [N, C], 0 to 1.
        truth: [N, C].
        measured: The metrics of these scores; without confusion where concepts overlap.
        pictures: The N items.
        split: What was evaluated, for the titles.
        known: [N, C], whether the truth is known; None: everywhere.
    """
    if len(scores) == 0:
        return {}
    rows, exclusive = measured.concepts, bool(measured.confusion)
    names = [str(row["concept"]) for row in rows]
    where = f"{len(scores):,} items of the {split} split"
    files = concept_files(rows, f"{len(names):,} concepts, {where}")
    files |= curve_files(classifier_curves(scores, truth, rows, known), names, where.capitalize())
    if exclusive:
        files |= confusion_files(np.array(measured.confusion), names)
    return files | mistake_files(scores, truth, names, exclusive, pictures, known)
