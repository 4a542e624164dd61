"""The format `auto`."""

import json
from pathlib import Path

import pytest

from deeptrain_trainer.dataset import importer
from deeptrain_trainer.failure import Stopped

from .annotated import SIDE, photo
from .samples import Place, tar_of, zip_of
from .videos import clip

PHOTOS = {f"images/{n}.png": photo(n) for n in range(12)}
FOLDERS = {f"{('cat', 'dog')[n % 2]}/{n}.png": photo(n) for n in range(12)}
COCO = {
    "annotations/any name.json": json.dumps(
        {
            "images": [{"id": n, "file_name": f"{n}.png"} for n in range(12)],
            "categories": [{"id": 1, "name": "cat"}],
            "annotations": [
                {"id": n, "image_id": n, "category_id": 1, "bbox": [1, 1, 9, 9]} for n in range(12)
            ],
        }
    ).encode(),
    **PHOTOS,
}
YOLO = {
    "data.yaml": b"names: [cat]\n",
    **PHOTOS,
    **{f"labels/{n}.txt": b"0 0.5 0.5 0.2 0.2" for n in range(12)},
}
XML = (
    f"<annotation><size><width>{SIDE}</width><height>{SIDE}</height></size><object><name>cat</name>"
    "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
).encode()
VOC = {
    f"VOC/{name}": data
    for n in range(12)
    for name, data in ((f"JPEGImages/{n}.png", photo(n)), (f"Annotations/{n}.xml", XML))
}
CSV = {
    "list.csv": ("path,concepts\n" + "".join(f"{n}.png,cat\n" for n in range(12))).encode(),
    **PHOTOS,
}
SOURCES = {"imageFolder": FOLDERS, "coco": COCO, "yolo": YOLO, "voc": VOC, "csv": CSV}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Imports as `auto`."""
    place = Place(tmp_path)
    place.format = "auto"
    return place


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("packed", ["folder", "tar", "tar.gz", "zip"])
def test_each_format_is_found_and_told(place: Place, name: str, packed: str) -> None:
    files = SOURCES[name]
    if packed == "folder":
        record = place.run_folder(files)
    else:
        mode = "w:gz" if packed == "tar.gz" else "w"
        record = place.run_archive(zip_of(files) if packed == "zip" else tar_of(files, mode=mode))
    assert record["invalid"] == 0 and sum(record["items"].values()) == 12
    assert place.reporter.report["format"] == name
    assert ("boxes" in place.reporter.report) == (name in ("coco", "yolo", "voc"))


def test_what_is_found_is_what_is_named(place: Place) -> None:
    found = place.run_folder(CSV)
    place.format = "csv"
    named = place.run_folder(CSV, object={"uid": "another"})
    assert (found["digest"], found["splitDigest"]) == (named["digest"], named["splitDigest"])
    assert "format" not in place.reporter.report


def test_videos_are_found_and_sampled(place: Place) -> None:
    clips = {f"{colour}/1.mp4": clip(colour, 1) for colour in ("red", "blue")}
    place.run_folder(clips, framesPerSecond=2)
    report = place.reporter.report
    assert (report["format"], report["videos"]) == ("videoFolder", 2)


@pytest.mark.parametrize(
    "stray",
    [
        {"notes.json": b'{"images": 3}'},
        {"notes.xml": b"<project/>"},
        {"mkdocs.yaml": b"nav: []"},
        {"sizes.csv": b"path,bytes\n1,2"},
        {"README.md": b"# names:"},
        {"cat/clip.mp4": b"not a picture"},
    ],
)
def test_other_files_are_no_annotations(place: Place, stray: dict[str, bytes]) -> None:
    place.run_folder({**FOLDERS, **stray}, invalidPercent=10)
    assert place.reporter.report["format"] == "imageFolder"


def test_annotations_in_two_formats_are_told(place: Place) -> None:
    failure = place.failure({**COCO, **CSV})
    assert failure.reason == "InputInvalid"
    assert failure.message == (
        "spec.format: auto, but there are annotations of coco (`annotations/any name.json`) and "
        "csv (`list.csv`): name one"
    )


def test_an_empty_source_has_no_data(place: Place) -> None:
    assert place.failure({"README.md": b"soon"}).reason == "NoData"


def test_a_list_that_cannot_be_read_is_told_while_the_format_is_looked_for(place: Place) -> None:
    failure = place.failure({"a.csv": b"path;concepts\n", **PHOTOS})
    assert failure.reason == "InputInvalid" and "semicolons" in failure.message


def test_it_can_be_stopped_while_it_looks(place: Place) -> None:
    looked = 0

    def stop() -> None:
        nonlocal looked
        looked += 1
        if looked > 5:
            raise Stopped

    folder = place.source / "photos"
    folder.mkdir()
    for name, data in FOLDERS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    run = place.run_file({"pvc": {"path": str(folder)}})
    settings = importer.Settings(source_root=place.source, processes=1)
    with pytest.raises(Stopped):
        importer.run_import(run, place.reporter, stop, settings)
    assert place.left() == []
