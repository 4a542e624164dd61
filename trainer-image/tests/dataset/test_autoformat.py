"""The format `auto`."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from deeptrain_trainer.dataset import importer
from deeptrain_trainer.dataset.autoformat import FoundFormat, format_of
from deeptrain_trainer.dataset.member import Member
from deeptrain_trainer.failure import Stopped

from .annotated import SIDE, photo
from .samples import Place, stopping_after, tar_of, write_files, zip_of
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
TRAIN = {f"train/{n}.png": photo(n) for n in range(12)}


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
    "names", [b"\xef\xbb\xbfnames: [cat]", b'"names": {0: cat}', b"nc: 1\nnames:\n- cat\n"]
)
def test_names_of_yolo_are_found_however_they_are_written(place: Place, names: bytes) -> None:
    place.run_folder({**YOLO, "data.yaml": names})
    assert place.reporter.report["format"] == "yolo"


def test_yolo_may_have_its_names_in_classes_txt(place: Place) -> None:
    rest = {name: data for name, data in YOLO.items() if name != "data.yaml"}
    place.run_folder({**rest, "classes.txt": b"cat\n"})
    assert place.reporter.report["format"] == "yolo"


@pytest.mark.parametrize(
    "stray",
    [
        {"notes.json": b'{"images": 3}'},
        {"captions_train.json": COCO["annotations/any name.json"]},
        {"images.json": b'{"images": [], "annotations": []}'},
        {"notes.xml": b"<project/>"},
        {"annotations.xml": b"<annotations><image><box/></image></annotations>"},
        {"mkdocs.yml": b"nav: []"},
        {"broken.yaml": b"names: ["},
        {"data.yaml": b"names: [cat, dog]"},
        {"a.json": b"{}", "data.yaml": b"names: [cat, dog]"},
        {"classes.txt": b"cat\ndog"},
        {"sizes.csv": b"path,bytes\n1,2"},
        {"README.md": b"# names:"},
        {"cat/clip.mp4": b"not a picture"},
    ],
)
def test_other_files_are_no_annotations(place: Place, stray: dict[str, bytes]) -> None:
    place.run_folder({**FOLDERS, **stray}, invalidPercent=10)
    assert place.reporter.report["format"] == "imageFolder"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({**TRAIN, "train.csv": b"id,label\n0,cat"}, "`train`, which is no concept, and `train.csv` is no annotation"),
        ({**TRAIN, "train/_classes.csv": b"filename, cat\n"}, "`train/_classes.csv` is no annotation"),
        ({**PHOTOS, "annotations.xml": b"<annotations/>"}, "`images`, which is no concept, and `annotations.xml` is"),
        (PHOTOS, "folder `images`, which is no concept, and there is no annotation that is known"),
    ],
)  # fmt: skip
def test_layouts_of_others_do_not_become_concepts(
    place: Place, files: dict[str, bytes], message: str
) -> None:
    failure = place.failure(files)
    assert failure.reason == "InputInvalid"
    assert failure.message.startswith("spec.format: auto, but files lie in a")
    assert failure.message.endswith("known: name the format")
    assert message in failure.message


def test_annotations_that_are_too_large_are_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeptrain_trainer.dataset.coco.MAX_JSON_BYTES", 100)
    failure = place.failure(COCO)
    assert failure.reason == "InputInvalid"
    assert "auto, but `annotations/any name.json` cannot be read: " in failure.message
    assert "bytes are more than 100: name the format" in failure.message


def test_a_failure_says_what_the_source_was_taken_for(place: Place) -> None:
    broken = COCO["annotations/any name.json"].replace(b'"bbox": [1, 1', b'"bbox": [90, 1')
    failure = place.failure({**COCO, "annotations/any name.json": broken})
    assert failure.reason == "InvalidDataToleranceExceeded" and failure.exit_code == 42
    assert failure.facts["invalid"] == 12
    hint = "(spec.format: auto took it for coco, because of `annotations/any name.json`; name the"
    assert hint in failure.message


def test_a_failure_says_that_there_were_no_annotations(place: Place) -> None:
    failure = place.failure({"cat/1.png": b"no picture"})
    assert "auto took it for imageFolder, without annotations" in failure.message


def test_a_claim_that_is_emptied_between_the_looks_is_not_found(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def emptying(members: Iterable[Member]) -> FoundFormat:
        found = format_of(members)
        shutil.rmtree(place.source)
        return found

    monkeypatch.setattr(importer, "format_of", emptying)
    failure = place.failure(tar_of(FOLDERS))
    assert failure.reason == "SourceNotFound"
    place.source.mkdir()
    assert place.failure(FOLDERS).reason == "SourceNotFound"


def test_annotations_in_two_formats_are_told(place: Place) -> None:
    failure = place.failure({**COCO, **CSV})
    assert failure.reason == "InputInvalid"
    assert failure.message == (
        "spec.format: auto, but there are annotations of coco (`annotations/any name.json`) and "
        "csv (`list.csv`): name the format"
    )


def test_an_empty_source_has_no_data(place: Place) -> None:
    assert place.failure({"README.md": b"soon"}).reason == "NoData"


def test_a_list_that_cannot_be_read_is_told_while_the_format_is_looked_for(place: Place) -> None:
    failure = place.failure({"a.csv": b"path;concepts\n", **PHOTOS})
    assert failure.reason == "InputInvalid" and "semicolons" in failure.message


def test_it_can_be_stopped_while_it_looks(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importer, "layout_of", lambda _name: pytest.fail("the look was over"))
    folder = write_files(place.source / "photos", FOLDERS)
    run = place.run_file({"pvc": {"path": str(folder)}})
    settings = importer.Settings(source_root=place.source, processes=1)
    with pytest.raises(Stopped):
        importer.run_import(run, place.reporter, stopping_after(5), settings)
    assert place.left() == []
