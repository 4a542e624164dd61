"""Metrics of retrieval: by hand, and against a plain reading of their definitions."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import silhouette_score

from deeptrain_trainer import retrieval
from deeptrain_trainer.retrieval import average_precision_at_r, retrieve

NAMES = ["a", "b", "c"]


def unit(*degrees: float) -> NDArray[np.float32]:
    """Directions in the plane."""
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def test_by_hand() -> None:
    gallery, shows = unit(0, 10, 20, 90, 100, 180), np.array([0, 0, 1, 1, 1, 0])
    queries, asks = unit(1, 25, 175), np.array([0, 0, 1])
    found = retrieve(queries, asks, gallery, shows, NAMES)
    # Nearest of each: 0 10 20 | 20 10 0 | 180 100 90.
    assert found.neighbours[:, :3].tolist() == [[0, 1, 2], [2, 1, 0], [5, 4, 3]]
    assert found.values["recall_at_1"] == pytest.approx(1 / 3, abs=1e-6)
    assert found.values["recall_at_5"] == 1
    assert "recall_at_10" not in found.values  # the gallery has only six
    # Of R = 3: right at ranks 1 2 | 2 3 | 2 3.
    precisions = [(1 + 1) / 3, (1 / 2 + 2 / 3) / 3, (1 / 2 + 2 / 3) / 3]
    assert found.values["map_at_r"] == pytest.approx(np.mean(precisions), abs=1e-6)
    assert found.concepts == [
        {"concept": "a", "recall": 0.5, "support": 2},
        {"concept": "b", "recall": 0.0, "support": 1},
        {"concept": "c", "support": 0},
    ]
    assert found.items == 3
    np.testing.assert_allclose(found.similarities[0, 0], np.cos(np.deg2rad(1)), atol=1e-6)


def test_the_example_of_musgrave() -> None:
    """A query with ten relevant items: right at the first, or at all of the first ten ranks but some."""
    right = np.zeros((3, 12), np.bool_)
    right[0, 0] = True
    right[1, :10] = True
    right[2, 10:] = True  # beyond R: worth nothing
    np.testing.assert_allclose(
        average_precision_at_r(right, np.array([10, 10, 10])), [0.1, 1.0, 0.0]
    )


@pytest.mark.parametrize("concepts", [2, 7])
def test_it_agrees_with_a_plain_reading_of_the_definitions(
    concepts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval, "_CHUNK", 7)  # several chunks, the last one smaller
    generator = np.random.default_rng(concepts)

    def vectors(count: int) -> NDArray[np.float32]:
        raw = generator.normal(size=(count, 5)).astype(np.float32)
        return raw / np.linalg.norm(raw, axis=1, keepdims=True)

    queries, gallery = vectors(40), vectors(60)
    asks, shows = generator.integers(0, concepts, 40), generator.integers(0, concepts, 60)
    found = retrieve(queries, asks, gallery, shows, [str(c) for c in range(concepts)])
    recalls: dict[int, list[bool]] = {1: [], 5: [], 10: []}
    precisions = []
    for query, concept in zip(queries, asks, strict=True):
        ranked = shows[np.argsort(-(gallery @ query), kind="stable")] == concept
        for k, hits in recalls.items():
            hits.append(bool(ranked[:k].any()))
        relevant = int((shows == concept).sum())
        precisions.append(
            sum(ranked[:i].mean() for i in range(1, relevant + 1) if ranked[i - 1]) / relevant
        )
    for k, hits in recalls.items():
        assert found.values[f"recall_at_{k}"] == pytest.approx(np.mean(hits), abs=1e-5)
    assert found.values["map_at_r"] == pytest.approx(np.mean(precisions), abs=1e-5)
    want = silhouette_score(queries, asks, metric="cosine")
    assert found.values["silhouette"] == pytest.approx(want, abs=1e-5)


def test_of_equally_near_items_the_first_of_the_gallery_counts() -> None:
    gallery = np.repeat(unit(0, 0), 15, axis=0)
    shows = np.array([1] + [0] * 29)
    found = retrieve(unit(0), np.array([1]), gallery, shows, NAMES)
    assert found.values["recall_at_1"] == 1
    shows = np.array([0] + [1] + [0] * 28)
    assert retrieve(unit(0), np.array([1]), gallery, shows, NAMES).values["recall_at_1"] == 0


def test_queries_that_the_gallery_cannot_answer_do_not_count() -> None:
    found = retrieve(unit(0, 5, 90), np.array([2, 0, 1]), unit(0, 90), np.array([0, 1]), NAMES)
    assert found.items == 2 and found.queries.tolist() == [1, 2]
    assert found.values["recall_at_1"] == 1
    assert found.concepts[2] == {"concept": "c", "support": 0}


def test_what_has_no_support_is_absent() -> None:
    nothing = np.empty((0, 2), np.float32), np.empty(0, np.int64)
    for queries, gallery in (
        (nothing, (unit(0), np.array([0]))),
        ((unit(0), np.array([0])), nothing),
    ):
        found = retrieve(*queries, *gallery, NAMES)
        assert found.values == {} and found.items == 0
        assert [row["support"] for row in found.concepts] == [0, 0, 0]
    one = retrieve(unit(0, 1), np.array([0, 0]), unit(3, 7), np.array([0, 0]), NAMES)
    assert set(one.values) == {"recall_at_1", "map_at_r"}  # one concept has no silhouette
