"""The format `yolo`."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from deeptrain_trainer.dataset.box import Box

from .annotated import SIDE, everything, photo, stored
from .samples import Place, tar_of

NAMES = b"train: images/train\nnc: 3\nnames: [dog, cat, owl]\n"
DOG, CAT = "0 0.25 0.5 0.25 0.5\n", "1 0.5 0.5 0.5 0.5\n"


def pairs(images: str, labels: str, numbers: range) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for n in numbers:
        files[f"{images}/{n}.png"] = photo(n)
        files[f"{labels}/{n}.txt"] = (CAT if n % 2 else DOG).encode()
    return files


def source(count: int = 12) -> dict[str, bytes]:
    return {"data.yaml": NAMES, **pairs("images", "labels", range(count))}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Imports as `yolo`."""
    place = Place(tmp_path)
    place.format = "yolo"
    return place


def test_boxes_are_shares_around_their_centre(place: Place) -> None:
    dataset = stored(place, place.run_folder(source()))
    assert dataset.concepts == ("cat", "dog")
    assert {item.boxes for item in everything(dataset)} == {
        (Box(1, 5, 10, 15, 30),),
        (Box(0, 10, 10, 30, 30),),
    }
    assert place.reporter.report["boxes"]["clipped"] == 0
    assert SIDE == 40


@pytest.mark.parametrize(
    ("images", "labels"),
    [("images/{}", "labels/{}"), ("{}/images", "{}/labels"), ("set/{}/images", "set/{}/labels")],
)
def test_folders_give_the_splits_in_either_order(place: Place, images: str, labels: str) -> None:
    files = {"data.yaml": NAMES, "README.roboflow.txt": b"hello"}
    for split, numbers in (("train", range(8)), ("valid", range(8, 11)), ("test", range(11, 13))):
        files |= pairs(images.format(split), labels.format(split), numbers)
    record = place.run_archive(tar_of(files))
    assert record["items"] == {"train": 8, "validation": 3, "test": 2}
    assert record["invalid"] == 0


@pytest.mark.parametrize(
    "names",
    [
        {"coco.yml": b"names:\n  0: dog\n  1: cat\n"},
        {"data.yaml": b"names:\n- dog\n- cat\n", "classes.txt": b"x\ny\n"},
        {"classes.txt": b"dog\ncat\n"},
    ],
)
def test_names_are_a_list_a_map_or_lines(place: Place, names: dict[str, bytes]) -> None:
    files = source() | names
    if "data.yaml" not in names:
        del files["data.yaml"]
    assert stored(place, place.run_folder(files)).concepts == ("cat", "dog")


def test_names_are_texts_whatever_yaml_makes_of_them(place: Place) -> None:
    files = source() | {"data.yaml": b"names: [no, 1]\n"}
    assert stored(place, place.run_folder(files)).concepts == ("1", "no")


def test_a_picture_without_lines_or_file_is_background(place: Place) -> None:
    files = source() | {"labels/0.txt": b"\n"}
    del files["labels/1.txt"]
    dataset = stored(place, place.run_folder(files))
    assert sorted(len(item.boxes) for item in everything(dataset)) == [0] * 2 + [1] * 10


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("7 .5 .5 .1 .1", "class 7, but `data.yaml` has 3 names"),
        ("0 .5 .5 .1 .1 .9", "line 1 has 6 columns: a sixth is a confidence"),
        ("0 .1 .1 .2 .1 .2 .2 .1 .2", "polygons and rotated boxes are not accepted"),
        ("0 .5 .5", "line 1 has 3 columns"),
        ("0 20 20 10 10", "larger than 1, as if in pixels"),
        ("0 .5 .5 0 .1", "not a box"),
        ("0 .5 .5 -.1 .1", "not a box"),
        ("0 nan .5 .1 .1", "not a box"),
        ("0 inf .5 .1 .1", "larger than 1"),
        ("cat .5 .5 .1 .1", "not five numbers"),
        ("0.5 .5 .5 .1 .1", "no whole number from 0"),
        ("-1 .5 .5 .1 .1", "no whole number from 0"),
        ("\x00\xff", "columns"),
    ],
)
def test_what_is_wrong_with_a_line_is_told(place: Place, line: str, named: str) -> None:
    place.run_folder(source() | {"labels/3.txt": line.encode()}, invalidPercent=20)
    (bad,) = place.reporter.report["badItems"]
    assert bad["path"] == "images/3.png"
    assert named in bad["problem"]


