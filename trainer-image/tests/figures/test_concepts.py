"""The table of the concepts."""

import csv
import io
import json
from typing import Any

from deeptrain_trainer.figures.concepts import concept_files
from deeptrain_trainer.metrics import worst_first

from .painted import pixels

ROWS: list[dict[str, Any]] = [
    {"concept": "dog", "precision": 0.5, "recall": 1.0, "f1": 0.667, "ap": 0.9, "support": 4},
    {"concept": '=HYPERLINK("x")', "recall": 0.0, "f1": 0.0, "ap": 0.2, "support": 3},
    {"concept": "猫, cat", "support": 0},
]


def test_the_json_has_the_rows_as_they_are() -> None:
    assert json.loads(concept_files(ROWS, "t")["evaluation/concepts.json"]) == {"concepts": ROWS}


def test_the_csv_has_a_cell_for_each_value_and_no_formulas() -> None:
    text = concept_files(ROWS, "t")["evaluation/concepts.csv"].decode()
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == ["concept", "support", "precision", "recall", "f1", "ap"]
    assert rows[1] == ["dog", "4", "0.5", "1.0", "0.667", "0.9"]
    assert rows[2] == ['\'=HYPERLINK("x")', "3", "", "0.0", "0.0", "0.2"]
    assert rows[3] == ["猫, cat", "0", "", "", "", ""]


def test_the_worst_come_first_and_those_without_support_last() -> None:
    assert worst_first(ROWS) == [1, 0, 2]


def test_the_picture_is_bounded() -> None:
    many = [{"concept": f"c{i}", "ap": i / 1000, "support": i} for i in range(1000)]
    files = concept_files(many, "many")
    assert pixels(files["evaluation/concepts.png"]).shape[0] < 1300
    assert len(files["evaluation/concepts.csv"].splitlines()) == 1001
    assert pixels(concept_files(many[:3], "few")["evaluation/concepts.png"]).shape[0] < 200
    assert concept_files(many, "many") == files


def test_of_videos_the_metrics_stand_beside_those_of_frames_and_order_the_rows() -> None:
    names = ("precision", "recall", "f1", "ap", "roc_auc", "support")
    values = {"run": (0.25, 0.75), "walk": (0.5, 0.125), "jump": (0.125, None)}
    rows: list[dict[str, Any]] = [
        {"concept": concept, **dict.fromkeys(names, frames)}
        | ({} if videos is None else {f"video_{name}": videos for name in names})
        for concept, (frames, videos) in values.items()
    ]
    assert worst_first(rows) == [1, 0, 2]
    files = concept_files(rows, "videos")
    head = files["evaluation/concepts.csv"].decode().splitlines()[0].split(",")
    assert head == ["concept", "support", *names[:-1], *(f"video_{name}" for name in names)]
    # Twelve columns, the widest headings with room: none runs into its neighbour.
    drawn = pixels(files["evaluation/concepts.png"])
    few = pixels(
        concept_files([{"concept": "run", **dict.fromkeys(names, 0.5)}], "t")[
            "evaluation/concepts.png"
        ]
    )
    assert drawn.shape[1] > few.shape[1] + 6 * 96
