"""Queries and what was found for them."""

import json

import numpy as np

from deeptrain_trainer.figures.neighbours import neighbour_files
from deeptrain_trainer.figures.sheet import RIGHT, WRONG

from .painted import Painted, has_colour, pixels, rgb

CONCEPTS = np.array([0, 0, 1, 1, 0])
NAMES = ["a", "猫"]


def test_the_surest_wrong_answer_comes_first() -> None:
    queries = np.array([0, 2, 3])
    neighbours = np.array([[1, 2], [0, 3], [4, 2]])
    similarities = np.array([[0.9, 0.5], [0.6, 0.5], [0.8, 0.1]], np.float32)
    files = neighbour_files(queries, neighbours, similarities, CONCEPTS, NAMES, Painted())
    document = json.loads(files["evaluation/neighbours.json"])
    assert (document["queries"], document["wrongFirst"]) == (3, 2)
    assert [row["sha256"] for row in document["worst"]] == [f"{i:064x}" for i in (3, 2, 0)]
    assert document["worst"][0]["neighbours"] == [
        {"sha256": f"{4:064x}", "concept": "a", "similarity": 0.8, "right": False},
        {"sha256": f"{2:064x}", "concept": "猫", "similarity": 0.1, "right": True},
    ]
    picture = pixels(files["evaluation/neighbours.png"])
    assert has_colour(picture, rgb(RIGHT)) and has_colour(picture, rgb(WRONG))


def test_many_queries_are_bounded() -> None:
    generator = np.random.default_rng(0)
    neighbours = generator.integers(0, 5, (1000, 20))
    similarities = -np.sort(-generator.random((1000, 20)).astype(np.float32), axis=1)
    pictures = Painted()
    files = neighbour_files(
        np.arange(1000) % 5, neighbours, similarities, CONCEPTS, NAMES, pictures
    )
    assert len(pictures.asked) == 12 * 7
    assert len(json.loads(files["evaluation/neighbours.json"])["worst"]) == 200


def test_no_queries() -> None:
    none = np.zeros((0, 3), np.int64)
    files = neighbour_files(none[:, 0], none, none.astype(np.float32), CONCEPTS, NAMES, Painted())
    assert json.loads(files["evaluation/neighbours.json"])["queries"] == 0