def test_classes_that_are_counted_from_1_are_told(place: Place) -> None:
    files = source()
    for n in range(12):
        files[f"labels/{n}.txt"] = f"{1 + n % 3} .5 .5 .2 .2".encode()
    place.run_folder(files, invalidPercent=50)
    problems = {bad["problem"] for bad in place.reporter.report["badItems"]}
    assert problems == {
        "box 1: class 3, but `data.yaml` has 3 names: YOLO counts classes from 0, these seem to "
        "begin with 1"
    }


def test_a_label_file_that_is_no_text_is_told(place: Place) -> None:
    place.run_folder(source() | {"labels/3.txt": b"\xff\xfe\x00"}, invalidPercent=20)
    assert "not a text file" in place.reporter.report["badItems"][0]["problem"]


def test_a_label_file_without_a_picture_is_told(place: Place) -> None:
    place.run_folder(source() | {"labels/lost.txt": DOG.encode()}, invalidPercent=20)
    assert "no picture of its name" in place.reporter.report["badItems"][0]["problem"]


def test_boxes_beyond_the_picture_are_clipped_and_counted(place: Place) -> None:
    files = source() | {"labels/3.txt": b"1 .1 .5 .5 .5\r\n1 0.5 0.5 1.0 1.0000004\r\n"}
    dataset = stored(place, place.run_folder(files))
    assert place.reporter.report["boxes"]["clipped"] == 1, "rounding is no clipping"
    (odd,) = [item for item in everything(dataset) if len(item.boxes) == 2]
    assert set(odd.boxes) == {Box(0, 0, 10, 14, 30), Box(0, 0, 0, SIDE, SIDE)}


@pytest.mark.parametrize(
    ("names", "named"),
    [
        (b"names: {1: dog, 2: cat}", "the keys of names are not 0, 1, 2"),
        (b"names: dog", "neither a list nor a map"),
        (b"names: [[a]]", "neither a list nor a map"),
        (b"names: [a", "not readable as YAML"),
        (b"[" * 50_000, "not readable as YAML"),
        (b"a: &a [x]\nb: &b [*a, *a]\nnames: [*b, *b]", "neither a list nor a map"),
    ],
)
def test_names_that_cannot_be_used_are_told(place: Place, names: bytes, named: str) -> None:
    failure = place.failure(source() | {"data.yaml": names})
    assert failure.reason == "InputInvalid"
    assert named in failure.message and "`data.yaml`" in failure.message


def test_without_names_there_is_nothing(place: Place) -> None:
    failure = place.failure(source() | {"data.yaml": b"nc: 3"})
    assert (failure.reason, "names" in failure.message) == ("NoData", True)


def divided(yaml: str, folders: dict[str, range]) -> dict[str, bytes]:
    """Pictures in `images` and labels in `labels` of the folders; none is named after a split."""
    files = {"data.yaml": f"names: [dog, cat]\n{yaml}".encode()}
    for folder, numbers in folders.items():
        files |= pairs(f"images/{folder}", f"labels/{folder}", numbers)
    return files


YEARS = {"a2016": range(8), "a2017": range(8, 11), "a2018": range(11, 13)}
NAMED = {"train": 8, "validation": 3, "test": 2}


@pytest.mark.parametrize(
    "yaml",
    [
        "train: images/a2016\nval: images/a2017\ntest: images/a2018",
        "train: ./images/a2016/\nvalid: images/x/../a2017\ntest: [images/a2018]",
        # The path is one of its author's machine; Roboflow writes `../` in a file at the root.
        "path: /content/photos\ntrain: ../images/a2016\nval: ../images/a2017\ntest: ../images/a2018",
        "path: images\ntrain: a2016\nval: a2017\ntest: a2018",
        "path: ../..\ntrain: images/a2016\nval: images/a2017\ntest: images/a2018",
        # A folder within another one has its own split; what is named again stays with the first.
        "train: images\nval: images/a2017\ntest: [images/a2018, images/a2017]",
    ],
)
def test_data_yaml_names_the_folders_of_the_splits(place: Place, yaml: str) -> None:
    assert place.run_folder(divided(yaml, YEARS))["items"] == NAMED


