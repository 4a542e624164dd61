"""All files of a classifier's evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .concepts import concept_files
from .confusion import confusion_files
from .curves import classifier_curves, curve_files
from .mistakes import mistake_files
from .picture import Pictures


def classifier_files(
    scores: NDArray[np.float32],
    truth: NDArray[np.bool_],
    rows: Sequence[Mapping[str, Any]],
    confusion: NDArray[np.int64] | None,
    pictures: Pictures,
    split: str,
) -> dict[str, bytes]:
    """The content of the files below `evaluation/`, by path. Nothing evaluated: no files.

    Args:
        scores: [N, C], 0 to 1.
        truth: [N, C].
        rows: A row for each concept, in order: `concept`, `support` and its metrics.
        confusion: [C, C], items of concept i taken for j; None where concepts overlap.
        pictures: The N items.
        split: What was evaluated, for the titles.
    """
    if len(scores) == 0:
        return {}
    names = [str(row["concept"]) for row in rows]
    where = f"{len(scores):,} items of the {split} split"
    files = concept_files(rows, f"{len(names):,} concepts, {where}")
    files |= curve_files(classifier_curves(scores, truth, rows), names, where.capitalize())
    if confusion is not None:
        files |= confusion_files(confusion, names)
    return files | mistake_files(scores, truth, names, confusion is not None, pictures)
