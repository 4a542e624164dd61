"""What an embedder takes for similar: queries with their nearest neighbours as a contact sheet, and as JSON."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..report import rounded
from .document import rows_document
from .picture import Pictures, png
from .sheet import FAINT, INK, RIGHT, WRONG, Tile, sheet
from .text import label

MOST_QUERIES = 12
MOST_ROWS = 200
"""Queries in the JSON file."""
MOST_NEIGHBOURS = 6
_SIDE = 130

Numbers = NDArray[np.int64]


def neighbour_files(
    queries: Numbers,
    neighbours: Numbers,
    similarities: NDArray[np.float32],
    concepts: Numbers,
    names: Sequence[str],
    pictures: Pictures,
) -> dict[str, bytes]:
    """The content of `evaluation/neighbours.png` and `.json`.

    Args:
        queries: [Q], items that were searched for.
        neighbours: [Q, K], items that were found, the nearest first; the query is not among them.
        similarities: [Q, K], cosine similarities.
        concepts: [N], the concept of each item, as a place in `names`.
        names: The concepts.
        pictures: The N items.
    """
    neighbours, similarities = neighbours[:, :MOST_NEIGHBOURS], similarities[:, :MOST_NEIGHBOURS]
    hits = concepts[neighbours] == concepts[queries][:, None]
    # Worst: the nearest is another concept, and the more similar the worse.
    first = np.where(hits[:, :1], -2.0, similarities[:, :1])[:, 0] if hits.size else np.zeros(0)
    worst = np.argsort(-first, kind="stable")
    rows = [
        _row(int(q), queries, neighbours, similarities, hits, concepts, names, pictures)
        for q in worst[:MOST_ROWS]
    ]
    wrong = int((first > -2).sum())
    # Half of the sheet are the worst, the other half as they come.
    bad = worst[: min(wrong, MOST_QUERIES // 2)]
    others = np.setdiff1d(np.arange(len(queries)), bad)
    places = np.linspace(0, len(others) - 1, min(len(others), MOST_QUERIES - len(bad)))
    chosen = [*bad, *others[np.unique(places.round().astype(int))]]
    tiles = []
    for q in chosen:
        query = int(queries[q])
        own = label(names[concepts[query]], int(concepts[query]))
        tiles.append(Tile(pictures.thumbnail(query, _SIDE).image, [(own, INK), ("query", FAINT)]))
        for item, similarity, hit in zip(neighbours[q], similarities[q], hits[q], strict=True):
            colour = RIGHT if hit else WRONG
            name = label(names[concepts[item]], int(concepts[item]))
            lines = [(name, colour), (f"{similarity:.2f}", colour)]
            tiles.append(Tile(pictures.thumbnail(int(item), _SIDE).image, lines, colour))
    title = f"Nearest neighbours: {wrong:,} of {len(queries):,} queries begin with another concept"
    note = f"Left: the query. The first {len(bad)} rows are the worst, the others a sample."
    columns = 1 + neighbours.shape[1]
    head = {"queries": len(queries), "wrongFirst": wrong}
    return {
        "evaluation/neighbours.json": rows_document(head, "worst", rows),
        "evaluation/neighbours.png": png(sheet(title, note, tiles, _SIDE, columns)),
    }


def _row(
    q: int,
    queries: Numbers,
    neighbours: Numbers,
    similarities: NDArray[np.float32],
    hits: NDArray[np.bool_],
    concepts: Numbers,
    names: Sequence[str],
    pictures: Pictures,
) -> dict[str, Any]:
    query = int(queries[q])
    return {
        "sha256": pictures.sha256(query),
        "concept": names[concepts[query]],
        "neighbours": [
            {
                "sha256": pictures.sha256(int(item)),
                "concept": names[concepts[item]],
                "similarity": rounded(float(similarity), 4),
                "right": bool(hit),
            }
            for item, similarity, hit in zip(neighbours[q], similarities[q], hits[q], strict=True)
        ],
    }
