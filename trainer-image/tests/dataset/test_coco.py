"""The format `coco`."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from deeptrain_trainer.dataset import coco, folder, importer
from deeptrain_trainer.dataset.box import Box

from .annotated import SIDE, everything, photo, stored
from .samples import Place, tar_of

CATEGORIES = [{"id": 3, "name": "dog"}, {"id": 90, "name": "cat"}, {"id": 7, "name": "unused"}]


def document(count: int = 12, start: int = 0, **changes: Any) -> dict[str, Any]:
    """A file that lists pictures <n>.png, each with one box; category ids have gaps."""
    numbers = range(start, start + count)
    return {
        "info": {"year": 2026},
        "images": [
            {"id": n, "file_name": f"{n}.png", "width": SIDE, "height": SIDE} for n in numbers
        ],
        "annotations": [
            {
                "id": 100 + n,
                "image_id": n,
                "category_id": 90 if n % 2 else 3,
                "bbox": [n / 4, 1, 10, 20.5],
                "iscrowd": 0,
                "area": 205.0,
            }
            for n in numbers
        ],
        "categories": CATEGORIES,
        **changes,
    }


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def photos(folder: str, count: int = 12, start: int = 0) -> dict[str, bytes]:
    return {f"{folder}{n}.png": photo(n) for n in range(start, start + count)}


def source(**changes: Any) -> dict[str, bytes]:
    return {"labels.json": encoded(document(**changes)), **photos("images/")}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Imports as `coco`."""
    place = Place(tmp_path)
    place.format = "coco"
    return place


def test_boxes_are_corner_width_and_height(place: Place) -> None:
    dataset = stored(place, place.run_folder(source()))
    assert dataset.concepts == ("cat", "dog"), "sorted, without the unused"
    items = everything(dataset)
    assert {item.boxes for item in items} == {
        (Box(0 if n % 2 else 1, n / 4, 1, n / 4 + 10, 21.5),) for n in range(12)
    }
    assert all(item.labels == (item.boxes[0].concept,) for item in items)


@pytest.mark.parametrize(
    "names",
    [
        ("annotations/instances_{}2017.json", "{}2017/"),
        ("annotations/instances_{}.json", "images/{}/"),
        ("{}/_annotations.coco.json", "{}/"),
        ("coco/{}/labels.json", "coco/{}/data/"),
    ],
)
def test_files_give_the_splits(place: Place, names: tuple[str, str]) -> None:
    files: dict[str, bytes] = {}
    start = 0
    for split, count in (("train", 8), ("val", 3), ("test", 2)):
        files[names[0].format(split)] = encoded(document(count, start))
        files |= photos(names[1].format(split), count, start)
        start += count
    record = place.run_archive(tar_of(files))
    assert record["items"] == {"train": 8, "validation": 3, "test": 2}
    assert record["invalid"] == 0


def test_equal_names_in_two_splits_are_told_apart(place: Place) -> None:
    files = {
        "annotations/instances_train.json": encoded(document(8)),
        "annotations/instances_val.json": encoded(document(3)),
        **photos("train/", 8),
        **{
            name.replace("train", "val"): photo(50 + n)
            for n, name in enumerate(photos("train/", 3))
        },
    }
    assert place.run_folder(files)["items"] == {"train": 8, "validation": 3, "test": 0}


def test_a_file_speaks_of_pictures_of_its_own_site(place: Place) -> None:
    files: dict[str, bytes] = {}
    for start, site in ((0, "a"), (50, "b")):
        images = [{"id": n, "file_name": f"images/{n}.png"} for n in range(6)]
        files[f"{site}/images/labels.json"] = encoded(document(6, images=images))
        files |= {f"{site}/images/{n}.png": photo(start + n) for n in range(6)}
    assert place.run_folder(files)["invalid"] == 0


def test_a_picture_in_the_splits_folder_goes_before_one_at_the_root(place: Place) -> None:
    files = {
        "annotations/instances_train.json": encoded(document(8)),
        "annotations/instances_val.json": encoded(document(3, start=0)),
        **photos("train/", 8),
        **{f"val/{n}.png": photo(50 + n) for n in range(3)},
        "1.png": photo(90),
    }
    record = place.run_folder(files, invalidPercent=10)
    assert record["items"] == {"train": 8, "validation": 3, "test": 0}
    assert [bad["path"] for bad in place.reporter.report["badItems"]] == ["1.png"]


