"""Metrics of an embedder: for each query, whether what lies nearest in a gallery shows the same concept."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .report import rounded

Vectors = NDArray[np.float32]
Numbers = NDArray[np.int64]

NEIGHBOURS = 10
_RECALLS = (1, 5, NEIGHBOURS)
_CHUNK = 256
# Silhouettes compare all with all: of more queries a seeded sample is taken.
_MOST_SILHOUETTES = 5_000


@dataclass(frozen=True)
class Retrieval:
    """What was found. `items`: queries whose concept is in the gallery; only these are counted."""

    values: dict[str, float]
    # A row for each concept, in order: `recall` at 1, and its queries as `support`.
    concepts: list[dict[str, Any]]
    items: int
    # Of each counted query: its place, the places of its nearest neighbours in the gallery, and their cosines.
    queries: Numbers
    neighbours: Numbers
    similarities: Vectors


def retrieve(
    queries: Vectors,
    query_concepts: Numbers,
    gallery: Vectors,
    gallery_concepts: Numbers,
    names: list[str],
) -> Retrieval:
    """Embeddings of length 1 [Q, E] and [G, E], and the concept that each item shows, as a place in `names`.

    recall_at_k: the share of queries with their concept among the k nearest; absent where the gallery has only k items.
    map_at_r: mean average precision at R, with R the query's concept's items in the gallery (Musgrave et al. 2020).
    silhouette: of the queries by their concepts, with cosine distances (scikit-learn).
    Equally near items count in the gallery's order.
    """
    sizes = np.bincount(gallery_concepts, minlength=len(names))
    counted = np.flatnonzero(sizes[query_concepts] > 0)
    own = query_concepts[counted]
    depth = min(len(gallery), max(NEIGHBOURS, int(sizes[own].max(initial=0))))
    hits = np.zeros((len(counted), min(depth, NEIGHBOURS)), np.bool_)
    neighbours = np.zeros(hits.shape, np.int64)
    similarities = np.zeros(hits.shape, np.float32)
    precisions = np.zeros(len(counted))
    for start in range(0, len(counted), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        cosines = queries[counted[chunk]] @ gallery.T
        nearest = _nearest(cosines, depth)
        right = gallery_concepts[nearest] == own[chunk, None]
        precisions[chunk] = average_precision_at_r(right, sizes[own[chunk]])
        first = nearest[:, : hits.shape[1]]
        hits[chunk], neighbours[chunk] = right[:, : hits.shape[1]], first
        similarities[chunk] = np.take_along_axis(cosines, first, 1)
    values: dict[str, float] = {}
    if len(counted):
        for k in _RECALLS:
            if len(gallery) > k:
                values[f"recall_at_{k}"] = float(hits[:, :k].any(1).mean())
        values["map_at_r"] = float(precisions.mean())
        values |= _silhouette(queries[counted], own)
    rounded_values = {name: rounded(value) for name, value in values.items()}
    rows = _rows(hits, own, names)
    return Retrieval(rounded_values, rows, len(counted), counted, neighbours, similarities)


def average_precision_at_r(right: NDArray[np.bool_], relevant: Numbers) -> NDArray[np.float64]:
    """Of each query [Q], from `right` [Q, K] by rank, with `relevant` [Q] items (K at least) in the gallery."""
    ranks = np.arange(1, right.shape[1] + 1)
    counts = right & (ranks <= relevant[:, None])
    precision = np.cumsum(counts, 1) / ranks
    average: NDArray[np.float64] = (precision * counts).sum(1) / relevant
    return average


def _nearest(cosines: Vectors, depth: int) -> Numbers:
    """The places [Q, depth] of the largest, in falling order."""
    if depth < cosines.shape[1]:
        # In the gallery's order again, which then decides between equals.
        chosen = np.sort(np.argpartition(-cosines, depth - 1, axis=1)[:, :depth], axis=1)
        order = np.argsort(-np.take_along_axis(cosines, chosen, 1), axis=1, kind="stable")
        return np.take_along_axis(chosen, order, 1)
    return np.argsort(-cosines, axis=1, kind="stable")


def _silhouette(embeddings: Vectors, concepts: Numbers) -> dict[str, float]:
    from sklearn.metrics import silhouette_score

    if len(embeddings) > _MOST_SILHOUETTES:
        chosen = np.random.default_rng(0).permutation(len(embeddings))[:_MOST_SILHOUETTES]
        embeddings, concepts = embeddings[chosen], concepts[chosen]
    if not 2 <= len(np.unique(concepts)) < len(concepts):
        return {}
    return {"silhouette": float(silhouette_score(embeddings, concepts, metric="cosine"))}


def _rows(hits: NDArray[np.bool_], own: Numbers, names: list[str]) -> list[dict[str, Any]]:
    rows = []
    for number, name in enumerate(names):
        mine = own == number
        row: dict[str, Any] = {"concept": name}
        if mine.any():
            row["recall"] = rounded(float(hits[mine, :1].any(1).mean()))
        rows.append(row | {"support": int(mine.sum())})
    return rows