def test_paths_are_relative_to_the_file(place: Place) -> None:
    yaml = "train: images/a2016\nval: images/a2017\ntest: images/a2018"
    files = {f"set/{path}": data for path, data in divided(yaml, YEARS).items()}
    assert place.run_archive(tar_of(files))["items"] == NAMED


def test_what_data_yaml_says_goes_before_the_names_of_folders(place: Place) -> None:
    folders = {"train": range(8), "test": range(8, 11)}
    yaml = "train: images/train\nval: images/test"
    items = place.run_folder(divided(yaml, folders))["items"]
    assert items == {"train": 8, "validation": 3, "test": 0}


def test_pictures_of_no_named_folder_are_left_out(place: Place) -> None:
    record = place.run_folder(divided("train: images/a2016\nval: images/a2017", YEARS))
    assert record["items"] == {"train": 8, "validation": 3, "test": 0} and record["invalid"] == 0


@pytest.mark.parametrize(
    "yaml",
    [
        "train: images/a2016\nval: images/elsewhere\ntest: ../test/images",
        "train: images/a2016\nval: images/a2016",
        "train: images/a2016\nval:\ntest: null",
    ],
)
def test_one_named_folder_is_divided_by_ratio(place: Place, yaml: str) -> None:
    items = place.run_folder(divided(yaml, YEARS | {"a2016": range(20)}))["items"]
    assert sum(items.values()) == 20 and items["validation"] > 0


HOSTILE = [
    ("/etc", "leads out of the dataset"),
    ("../../../etc/passwd", "leads out of the dataset"),
    ("images/../../../etc", "leads out of the dataset"),
    ("C:/photos", "leads out of the dataset"),
    ("https://example.org/photos", "leads out of the dataset"),
    ("file:///etc", "leads out of the dataset"),
    ("..\\..\\etc.txt", "leads out of the dataset"),
    ("/etc/passwd.txt", "leads out of the dataset"),
    ("images\\a2016", "leads out of the dataset"),
]


@pytest.mark.parametrize(("path", "named"), HOSTILE)
@pytest.mark.parametrize("key", ["train", "val", "test"])
def test_paths_that_lead_elsewhere_are_refused(
    place: Place, key: str, path: str, named: str
) -> None:
    entries = {"train": "images/a2016", "val": "images/a2017", key: path}
    yaml = "".join(f"{name}: {value}\n" for name, value in entries.items())
    failure = place.failure(divided(yaml, YEARS))
    assert failure.reason == "InputInvalid"
    assert (
        "`data.yaml`" in failure.message
        and named in failure.message
        and "\n" not in failure.message
    )


@pytest.mark.parametrize(("path", "_named"), HOSTILE)
def test_where_the_folders_say_it_themselves_such_a_path_does_no_harm(
    place: Place, path: str, _named: str
) -> None:
    folders = {"train": range(8), "val": range(8, 11), "test": range(11, 13)}
    record = place.run_folder(divided(f"train: {path}\nval: images/val", folders))
    assert record["items"] == NAMED


@pytest.mark.parametrize(
    ("yaml", "named"),
    [
        ("train: {a: b}", "train is neither a path nor a list of paths"),
        ("val: [[a]]", "val is neither a path nor a list of paths"),
        ("train: images/gone\nval: images/a2017", "train is not there"),
    ],
)
def test_what_is_wrong_with_a_division_is_told(place: Place, yaml: str, named: str) -> None:
    failure = place.failure(divided(yaml, YEARS))
    assert failure.reason == "InputInvalid" and named in failure.message


def test_two_files_must_name_the_same_folders(place: Place) -> None:
    files = divided("train: images/a2016\nval: images/a2017", YEARS)
    other = files["data.yaml"].replace(b"a2017", b"a2018")
    failure = place.failure(files | {"other.yaml": other})
    assert "`data.yaml` and `other.yaml` name other folders" in failure.message
    # One that cannot be followed does not count beside one that can.
    lost = files["data.yaml"].replace(b"images/", b"/kaggle/images/")
    assert place.run_folder(files | {"other.yaml": lost})["items"]["validation"] == 3


def listing(*lines: str) -> bytes:
    return "\n".join(lines).encode()


LISTED = "train: train.txt\nval: lists/val.txt\ntest: gone.txt"