def test_files_of_other_tasks_do_not_count(place: Place) -> None:
    captions = {"images": document()["images"], "annotations": [{"image_id": 1, "caption": "x"}]}
    files = source() | {
        "captions_train2017.json": encoded(captions),
        "notes.json": b'{"categories": 1}',
    }
    assert place.run_folder(files)["invalid"] == 0


def test_pictures_without_annotations_are_background(place: Place) -> None:
    files = source(annotations=document()["annotations"][:10])
    dataset = stored(place, place.run_folder(files))
    assert sorted(len(item.boxes) for item in everything(dataset)) == [0] * 2 + [1] * 10


def test_crowds_are_ignored(place: Place) -> None:
    annotations = document()["annotations"]
    annotations[0] |= {"iscrowd": 1, "segmentation": {"counts": [1, 2], "size": [40, 40]}}
    dataset = stored(place, place.run_folder(source(annotations=annotations)))
    (crowd,) = [item for item in everything(dataset) if not item.labels]
    assert [box.ignored for box in crowd.boxes] == [True]
    assert place.reporter.report["boxes"]["ignored"] == 1


def test_whole_numbers_may_be_written_as_fractions(place: Place) -> None:
    annotations = document()["annotations"]
    annotations[0] |= {"image_id": 0.0, "category_id": 3.0, "id": 100.0}
    assert place.run_folder(source(annotations=annotations))["invalid"] == 0


def changed(**fields: Any) -> list[dict[str, Any]]:
    annotations = document()["annotations"]
    annotations[1] |= fields
    return [{k: v for k, v in a.items() if v != "absent"} for a in annotations]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"bbox": [1, 1, -5, 5]}, "annotation 101 with bbox [1, 1, -5, 5]: the box has no area"),
        ({"bbox": [1, 1, 0, 5]}, "the box has no area; correct or remove it"),
        ({"bbox": [float("nan"), 1, 5, 5]}, "not finite"),
        ({"bbox": [1, 1, float("inf"), 5]}, "not finite"),
        ({"bbox": [1, 1, 10**400, 5]}, "not finite"),
        ({"bbox": [50, 50, 5, 5]}, "lies outside of the picture of 40x40 pixels"),
        ({"bbox": [-9, 1, 5, 5]}, "lies outside"),
        ({"bbox": ["1", 1, 5, 5]}, "not four numbers"),
        ({"bbox": [True, 1, 5, 5]}, "not four numbers"),
        ({"bbox": [1, 1, 5, 5, 30]}, "bbox has 5 numbers: only upright boxes"),
        ({"bbox": "absent"}, "an annotation without bbox"),
        ({"bbox": {}}, "an annotation without bbox"),
        ({"attributes": {"rotation": 12.5}}, "a rotated box"),
        ({"category_id": 4}, "category_id 4 is the id of no category"),
        ({"category_id": 3.5}, "category_id 3.5 is the id of no category"),
        ({"category_id": "absent"}, "category_id None is the id of no category"),
    ],
)
def test_what_is_wrong_with_an_annotation_is_told(
    place: Place, fields: dict[str, Any], named: str
) -> None:
    place.run_folder(source(annotations=changed(**fields)), invalidPercent=20)
    (bad,) = place.reporter.report["badItems"]
    assert bad["path"] == "images/1.png"
    assert named in bad["problem"]


def test_an_id_that_is_used_twice_is_told(place: Place) -> None:
    place.run_folder(source(annotations=changed(id=100)), invalidPercent=20)
    assert "its id is used more than once" in place.reporter.report["badItems"][0]["problem"]


def test_a_picture_id_that_is_used_twice_makes_both_pictures_bad(place: Place) -> None:
    images = document()["images"]
    images[1]["id"] = 0
    annotations = [a for a in document()["annotations"] if a["image_id"] != 1]
    record = place.run_folder(source(images=images, annotations=annotations), invalidPercent=20)
    assert record["invalid"] == 2
    assert [b["path"] for b in place.reporter.report["badItems"]] == [
        "images/0.png",
        "images/1.png",
    ]


