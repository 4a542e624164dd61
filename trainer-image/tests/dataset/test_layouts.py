"""All formats: what strangers write is labels or a named problem, never a crash."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeptrain_trainer.dataset.coco import Coco
from deeptrain_trainer.dataset.csvlist import CsvList
from deeptrain_trainer.dataset.division import read_division
from deeptrain_trainer.dataset.layout import InvalidLabelsError, Layout
from deeptrain_trainer.dataset.layouts import layout_of
from deeptrain_trainer.dataset.member import shown
from deeptrain_trainer.dataset.voc import Voc
from deeptrain_trainer.dataset.yolo import Yolo
from deeptrain_trainer.failure import Failure

numbers = st.one_of(
    st.integers(-5, 60), st.floats(), st.sampled_from([10**400, "1", None, True, [], {}])
)
names = st.sampled_from(["cat", "", "\u202ecat", "é" * 40, "\ud800", "a\nb", None, 7])


def judged(layout: Layout, files: dict[str, bytes]) -> None:
    """Gives a layout annotations and one picture, as the import does."""
    try:
        for path, data in files.items():
            assert layout.annotation_limit(path) > 0
            layout.annotate(path, data)
        layout.complete({"images", "JPEGImages"}, ["images/a.png", "JPEGImages/a.png"])
    except Failure as failure:
        assert failure.exit_code == 42
        return
    for path in ("images/a.png", "JPEGImages/a.png"):
        if layout.role(path) != "item":
            continue
        try:
            labels = layout.labels(path, 40, 40)
        except InvalidLabelsError as error:
            assert str(error)
            continue
        assert not layout.has_boxes or set(labels.concepts) <= set(layout.names)
    assert all(bad.problem for bad in layout.leftovers())


annotations = st.fixed_dictionaries(
    {
        "image_id": numbers,
        "bbox": st.one_of(numbers, st.lists(numbers, min_size=3, max_size=5)),
    },
    optional={"id": numbers, "category_id": numbers, "iscrowd": numbers, "attributes": numbers},
)


@settings(deadline=None)
@given(
    st.lists(annotations, max_size=5),
    st.lists(st.fixed_dictionaries({"id": numbers, "name": names}), max_size=3),
    st.one_of(st.integers(0, 1), numbers),
)
def test_any_coco_file(
    found: list[dict[str, object]], categories: list[dict[str, object]], image: object
) -> None:
    document = {
        "images": [{"id": image, "file_name": "a.png", "width": image, "height": 40}],
        "annotations": found,
        "categories": [{"id": 1, "name": "cat"}, *categories],
    }
    judged(Coco(), {"labels.json": json.dumps(document).encode()})


@settings(deadline=None)
@given(names, st.lists(numbers, min_size=4, max_size=4), st.sampled_from(["", "1", "x", "<b/>"]))
def test_any_voc_file(name: object, edges: list[object], difficult: str) -> None:
    tags = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{tag}>{edge}</{tag}>" for tag, edge in zip(tags, edges, strict=True))
    text = f"<a><object><name>{name}</name><difficult>{difficult}</difficult>"
    text += f"<bndbox>{box}</bndbox></object></a>"
    judged(Voc(), {"Annotations/a.xml": text.encode("utf-8", "surrogatepass")})


@settings(deadline=None)
@given(st.lists(st.lists(numbers, min_size=4, max_size=7), max_size=4))
def test_any_yolo_file(rows: list[list[object]]) -> None:
    lines = "\n".join(" ".join(str(value) for value in row) for row in rows)
    judged(Yolo(), {"data.yaml": b"names: [a, b]", "labels/a.txt": lines.encode()})


cells = st.one_of(st.text(max_size=8), numbers.map(str), st.sampled_from(["images/a.png", "a.png"]))


@settings(deadline=None)
@given(
    st.sampled_from(
        [
            "path,concepts",
            "path,concepts,not_concepts,split,group",
            "path,concept,x_min,y_min,x_max,y_max",
        ]
    ),
    st.lists(st.lists(cells, min_size=1, max_size=6), max_size=5),
)
def test_any_csv_file(header: str, rows: list[list[str]]) -> None:
    lines = [header, *(",".join(row) for row in rows)]
    judged(CsvList(), {"a.csv": "\n".join(lines).encode("utf-8", "surrogatepass")})


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


texts = st.one_of(
    st.sampled_from(["a.txt", "images/a.png", "./images/a.png"]),
    st.text(max_size=30),
    st.lists(
        st.sampled_from(["..", ".", "", "images", "a", "b", "c:", "~", "a\\b"]), max_size=6
    ).map("/".join),
)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["path", "train", "val", "test"]),
        st.one_of(texts, st.lists(texts, max_size=3), st.lists(st.lists(texts, max_size=1))),
    ),
    st.sampled_from(["data.yaml", "set/data.yaml"]),
    st.one_of(st.binary(max_size=40), st.lists(texts).map("\n".join).map(_utf8)),
)
def test_any_division_leads_to_folders_of_the_source(
    document: dict[str, Any], file: str, lines: bytes
) -> None:
    folders = {"images", "images/a", "images/b", "set", "set/images"}
    files = {"images/a.png", "images/a/a.png"}
    try:
        places = read_division(file, document).places(folders, {"a.txt": lines}, files)
    except Failure as failure:
        assert failure.reason == "InputInvalid" and len(failure.message) < 400
        # Not `isprintable`: the newest letters are unknown to older releases of Python.
        assert shown(failure.message, 400) == failure.message
        return
    for place in places.keys() - {"", *folders}:
        assert not place.startswith("/") and ".." not in place.split("/")
    assert not places or "train" in places.values()


@pytest.mark.parametrize(
    ("layout", "path"),
    [
        (Coco, "labels.json"),
        (CsvList, "a.csv"),
        (Voc, "Annotations/a.xml"),
        (Yolo, "labels/a.txt"),
        (Yolo, "d.yaml"),
    ],
)
@settings(deadline=None)
@given(data=st.binary(max_size=60))
def test_noise_for_annotations(layout: Callable[[], Layout], path: str, data: bytes) -> None:
    judged(layout(), {path: data})


def test_a_format_that_is_not_known_is_named() -> None:
    names = "coco, csv, imageFolder, videoFolder, voc, yolo"
    with pytest.raises(Failure, match=f"`parquet` is none of {names}"):
        layout_of("parquet")
