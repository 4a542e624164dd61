"""The format `voc`."""

import json
from pathlib import Path

import pytest

from deeptrain_trainer.dataset import voc
from deeptrain_trainer.dataset.box import Box
from deeptrain_trainer.failure import Failure

from .annotated import SIDE, everything, photo, stored
from .samples import Place, tar_of

ROOT = Path(__file__).resolve().parents[3]
OBJECT = (
    "<object><name>{}</name>{}<bndbox>"
    "<xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)


def thing(name: str, *edges: object, more: str = "") -> str:
    return OBJECT.format(name, more, *edges)


def xml(*objects: str, size: int = SIDE, head: str = "") -> bytes:
    sides = f"<size><width>{size}</width><height>{size}</height><depth>3</depth></size>"
    return f"{head}<annotation>{sides}{''.join(objects)}</annotation>".encode()


CAT = thing("cat", 1, 1, 10, 20)
DOG = thing("dog", 11, 11, 30, 30)


def source(count: int = 12, prefix: str = "") -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for n in range(count):
        files[f"{prefix}JPEGImages/{n:03}.png"] = photo(n)
        files[f"{prefix}Annotations/{n:03}.xml"] = xml(CAT if n % 2 else DOG)
    return files


def lists(**names: range) -> dict[str, bytes]:
    return {
        f"ImageSets/Main/{name}.txt": "".join(f"{n:03}\n" for n in numbers).encode()
        for name, numbers in names.items()
    }


def bad_of(place: Place, annotation: bytes | None, **more: bytes) -> str:
    """What is said of an item with that annotation among good ones."""
    files = {**source(), "JPEGImages/odd.png": photo(900), **more}
    if annotation is not None:
        files["Annotations/odd.xml"] = annotation
    place.run_folder(files, invalidPercent=20)
    (bad,) = place.reporter.report["badItems"]
    assert bad["path"] == "JPEGImages/odd.png"
    return str(bad["problem"])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Imports as `voc`."""
    place = Place(tmp_path)
    place.format = "voc"
    return place


def test_boxes_count_from_0_and_their_maxima_are_exclusive(place: Place) -> None:
    record = place.run_folder(source())
    dataset = stored(place, record)
    assert dataset.concepts == ("cat", "dog")
    assert {item.boxes for item in everything(dataset)} == {
        (Box(0, 0, 0, 10, 20),),
        (Box(1, 10, 10, 30, 30),),
    }
    assert {(item.labels, item.boxes[0].concept) for item in everything(dataset)} == {
        ((0,), 0),
        ((1,), 1),
    }
    assert {(item.width, item.height) for item in everything(dataset)} == {(SIDE, SIDE)}
    report = place.reporter.report
    assert report["boxes"]["small"] == 12 and report["boxes"]["ignored"] == 0
    assert sum(report["boxes"][s] for s in ("train", "validation", "test")) == 12
    assert [c["boxes"] for c in report["concepts"]] == [6, 6]


@pytest.mark.parametrize("prefix", ["", "VOCdevkit/VOC2007/"])
def test_lists_give_the_splits(place: Place, prefix: str) -> None:
    files = source() | lists(train=range(6), val=range(6, 8), trainval=range(8), test=range(8, 11))
    files["ImageSets/Main/cat_train.txt"] = b"000 1\n001 -1\n"
    record = place.run_archive(tar_of({prefix + name: data for name, data in files.items()}))
    assert record["items"] == {"train": 6, "validation": 2, "test": 3}
    assert record["invalid"] == 0, "what no list has is no part of the dataset"


def test_trainval_and_test_alone_carve_validation_out_of_trainval(place: Place) -> None:
    record = place.run_folder(source(40) | lists(trainval=range(30), test=range(30, 40)))
    assert record["items"]["test"] == 10
    assert record["items"]["validation"] > 0
    assert record["items"]["train"] + record["items"]["validation"] == 30


def test_one_list_alone_divides_nothing(place: Place) -> None:
    record = place.run_folder(source(60) | lists(trainval=range(50)))
    assert sum(record["items"].values()) == 50
    assert record["items"]["test"] > 0


def test_annotations_may_lie_beside_the_pictures_of_each_split(place: Place) -> None:
    files: dict[str, bytes] = {}
    for n, split in enumerate(["train"] * 8 + ["valid"] * 2 + ["test"] * 2):
        files[f"set/{split}/{n}.png"] = photo(n)
        files[f"set/{split}/{n}.xml"] = xml(CAT, DOG)
    record = place.run_folder(files)
    assert record["items"] == {"train": 8, "validation": 2, "test": 2}


def test_two_sets_side_by_side(place: Place) -> None:
    other = {
        name: photo(500 + n) if name.endswith("png") else data
        for n, (name, data) in enumerate(source().items())
    }
    files = {f"VOC2007/{name}": data for name, data in source().items()}
    record = place.run_folder(files | {f"VOC2012/{name}": data for name, data in other.items()})
    assert sum(record["items"].values()) == 24


def test_difficult_is_ignored_and_shows_no_concept(place: Place) -> None:
    files = source() | {
        "JPEGImages/odd.png": photo(900),
        "Annotations/odd.xml": xml(
            thing("cat", 1, 1, 9, 9, more="<difficult>1</difficult>"),
            thing("owl", 1, 1, 9, 9, more="<difficult>1</difficult>"),
        ),
    }
    record = place.run_folder(files)
    dataset = stored(place, record)
    assert dataset.concepts == ("cat", "dog"), "a concept of ignored boxes alone is none"
    (odd,) = [item for item in everything(dataset) if not item.labels]
    assert odd.boxes == (Box(0, 0, 0, 9, 9, True),)
    assert place.reporter.report["boxes"]["ignored"] == 1


def test_a_picture_without_objects_is_background(place: Place) -> None:
    files = source() | {"JPEGImages/odd.png": photo(900), "Annotations/odd.xml": xml()}
    assert sum(place.run_folder(files)["items"].values()) == 13


def test_boxes_beyond_the_picture_are_clipped_and_counted(place: Place) -> None:
    files = source() | {
        "JPEGImages/odd.png": photo(900),
        "Annotations/odd.xml": xml(thing("cat", 0, 1, 99, 20), CAT),
    }
    dataset = stored(place, place.run_folder(files))
    assert place.reporter.report["boxes"]["clipped"] == 1
    (odd,) = [item for item in everything(dataset) if len(item.boxes) == 2]
    assert Box(0, 0, 0, SIDE, 20) in odd.boxes


@pytest.mark.parametrize(
    ("annotation", "named"),
    [
        (xml(thing("cat", 20, 1, 10, 20)), "object `cat` with bndbox [20, 1, 10, 20]: a minimum"),
        (xml(thing("cat", "nan", 1, 10, 20)), "not finite"),
        (xml(thing("cat", "inf", 1, "inf", 20)), "not finite"),
        (xml(thing("cat", "", 1, 10, 20)), "not four numbers"),
        (xml(thing("cat", 50, 50, 60, 60)), "lies outside of the picture of 40x40 pixels"),
        (xml(thing("", 1, 1, 10, 20)), "an object has no name"),
        (xml(CAT, size=80), "annotated at 80x80 pixels, but the upright picture has 40x40"),
        (xml(thing("cat", 1, 1, 9, 9, more="<rotation>30</rotation>")), "<rotation>: only upright"),
        (xml(CAT.replace("</xmin>", "</xmin><angle>0.5</angle>")), "<angle>: only upright"),
        (xml("<object><name>cat</name><polygon><x1>1</x1></polygon></object>"), "<polygon>"),
        (xml("<object><name>cat</name><robndbox><cx>1</cx></robndbox></object>"), "<robndbox>"),
        (b"<annotation><object>", "not readable as XML"),
        (b"", "not readable as XML"),
        (b"\xff\xfe\x00", "not readable as XML"),
        (b"<?xml version='1.0' encoding='nonsense'?><a/>", "not readable as XML"),
        (b"<a>" * 5000, "nested deeper"),
        (None, "it has no annotation: add its .xml"),
    ],
)
def test_what_is_wrong_with_an_annotation_is_told(
    place: Place, annotation: bytes | None, named: str
) -> None:
    assert named in bad_of(place, annotation)


BOMB = "".join(f"<!ENTITY b{n} '{f'&b{n - 1};' * 10}'>" for n in range(1, 12))


@pytest.mark.parametrize(
    "head",
    [
        "<!DOCTYPE a SYSTEM 'http://127.0.0.1:1/a.dtd'>",
        "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>",
        "<!DOCTYPE a [<!ENTITY % x SYSTEM 'file:///etc/passwd'> %x;]>",
        f"<!DOCTYPE a [<!ENTITY b0 'lol'>{BOMB}]>",
    ],
)
def test_document_types_and_entities_are_refused(place: Place, head: str) -> None:
    annotation = xml(thing("&b11;" if "b11" in head else "cat", 1, 1, 9, 9), head=head)
    assert "it has a DTD or entities, which are not read" in bad_of(place, annotation)


def test_parts_have_boxes_of_their_own(place: Place) -> None:
    head = "<part><name>head</name><bndbox><xmin>99</xmin></bndbox></part>"
    files = source() | {
        "JPEGImages/odd.png": photo(900),
        "Annotations/odd.xml": xml(CAT.replace("</object>", f"{head}</object>")),
    }
    assert place.run_folder(files)["invalid"] == 0


def test_what_has_no_picture_is_told(place: Place) -> None:
    files = source(20) | lists(train=range(14), test=range(14, 21))
    del files["JPEGImages/003.png"]
    place.run_folder(files, invalidPercent=20)
    assert [bad["path"] for bad in place.reporter.report["badItems"]] == ["003.xml", "020"]


def test_a_list_that_cannot_be_read_is_named(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voc, "_MAX_LIST_BYTES", 10)
    failure = place.failure(source() | lists(train=range(10), test=range(10, 12)))
    assert failure.reason == "InputInvalid"
    assert "`ImageSets/Main/test" in failure.message or "`ImageSets/Main/train" in failure.message


def test_a_name_in_two_splits_is_told(place: Place) -> None:
    place.run_folder(source(20) | lists(train=range(16), test=range(15, 20)), invalidPercent=20)
    (bad,) = place.reporter.report["badItems"]
    assert "listed both for training and held out" in bad["problem"]


def test_too_many_bad_boxes_fail_the_import(place: Place) -> None:
    files = source() | {"Annotations/000.xml": xml(thing("cat", 9, 9, 1, 1))}
    failure = place.failure(files)
    assert failure.reason == "InvalidDataToleranceExceeded"
    assert "a minimum is above its maximum" in json.dumps(failure.facts)


def test_no_boxes_at_all_are_no_dataset(place: Place) -> None:
    files = {f"JPEGImages/{n}.png": photo(n) for n in range(3)}
    failure = place.failure(files | {f"Annotations/{n}.xml": xml() for n in range(3)})
    assert (failure.reason, failure.message) == ("NoData", "none of the 3 images has a box")


def test_a_closed_list_of_concepts_holds(place: Place) -> None:
    place.run_folder(source(), concepts=["dog", "cat"])
    assert [c["name"] for c in place.reporter.report["concepts"]] == ["dog", "cat"]
    with pytest.raises(Failure) as failed:
        place.run_folder(source(), concepts=["dog", "cat", "owl"])
    failure = failed.value
    assert "missing in the data: `owl`" in failure.message


def test_the_order_of_the_files_does_not_matter(place: Place) -> None:
    first = place.run_archive(tar_of(source()))
    second = place.run_archive(tar_of(dict(reversed(source().items()))))
    assert first["digest"] == second["digest"]
    assert first["splitDigest"] == second["splitDigest"]


def test_another_box_is_another_dataset(place: Place) -> None:
    first = place.run_archive(tar_of(source()))
    moved = source() | {"Annotations/000.xml": xml(thing("dog", 11, 11, 30, 31))}
    assert place.run_archive(tar_of(moved))["digest"] != first["digest"]


def test_the_real_bccd(place: Place) -> None:
    archive = ROOT.parent / "shared" / "data" / "bccd.tar.gz"
    if not archive.exists():
        pytest.skip("bccd.tar.gz is not in ../shared/data")
    place.source = archive.parent
    record = place.run({"pvc": {"path": str(archive)}})
    assert record["items"] == {"train": 205, "validation": 87, "test": 72}
    report = place.reporter.report
    assert {c["name"]: c["boxes"] for c in report["concepts"]} == {
        "Platelets": 361,
        "RBC": 4155,
        "WBC": 372,
    }
    assert (report["invalid"], report["boxes"]["clipped"]) == (0, 0)
