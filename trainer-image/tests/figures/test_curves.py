"""Precision against recall as files."""

import json

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from deeptrain_trainer.figures.curves import Curve, classifier_curves, curve_files
from deeptrain_trainer.metrics import classifier_metrics

from .painted import has_colour, pixels, rgb


def curves_of(items: int) -> tuple[list[Curve], np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    truth = generator.random((items, 3)) < 0.3
    truth[:, 2] = False
    scores = (generator.random((items, 3)) * 0.5 + truth * 0.3).astype(np.float32)
    rows = classifier_metrics(scores, truth, ["a", "b", "c"], False, False).concepts
    return classifier_curves(scores, truth, rows), scores, truth


def test_points_are_what_their_thresholds_give() -> None:
    curves, scores, truth = curves_of(200)
    assert [curve.concept for curve in curves] == ["a", "b"]  # c has no positives
    for c, curve in enumerate(curves):
        assert curve.threshold is not None
        assert curve.ap == pytest.approx(
            average_precision_score(truth[:, c], scores[:, c]), rel=1e-5
        )
        assert (np.diff(curve.recall) >= 0).all() and curve.recall[-1] == 1
        for recall, precision, threshold in zip(
            curve.recall, curve.precision, curve.threshold, strict=True
        ):
            predicted = scores[:, c] >= threshold
            hits = (predicted & truth[:, c]).sum()
            assert recall == pytest.approx(hits / truth[:, c].sum())
            assert precision == pytest.approx(hits / predicted.sum())


def test_what_is_not_known_is_not_drawn() -> None:
    _, scores, truth = curves_of(200)
    known = np.random.default_rng(2).random(truth.shape) < 0.7
    rows = classifier_metrics(scores, truth & known, ["a", "b", "c"], False, False, known).concepts
    for c, curve in enumerate(classifier_curves(scores, truth & known, rows, known)):
        counted = known[:, c]
        expected = average_precision_score(truth[counted, c], scores[counted, c])
        assert curve.ap == pytest.approx(expected, rel=1e-5)
        assert curve.precision[-1] >= truth[counted, c].mean() - 1e-9


def test_the_json_is_bounded_and_the_worst_are_named_in_the_picture() -> None:
    curves, *_ = curves_of(20_000)
    files = curve_files(curves, ["a", "b", "c"], "20,000 items")
    rows = json.loads(files["evaluation/precision-recall.json"])["concepts"]
    assert [row["concept"] for row in rows] == ["a", "b"]
    for row in rows:
        assert 90 < len(row["recall"]) <= 101
        assert len(row["recall"]) == len(row["precision"]) == len(row["threshold"])
    assert has_colour(pixels(files["evaluation/precision-recall.png"]), rgb("#0969da"))


def test_arrays_of_a_detectors_evaluator_are_drawn() -> None:
    recall = np.linspace(0, 1, 101)
    precision = np.where(recall <= 0.6, 0.9, 0.0)
    files = curve_files([Curve("a", 12, 0.54, recall, precision)], ["a"], "IoU 0.5")
    (row,) = json.loads(files["evaluation/precision-recall.json"])["concepts"]
    assert row["ap"] == 0.54 and row["support"] == 12 and "threshold" not in row
    picture = pixels(files["evaluation/precision-recall.png"])
    assert has_colour(picture, rgb("#0969da"))


def test_without_any_curve_there_is_an_empty_picture() -> None:
    files = curve_files([], ["a"], "nothing")
    assert json.loads(files["evaluation/precision-recall.json"]) == {"concepts": []}
    assert not has_colour(pixels(files["evaluation/precision-recall.png"]), rgb("#0969da"))


def test_a_thousand_concepts_stay_small() -> None:
    generator = np.random.default_rng(2)
    names = [f"c{i}" for i in range(1000)]
    curves = [
        Curve(name, 5, float(generator.random()), np.linspace(0.2, 1, 5), generator.random(5))
        for name in names
    ]
    files = curve_files(curves, names, "many")
    assert len(files["evaluation/precision-recall.json"]) < 300_000
    assert len(files["evaluation/precision-recall.png"]) < 500_000
