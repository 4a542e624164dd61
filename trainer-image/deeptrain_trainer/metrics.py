"""Metrics of a classifier from its scores, by their names in api/metrics.ts. What has no support is absent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .garbage import without_search
from .report import rounded

Values = dict[str, float]
Truth = NDArray[np.bool_]


@dataclass(frozen=True)
class ClassifierMetrics:
    """`concepts` has a row for each concept, in order. `confusion[i][j]`: items of concept i that were taken for j."""

    values: Values
    concepts: list[dict[str, Any]]
    items: int
    confusion: list[list[int]] = field(default_factory=list)


def is_exclusive(truth: Truth) -> bool:
    """Whether each item shows exactly one concept."""
    return len(truth) > 0 and bool((truth.sum(1) == 1).all())


def selection_metric(exclusive: bool, of_videos: bool = False) -> str:
    """The metric that chooses the exported epoch; where the items are frames, that of their videos."""
    return ("video_" if of_videos else "") + ("top1" if exclusive else "macro_ap")


def worst_by(rows: Sequence[Mapping[str, Any]]) -> str:
    """By which metric concepts are compared: average precision, that of videos where there are any; else recall."""
    named = ("video_ap", "ap", "recall")
    return next((name for name in named if any(name in row for row in rows)), "ap")


def worst_first(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Places of the concepts' rows by rising `worst_by`; those without it come last."""
    metric = worst_by(rows)
    return sorted(
        range(len(rows)), key=lambda i: (metric not in rows[i], rows[i].get(metric, 0), i)
    )


def classifier_metrics(
    scores: NDArray[np.float32],
    truth: Truth,
    names: list[str],
    exclusive: bool,
    softmax: bool,
    known: Truth | None = None,
) -> ClassifierMetrics:
    """`scores` [N, C] in 0..1, `truth` [N, C]. `exclusive`: exactly one concept per item, all items alike.

    `known` [N, C]: whether the truth is known; what is not does not count. None: everywhere. Not where exclusive.
    """
    if len(scores) == 0:
        return ClassifierMetrics({}, [], 0)
    if exclusive:
        # The concept that is predicted is the one with the highest score.
        predicted = np.zeros_like(truth)
        predicted[np.arange(len(scores)), scores.argmax(1)] = True
    else:
        predicted = scores >= 0.5
        if known is not None:
            predicted &= known
    rows = _concept_rows(scores, truth, predicted, names, known)
    values: Values = {}
    for metric, column in (("macro_f1", "f1"), ("macro_ap", "ap"), ("macro_roc_auc", "roc_auc")):
        supported = [row[column] for row in rows if column in row]
        if supported:
            values[metric] = float(np.mean(supported))
    confusion: list[list[int]] = []
    if exclusive:
        values |= _ranking(scores, truth, softmax)
        confusion = _confusion(scores, truth)
    else:
        values.pop("macro_roc_auc", None)
        values |= _best_threshold(scores, truth, known)
    return ClassifierMetrics(_rounded(values), [_rounded(r) for r in rows], len(scores), confusion)


def _ranking(scores: NDArray[np.float32], truth: Truth, softmax: bool) -> Values:
    concept = truth.argmax(1)
    values = {"top1": float((scores.argmax(1) == concept).mean())}
    if scores.shape[1] > 5:
        five = np.argpartition(-scores, 4, axis=1)[:, :5]
        values["top5"] = float((five == concept[:, None]).any(1).mean())
    if softmax:  # sigmoid scores are no distribution over the concepts
        chosen = scores[np.arange(len(scores)), concept].astype(np.float64)
        values["log_loss"] = float(-np.log(np.maximum(chosen, 1e-12)).mean())
    return values


def _concept_rows(
    scores: NDArray[np.float32],
    truth: Truth,
    predicted: Truth,
    names: list[str],
    known: Truth | None,
) -> list[dict[str, Any]]:
    support, positives = truth.sum(0), predicted.sum(0)
    hits = (truth & predicted).sum(0)
    is_judged = _is_judged(truth, known)
    ap, roc_auc = _ranked(scores, truth, known)
    rows = []
    for c, name in enumerate(names):
        row: dict[str, Any] = {"concept": name}
        if positives[c] and (is_judged[c] or not support[c]):
            row["precision"] = float(hits[c] / positives[c])
        if support[c]:
            row["recall"] = float(hits[c] / support[c])
        if is_judged[c]:
            row["f1"] = float(2 * hits[c] / (support[c] + positives[c]))
            row["ap"] = ap[c]
            if c in roc_auc:
                row["roc_auc"] = roc_auc[c]
        row["support"] = int(support[c])
        rows.append(row)
    return rows


def _is_judged(truth: Truth, known: Truth | None) -> Truth:
    """Which concepts [C] have positives; and, where not all is known, negatives: else every score would be perfect."""
    supported: Truth = np.any(truth, axis=0)
    if known is None:
        return supported
    denied: Truth = np.any(known & ~truth, axis=0)
    return supported & denied


def _ranked(
    scores: NDArray[np.float32], truth: Truth, known: Truth | None
) -> tuple[dict[int, float], dict[int, float]]:
    """Average precision and area under the ROC curve of each concept that is judged (and has negatives).

    Of all concepts in one call each where all is known: a thousand calls take seconds at every evaluation.
    """
    with without_search():
        from sklearn.metrics import average_precision_score, roc_auc_score

    def of(measure: Any, chosen: Truth) -> dict[int, float]:
        if not chosen.any():
            return {}
        if known is not None:
            return {
                int(c): float(measure(truth[known[:, c], c], scores[known[:, c], c]))
                for c in np.flatnonzero(chosen)
            }
        # compress keeps the order in memory; of an index's transposed copy scikit-learn copies all for each concept.
        columns = np.compress(chosen, truth, axis=1), np.compress(chosen, scores, axis=1)
        values = np.atleast_1d(measure(*columns, average=None))
        return {int(c): float(v) for c, v in zip(np.flatnonzero(chosen), values, strict=True)}

    judged, everywhere = _is_judged(truth, known), np.all(truth, axis=0)
    return of(average_precision_score, judged), of(roc_auc_score, judged & ~everywhere)


def _confusion(scores: NDArray[np.float32], truth: Truth) -> list[list[int]]:
    concepts = truth.shape[1]
    pairs = truth.argmax(1) * concepts + scores.argmax(1)
    counts = np.bincount(pairs, minlength=concepts * concepts)
    table: list[list[int]] = counts.reshape(concepts, concepts).tolist()
    return table


def _best_threshold(scores: NDArray[np.float32], truth: Truth, known: Truth | None) -> Values:
    """The one threshold, in steps of .01, at which the mean F1 of the concepts is highest."""
    judged = _is_judged(truth, known)
    if not judged.any():
        return {}
    scores, truth = scores[:, judged], truth[:, judged]
    counted = np.ones_like(truth) if known is None else known[:, judged]
    concepts, thresholds = scores.shape[1], np.arange(1, 100) / 100
    # How many of the thresholds each score reaches; counted from the highest threshold down, these are the positives.
    reached = np.searchsorted(thresholds, scores.astype(np.float64), side="right")
    cells = reached * concepts + np.arange(concepts)
    positives, hits = (
        np.bincount(chosen, minlength=100 * concepts).reshape(100, concepts)[::-1].cumsum(0)[::-1]
        for chosen in (cells[counted], cells[truth])
    )
    f1 = (2 * hits / (truth.sum(0) + positives)).mean(1)[1:]
    return {"best_f1_threshold": float(thresholds[int(np.argmax(f1))])}


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {k: rounded(v) if isinstance(v, float) else v for k, v in row.items()}
