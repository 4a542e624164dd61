"""Metrics by their names; what has no support is absent."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
    top_k_accuracy_score,
)
from sklearn.metrics import confusion_matrix as reference_confusion

from deeptrain_trainer.metrics import (
    ClassifierMetrics,
    classifier_metrics,
    is_exclusive,
    selection_metric,
)

NAMES = ["a", "b", "c"]


def measured(
    scores: list[list[float]], truth: list[list[int]], exclusive: bool, softmax: bool = False
) -> ClassifierMetrics:
    return classifier_metrics(
        np.array(scores, np.float32), np.array(truth, np.bool_), NAMES, exclusive, softmax
    )


# Right, right, wrong (b for a), right.
EXCLUSIVE = (
    [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.5, 0.2], [0.2, 0.2, 0.6]],
    [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]],
)


def test_exclusive_concepts() -> None:
    result = measured(*EXCLUSIVE, exclusive=True, softmax=True)
    assert result.items == 4
    assert result.values["top1"] == 0.75
    assert "top5" not in result.values  # of three concepts five say nothing
    assert result.values["log_loss"] == pytest.approx(
        -np.mean(np.log([0.7, 0.6, 0.3, 0.6])), rel=1e-5
    )
    rows = {row["concept"]: row for row in result.concepts}
    assert rows["a"] == {
        "concept": "a",
        "precision": 1.0,
        "recall": 0.5,
        "f1": pytest.approx(2 / 3, rel=1e-5),
        "ap": 1.0,
        "roc_auc": 1.0,
        "support": 2,
    }
    assert rows["b"]["precision"] == 0.5
    assert result.values["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3, rel=1e-5)
    assert result.confusion == [[1, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert set(result.values) == {"top1", "macro_f1", "macro_ap", "macro_roc_auc", "log_loss"}


def test_sigmoid_scores_of_exclusive_concepts_have_no_log_loss() -> None:
    result = measured(*EXCLUSIVE, exclusive=True)
    assert "log_loss" not in result.values and result.values["top1"] == 0.75


def test_top5_of_more_than_five_concepts() -> None:
    scores = np.tile(np.linspace(0.9, 0.1, 8, dtype=np.float32), (8, 1))
    result = classifier_metrics(scores, np.eye(8, dtype=np.bool_), [*"abcdefgh"], True, False)
    assert result.values["top1"] == 1 / 8 and result.values["top5"] == 5 / 8


def test_overlapping_concepts() -> None:
    scores = [[0.9, 0.3, 0.1], [0.8, 0.45, 0.1], [0.1, 0.1, 0.2]]
    result = measured(scores, [[1, 0, 0], [1, 1, 0], [0, 0, 0]], exclusive=False)
    assert set(result.values) == {"macro_f1", "macro_ap", "best_f1_threshold"}
    # At .5 b is never predicted: f1 of a is 1, of b 0; c has no support.
    assert result.values["macro_f1"] == 0.5
    assert result.values["best_f1_threshold"] == pytest.approx(0.31)
    assert result.confusion == []
    assert "precision" not in result.concepts[1]
    assert result.concepts[2] == {"concept": "c", "support": 0}


def test_what_is_not_known_is_not_measured() -> None:
    generator = np.random.default_rng(3)
    truth, known = generator.random((80, 3)) < 0.4, generator.random((80, 3)) < 0.6
    truth &= known
    scores = (generator.random((80, 3)) * 0.6 + truth * 0.3).astype(np.float32)
    result = classifier_metrics(scores, truth, NAMES, False, False, known)
    alone = [
        classifier_metrics(scores[k, c : c + 1], truth[k, c : c + 1], [NAMES[c]], False, False)
        for c, k in enumerate(known.T)
    ]
    assert result.concepts == [each.concepts[0] for each in alone]
    for name in ("macro_f1", "macro_ap"):
        assert result.values[name] == pytest.approx(
            np.mean([a.values[name] for a in alone]), rel=1e-4
        )
    f1 = [
        np.mean([f1_score(truth[k, c], scores[k, c] >= t) for c, k in enumerate(known.T)])
        for t in np.arange(1, 100) / 100
    ]
    best = round(100 * result.values["best_f1_threshold"]) - 1
    assert f1[best] == pytest.approx(max(f1))


def test_a_concept_of_which_only_positives_are_known_is_not_judged() -> None:
    truth = np.array([[1, 1], [1, 0], [0, 1]], np.bool_)
    known = np.array([[1, 1], [1, 1], [0, 1]], np.bool_)
    scores = np.array([[0.9, 0.9], [0.4, 0.1], [0.1, 0.8]], np.float32)
    first, second = classifier_metrics(scores, truth, ["a", "b"], False, False, known).concepts
    # Whatever the scores were, precision would be 1.
    assert first == {"concept": "a", "recall": 0.5, "support": 2}
    assert second["ap"] == 1 and second["precision"] == 1


def test_one_concept_that_only_some_items_show() -> None:
    result = classifier_metrics(
        np.array([[0.9], [0.4], [0.6]], np.float32),
        np.array([[1], [0], [1]], np.bool_),
        ["a"],
        False,
        False,
    )
    assert result.concepts == [
        {
            "concept": "a",
            "precision": 1.0,
            "recall": 1.0,
            "f1": 1.0,
            "ap": 1.0,
            "roc_auc": 1.0,
            "support": 2,
        }
    ]


def test_one_concept_that_all_items_show() -> None:
    result = classifier_metrics(
        np.array([[0.9], [0.4]], np.float32), np.ones((2, 1), np.bool_), ["a"], True, False
    )
    assert result.values == {"top1": 1.0, "macro_f1": 1.0, "macro_ap": 1.0}


def random_scores(exclusive: bool) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Scores with ties, of 400 items and 9 concepts; the last concept has no positives."""
    generator = np.random.default_rng(5)
    if exclusive:
        truth = np.eye(9, dtype=np.bool_)[generator.integers(0, 8, 400)]
    else:
        truth = generator.random((400, 9)) < 0.2
        truth[:, 8] = False
    logits = (generator.normal(0, 1, truth.shape) + 1.5 * truth).round(1)
    if exclusive:  # of equal scores one or another may count as the first
        logits += np.linspace(1e-3, 0, 9)
    powers = np.exp(logits)
    scores = powers / powers.sum(1, keepdims=True) if exclusive else powers / (1 + powers)
    return scores.astype(np.float32), truth, [*"abcdefghi"]