def test_data_yaml_may_name_lists_of_files(place: Place) -> None:
    """Relative to the list, or to `path`; a blank line and what no list has are left out."""
    files = divided(f"path: .\n{LISTED}", {"all": range(13)}) | {
        "train.txt": listing(*(f"./images/all/{n}.png" for n in range(8)), "", ""),
        "lists/val.txt": listing(
            "../images/all/8.png", "images/all/9.png", " images/all/10.png\r", "images/all/0.png"
        ),
        "README.txt": b"\xff\x00",
    }
    record = place.run_archive(tar_of(files))
    assert record["items"] == {"train": 8, "validation": 3, "test": 0} and record["invalid"] == 0


def test_listed_files_that_are_not_there_are_told(place: Place) -> None:
    files = divided("train: train.txt\nval: val.txt", {"all": range(8)}) | {
        "train.txt": listing(*(f"images/all/{n}.png" for n in range(6)), "images/all/lost.png"),
        "val.txt": listing("images/all/6.png", "images/all/7.png"),
    }
    record = place.run_folder(files, invalidPercent=20)
    assert record["items"] == {"train": 6, "validation": 2, "test": 0} and record["invalid"] == 1
    (bad,) = place.reporter.report["badItems"]
    assert bad["path"] == "images/all/lost.png" and "not there" in bad["problem"]


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (
            listing("images/all/0.png", "/etc/passwd"),
            "`train.txt`: line 2: `/etc/passwd` leads out",
        ),
        (listing("../../images/all/0.png"), "`train.txt`: line 1: .* leads out"),
        (listing("C:/images/all/0.png"), "leads out"),
        (listing("data/0.png", "data/1.png"), "`train.txt`: none of its 2 files is there"),
        (b"\xff\xfe\x00", "`train.txt`: is no text file"),
    ],
)
def test_lists_that_cannot_be_followed_are_refused(place: Place, lines: bytes, named: str) -> None:
    files = divided("train: train.txt\nval: images/all", {"all": range(8)})
    failure = place.failure(files | {"train.txt": lines})
    assert failure.reason == "InputInvalid" and re.search(named, failure.message)
    # Where the folders' own names say it, such a list does no harm.
    whole = divided("train: train.txt", {"train": range(8), "val": range(8, 11)})
    assert place.run_archive(tar_of(whole | {"train.txt": lines}))["items"]["validation"] == 3


def test_lists_that_are_too_long_are_refused_only_where_they_are_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deeptrain_trainer.dataset.yolo._MAX_LIST_BYTES", 1000)
    files = divided("train: train.txt\nval: images/all", {"all": range(8)})
    long = {"train.txt": b"images/all/0.png\n" * 100}
    assert "1700 bytes are more than 1000" in place.failure(files | long).message
    files["data.yaml"] = NAMES
    files |= {f"{n}.txt": b"x" * 999 for n in range(3)}
    assert sum(place.run_archive(tar_of(files | long))["items"].values()) == 8


def test_a_list_is_read_once_and_names_no_more_than_memory_is_meant_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not there is no item, so no limit of items counts it."""
    monkeypatch.setattr("deeptrain_trainer.dataset.division._LISTED", 20)
    files = divided(f"train: [{', '.join(['train.txt'] * 5)}]\nval: val.txt", {"all": range(8)})
    files["val.txt"] = listing("images/all/6.png", "images/all/7.png")
    there = [f"images/all/{n}.png" for n in range(6)]
    lost = [f"images/all/lost{n}.png" for n in range(40)]
    failure = place.failure(files | {"train.txt": listing(*there, *lost)})
    assert "`train.txt`: more files are listed than are there: 8" in failure.message
    read: list[str] = []

    def lines(file: str, content: bytes) -> Iterator[str]:
        read.append(file)
        return iter(content.decode().split("\n"))

    monkeypatch.setattr("deeptrain_trainer.dataset.division._lines", lines)
    # The same ones again, as where rare ones are to be seen more often, are no others.
    record = place.run_archive(tar_of(files | {"train.txt": listing(*there * 100)}))
    assert record["items"] == {"train": 6, "validation": 2, "test": 0}
    assert read == ["train.txt", "val.txt"]


def test_a_label_file_among_the_pictures_is_told(place: Place) -> None:
    record = place.run_folder(source() | {"images/note.txt": DOG.encode()}, invalidPercent=20)
    assert record["invalid"] == 1