def test_annotations_of_no_picture_and_pictures_that_are_not_there_are_told(place: Place) -> None:
    files = source(annotations=changed(image_id=77))
    del files["images/2.png"]
    files["images/stray.png"] = photo(99)
    place.run_folder(files, invalidPercent=30)
    problems = {b["path"]: b["problem"] for b in place.reporter.report["badItems"]}
    assert set(problems) == {"2.png", "labels.json", "images/stray.png"}
    assert problems["2.png"] == "listed in labels.json, but not there"
    assert "annotations[1].image_id 77 is the id of no image" in problems["labels.json"]
    assert problems["images/stray.png"].startswith("not at a path that a JSON file")


def test_a_picture_in_two_files_is_told(place: Place) -> None:
    files = {
        "train.json": encoded(document()),
        "test.json": encoded(document(1)),
        **photos("images/"),
    }
    place.run_folder(files, invalidPercent=20)
    (bad,) = place.reporter.report["badItems"]
    assert bad["path"] == "images/0.png" and "listed twice" in bad["problem"]


def test_a_stated_size_that_is_not_the_pictures_is_told(place: Place) -> None:
    images = document()["images"]
    images[0]["width"] = 80
    images[1] |= {"width": None, "height": None}
    place.run_folder(source(images=images), invalidPercent=20)
    (bad,) = place.reporter.report["badItems"]
    assert "annotated at 80x40 pixels, but the upright picture has 40x40" in bad["problem"]


def test_boxes_beyond_the_picture_are_clipped_and_counted(place: Place) -> None:
    dataset = stored(place, place.run_folder(source(annotations=changed(bbox=[-3, 5, 100, 8]))))
    assert place.reporter.report["boxes"]["clipped"] == 1
    assert (Box(0, 0, 5, SIDE, 13),) in {item.boxes for item in everything(dataset)}


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b'{"images": [], "annotations": [], "images": []}', "the key `images` is there twice"),
        (b'{"images": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"images": [', "not readable as JSON"),
        (b"\xff\xfe{", "not readable as JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not readable as JSON"),
        (encoded(document(images={"id": 1})), "images is not a list"),
        (encoded(document(categories=[{"id": 1}])), "categories[0] has no id or no name"),
        (encoded(document(categories=[CATEGORIES[0]] * 2)), "categories[].id 3 is used more than"),
        (encoded(document(annotations=[{"bbox": [1, 1, 2, 2]}])), "annotations[0] has no image_id"),
        (encoded(document(images=[{"id": 1}])), "images[0] has no id or no file_name"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(place: Place, data: bytes, named: str) -> None:
    failure = place.failure({"labels.json": data, **photos("images/")})
    assert failure.reason == "InputInvalid"
    assert "`labels.json`" in failure.message and named in failure.message


def test_without_a_file_there_is_nothing(place: Place) -> None:
    failure = place.failure(photos("images/"))
    assert (failure.reason, "no JSON file" in failure.message) == ("NoData", True)


def test_a_file_that_is_too_large_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco, "MAX_JSON_BYTES", 1000)
    failure = place.failure(source())
    assert "bytes are more than 1000" in failure.message


def test_a_file_may_be_larger_than_a_picture_may(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (importer, folder):
        monkeypatch.setattr(module, "MAX_FILE_BYTES", 5000)
    files = source()
    assert len(files["labels.json"]) < 5000
    files["labels.json"] += b" " * 5000
    assert sum(place.run_folder(files)["items"].values()) == 12


def test_outlines_are_never_in_memory_all_at_once() -> None:
    outline = [float(n) + 0.5 for n in range(400)]
    annotations = [{**document()["annotations"][0], "id": n} for n in range(300)]
    data = encoded(document(annotations=[{**a, "segmentation": [outline]} for a in annotations]))
    layout = coco.Coco()
    tracemalloc.start()
    try:
        layout.annotate("labels.json", data)
        # The text once more, and little else; whole it would be five times as much.
        assert tracemalloc.get_traced_memory()[1] < 1.6 * len(data)
    finally:
        tracemalloc.stop()


def test_the_order_of_files_pictures_and_annotations_does_not_matter(place: Place) -> None:
    first = place.run_archive(tar_of(source()))
    whole = document()
    turned = document(**{k: whole[k][::-1] for k in ("images", "annotations", "categories")})
    files = {**photos("images/"), "labels.json": encoded(turned)}
    second = place.run_archive(tar_of(files))
    assert (first["digest"], first["splitDigest"]) == (second["digest"], second["splitDigest"])