def test_exclusive_values_are_those_of_scikit_learn() -> None:
    scores, truth, names = random_scores(exclusive=True)
    result = classifier_metrics(scores, truth, names, True, softmax=True)
    concept, predicted = truth.argmax(1), scores.argmax(1)
    labels = np.arange(9)
    normalised = scores / scores.sum(1, keepdims=True, dtype=np.float64)
    assert result.values["top5"] == pytest.approx(
        top_k_accuracy_score(concept, scores, k=5, labels=labels), rel=1e-5
    )
    assert result.values["log_loss"] == pytest.approx(
        log_loss(concept, normalised, labels=labels), rel=1e-5
    )
    assert result.values["macro_f1"] == pytest.approx(
        f1_score(concept, predicted, average="macro", labels=labels[:8]), rel=1e-5
    )
    assert result.confusion == reference_confusion(concept, predicted, labels=labels).tolist()


def test_values_of_concepts_are_those_of_scikit_learn() -> None:
    scores, truth, names = random_scores(exclusive=False)
    result = classifier_metrics(scores, truth, names, False, softmax=False)
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, scores >= 0.5, average=None, zero_division=0
    )
    for c, row in enumerate(result.concepts[:8]):
        want = {
            "concept": names[c],
            "precision": precision[c],
            "recall": recall[c],
            "f1": f1[c],
            "ap": average_precision_score(truth[:, c], scores[:, c]),
            "roc_auc": roc_auc_score(truth[:, c], scores[:, c]),
            "support": support[c],
        }
        assert row == {
            k: v if k == "concept" else pytest.approx(v, rel=1e-5) for k, v in want.items()
        }
    assert set(result.concepts[8]) == {"concept", "precision", "support"}
    best = max(
        (f1_score(truth[:, :8], scores[:, :8] >= t / 100, average="macro"), -t)
        for t in range(1, 100)
    )
    assert result.values["best_f1_threshold"] == pytest.approx(-best[1] / 100)


def test_nothing_to_evaluate() -> None:
    empty = np.empty((0, 3))
    result = classifier_metrics(empty.astype(np.float32), empty.astype(np.bool_), NAMES, True, True)
    assert (result.values, result.concepts, result.items) == ({}, [], 0)


def test_labels_decide_what_is_exclusive() -> None:
    assert is_exclusive(np.eye(3, dtype=np.bool_))
    assert not is_exclusive(np.zeros((2, 3), np.bool_))
    assert not is_exclusive(np.ones((2, 3), np.bool_))
    assert selection_metric(True) == "top1" and selection_metric(False) == "macro_ap"
    assert selection_metric(True, of_videos=True) == "video_top1"


@given(
    scores=arrays(np.float32, (6, 3), elements=st.floats(0, 1, width=32)),
    truth=arrays(np.bool_, (6, 3)),
)
def test_values_are_finite_and_between_0_and_1(scores: np.ndarray, truth: np.ndarray) -> None:
    exclusive = is_exclusive(truth)
    result = classifier_metrics(scores, truth, NAMES, exclusive, softmax=False)
    numbers = [*result.values.values()]
    for row in result.concepts:
        numbers += [value for key, value in row.items() if key not in ("concept", "support")]
    assert all(math.isfinite(value) and 0 <= value <= 1 for value in numbers)
