"""The format `csv`."""

import json
import time
from pathlib import Path

import pytest

from deeptrain_trainer.dataset.box import Box
from deeptrain_trainer.dataset.csvlist import CsvList

from .annotated import SIDE, everything, photo, stored
from .samples import Place, tar_of

Rows = list[str]


def csv(*rows: str) -> bytes:
    return "\n".join(rows).encode()


def photos(count: int = 12, folder: str = "images/", start: int = 0) -> dict[str, bytes]:
    return {f"{folder}{n}.png": photo(n) for n in range(start, start + count)}


def tags(count: int = 12, start: int = 0) -> Rows:
    """A header, then pictures <n>.png: odd ones show cats, all show light."""
    names = ("light", "cat;light")
    return ["path,concepts", *(f"{n}.png,{names[n % 2]}" for n in range(start, start + count))]


def boxes(count: int = 12) -> Rows:
    """A header, then a box for each picture; odd ones show a cat."""
    rows = [f"{n}.png,{'cat' if n % 2 else 'dog'},{n / 4},1,20,30.5" for n in range(count)]
    return ["path,concept,x_min,y_min,x_max,y_max", *rows]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Imports as `csv`."""
    place = Place(tmp_path)
    place.format = "csv"
    return place


def shown_by(place: Place, files: dict[str, bytes]) -> list[tuple[str, ...]]:
    """The concepts of each item, sorted."""
    dataset = stored(place, place.run_folder(files))
    return sorted(
        tuple(dataset.concepts[label] for label in item.labels) for item in everything(dataset)
    )


def test_pictures_have_the_concepts_of_their_rows(place: Place) -> None:
    files = {"labels.csv": csv(*tags()), **photos()}
    assert shown_by(place, files) == [("cat", "light")] * 6 + [("light",)] * 6
    report = place.reporter.report
    assert [concept["name"] for concept in report["concepts"]] == ["cat", "light"]
    assert "boxes" not in report and report["invalid"] == 0


def test_spaces_quotes_order_of_columns_and_bom_do_not_matter(place: Place) -> None:
    rows = [
        'id, Concepts ,"PATH"',
        '1,"light; cat ;light;",images/0.png',
        "",
        " , , ",
        "2,,./1.png",
    ]
    data = b"\xef\xbb\xbf" + "\r\n".join(rows).encode()
    assert shown_by(place, {"a.csv": data, **photos(2)}) == [(), ("cat", "light")]


def test_a_name_in_two_spellings_is_one(place: Place) -> None:
    rows = csv("path,concepts", "0.png,caf\u00e9", "1.png,cafe\u0301")
    assert shown_by(place, {"a.csv": rows, **photos(2)}) == [("café",)] * 2


def test_a_row_without_concepts_shows_none(place: Place) -> None:
    rows = [*tags(10), "10.png,", '11.png," ; "']
    assert shown_by(place, {"a.csv": csv(*rows), **photos()})[:2] == [(), ()]


def test_boxes_are_in_pixels_a_row_each(place: Place) -> None:
    rows = [*boxes(11), "0.png,cat,5,5,45,20", "11.png,,,,,"]
    dataset = stored(place, place.run_folder({"a.csv": csv(*rows), **photos()}))
    found = {item.boxes for item in everything(dataset)}
    assert () in found, "a picture without boxes is background"
    assert {Box(1, 0, 1, 20, 30.5), Box(0, 5, 5, SIDE, 20)} in [set(each) for each in found]
    report = place.reporter.report
    assert report["boxes"]["clipped"] == 1
    assert [(each["name"], each["boxes"]) for each in report["concepts"]] == [
        ("cat", 6),
        ("dog", 6),
    ]


def test_the_column_split_divides(place: Place) -> None:
    splits = ["train"] * 8 + ["val", "dev", "TEST", "testing"]
    rows = [f"{row},{split}" for row, split in zip(tags(), ["split", *splits], strict=True)]
    record = place.run_folder({"a.csv": csv(*rows), **photos()})
    assert record["items"] == {"train": 8, "validation": 2, "test": 2}


@pytest.mark.parametrize("name", ["{}.csv", "labels_{}.csv", "{}/images/a.csv"])
def test_files_and_folders_give_the_splits(place: Place, name: str) -> None:
    files: dict[str, bytes] = {}
    start = 0
    for split, count in (("train", 8), ("val", 3), ("test", 2)):
        files[name.format(split)] = csv(*tags(count, start))
        files |= photos(count, f"{split}/images/", start)
        start += count
    record = place.run_archive(tar_of(files))
    assert record["items"] == {"train": 8, "validation": 3, "test": 2}
    assert record["invalid"] == 0


def test_folders_of_pictures_give_the_splits_of_one_file(place: Place) -> None:
    rows = tags()
    paths = [f"{'train' if n < 9 else 'test'}/{row}" for n, row in enumerate(rows[1:])]
    files = {"all.csv": csv(rows[0], *paths), **photos(9, "train/"), **photos(3, "test/", 9)}
    record = place.run_folder(files)
    # A tenth of train becomes validation: of nine pictures one.
    assert record["items"]["test"] == 3 and record["items"]["validation"] >= 1


def test_one_split_alone_is_none(place: Place) -> None:
    rows = [f"{row},{'split' if n == 0 else 'test'}" for n, row in enumerate(tags(40))]
    record = place.run_folder({"a.csv": csv(*rows), **photos(40)})
    assert record["items"]["train"] > 20


def test_equal_names_in_two_folders_are_told_apart(place: Place) -> None:
    files = {
        "a/labels.csv": csv("path,concepts", "0.png,cat"),
        "b/labels.csv": csv("path,concepts", "0.png,dog"),
        "a/0.png": photo(0),
        "b/0.png": photo(1),
    }
    assert shown_by(place, files) == [("cat",), ("dog",)]


@pytest.mark.parametrize(
    ("file", "other"),
    [("a.csv", "x/c/0.png"), ("lists/train.csv", "old/train/c/0.png")],
    ids=["an end of one", "one in a folder of the split"],
)
def test_a_path_from_the_root_goes_before(place: Place, file: str, other: str) -> None:
    files = {file: csv("path,concepts", "c/0.png,elk"), "c/0.png": photo(2), other: photo(3)}
    dataset = stored(place, place.run_folder(files, invalidPercent=50))
    assert [dataset.read(item) for item in everything(dataset)] == [photo(2)]


def test_a_group_stays_in_one_split_and_takes_its_duplicates_along(place: Place) -> None:
    rows = ["path,concepts,group", *(f"{n}.png,cat,patient {n // 4}" for n in range(80))]
    # One picture of the first patient is one of the second patient's, too.
    files = {"a.csv": csv(*rows), **photos(80), "images/4.png": photo(0)}
    record = place.run_folder(files)
    assert record["items"]["test"] > 0 and record["items"]["validation"] > 0
    dataset = stored(place, record)
    split_of = {
        item.sha256: split
        for split in ("train", "validation", "test")
        for item in dataset.items(split)
    }
    by_photo = {dataset.read(item): split_of[item.sha256] for item in everything(dataset)}
    for patient in range(2, 20):
        assert len({by_photo[photo(n)] for n in range(4 * patient, 4 * patient + 4)}) == 1
    assert len({by_photo[photo(n)] for n in (0, 1, 2, 3, 5, 6, 7)}) == 1
    assert not {"GroupsAcrossSplits", "DuplicatesAcrossSplits"} & warnings(place).keys()


def warnings(place: Place) -> dict[str, str]:
    return {each["reason"]: each["message"] for each in place.reporter.report["warnings"]}


def test_groups_are_no_part_of_the_content(place: Place) -> None:
    first = place.run_folder({"a.csv": csv(*tags()), **photos()})
    grouped = [f"{row},{'group' if n == 0 else n % 6}" for n, row in enumerate(tags())]
    second = place.run_folder({"a.csv": csv(*grouped)}, object={"uid": "another"})
    assert first["digest"] == second["digest"]


def test_a_group_that_the_sources_splits_tear_is_a_warning(place: Place) -> None:
    rows = ["path,concepts,split,group"]
    rows += [f"{n}.png,cat,{'test' if n > 8 else 'train'},{n % 3}" for n in range(12)]
    place.run_folder({"a.csv": csv(*rows), **photos()})
    assert warnings(place)["GroupsAcrossSplits"].startswith("3 groups")


PARTIAL = ["path,concepts,not_concepts", "0.png,cat,dog", "1.png,dog,", "2.png,,cat", "3.png,,"]


def test_what_is_neither_listed_nor_denied_is_unknown(place: Place) -> None:
    files = {"a.csv": csv(*PARTIAL, "4.png,cat,elk;dog"), **photos(5)}
    dataset = stored(place, place.run_folder(files))
    assert dataset.concepts == ("cat", "dog"), "what is only denied is no concept"
    found = {dataset.read(item): (item.labels, item.denied) for item in everything(dataset)}
    expected = [((0,), (1,)), ((1,), ()), ((), (0,)), ((), ()), ((0,), (1,))]
    assert found == {photo(n): each for n, each in enumerate(expected)}


def test_a_file_without_the_column_denies_all_that_it_does_not_list(place: Place) -> None:
    rest = csv("path,concepts", *(f"{n}.png,cat" for n in range(4, 12)))
    dataset = stored(place, place.run_folder({"a.csv": csv(*PARTIAL), "b.csv": rest, **photos()}))
    assert [item.denied for item in everything(dataset)].count(None) == 8


def test_what_is_denied_is_part_of_the_content(place: Place) -> None:
    first = place.run_folder({"a.csv": csv(*PARTIAL), **photos(4)})
    changed = csv(*PARTIAL[:-1], "3.png,,cat")
    second = place.run_folder({"a.csv": changed}, object={"uid": "another"})
    whole = csv(*(row.rpartition(",")[0] for row in PARTIAL))
    third = place.run_folder({"a.csv": whole}, object={"uid": "third"})
    assert len({record["digest"] for record in (first, second, third)}) == 3


def test_concepts_that_are_never_denied_are_a_warning(place: Place) -> None:
    def rows(*denied: str) -> dict[str, bytes]:
        """Dogs and cats in turn; what the first, second, ... of train, and the first, second, ... of val deny."""
        lines = ["path,concepts,not_concepts,split"]
        for n in range(12):
            split = "train" if n < 8 else "val"
            lines.append(
                f"{n}.png,{('dog', 'cat')[n % 2]},{dict(enumerate(denied)).get(n, '')},{split}"
            )
        return {"a.csv": csv(*lines), **photos()}

    place.run_folder(rows())
    told = warnings(place)["NoNegatives"]
    assert told.endswith("too: train has none for cat, dog; validation has none for cat, dog")
    nothing = ("",) * 6
    place.run_folder(rows("cat", "dog", *nothing, "cat"), object={"uid": "third"})
    assert warnings(place)["NoNegatives"].endswith("too: validation has none for dog")
    place.run_folder(rows("cat", "dog", *nothing, "cat", "dog"), object={"uid": "fourth"})
    assert "NoNegatives" not in warnings(place)


def test_what_is_denied_has_the_spelling_of_what_is_shown(place: Place) -> None:
    failure = place.failure({"a.csv": csv(*PARTIAL, "4.png,cat,Dog"), **photos(5)})
    assert failure.reason == "InputInvalid"
    assert failure.message.startswith("concept `dog` and `Dog`, which items are said not to show")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (
            "11.png,cat,extra",
            "line 13: 3 cells for 2 columns: a cell with a comma needs double quotes",
        ),
        ("11.png", "line 13: cells of 1 columns are missing: what is empty needs its comma too"),
        ("10.png,dog", "listed twice: in a.csv line 12, in a.csv line 13; list it once"),
        (
            "10.png,dog\n10.png,dog",
            "listed twice: in a.csv line 12, in a.csv line 13; list it once",
        ),
        ("12.png,dog", "listed in a.csv line 13, but not there"),
        ("../11.png,dog", "not there"),
        (r"images\11.png,dog", "not there"),
        (",dog", "line 13 has no path"),
    ],
)
def test_a_bad_row_costs_its_picture(place: Place, row: str, problem: str) -> None:
    rows = [*tags(11), row]
    record = place.run_folder({"a.csv": csv(*rows), **photos()}, invalidPercent=30)
    bad = place.reporter.report["badItems"]
    assert any(problem in each["problem"] for each in bad), bad
    assert record["invalid"] == len(bad)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("0.png,cat,a,1,2,3,train", "not four numbers"),
        ("0.png,cat,1,1,,3,train", "x_max is empty; of a picture without boxes, all are"),
        ("0.png,,1,1,2,3,train", "concept is empty"),
        ("0.png,cat,9,1,2,3,train", "no area"),
        ("0.png,cat,nan,1,2,3,train", "not finite"),
        ("0.png,cat,50,1,60,3,train", "outside of the picture"),
        ("0.png,cat,1,1,2,3,val", "another split or group than in line 2"),
        ("0.png,cat,1,1,2,3,holdout", "split `holdout` is none of train, training, val"),
        ("0.png,cat,1,1,2,3,", "another split or group than in line 2"),
    ],
)
def test_a_bad_box_costs_its_picture(place: Place, row: str, problem: str) -> None:
    header, *rest = boxes()
    rows = [f"{header},split", *(f"{each},train" for each in rest[:10])]
    rows += [f"{each},val" for each in rest[10:]]
    record = place.run_folder({"a.csv": csv(*rows, row), **photos()}, invalidPercent=30)
    (bad,) = place.reporter.report["badItems"]
    assert bad["path"] == "images/0.png" and problem in bad["problem"]
    assert record["invalid"] == 1


def test_a_picture_without_a_split_among_others_is_told(place: Place) -> None:
    rows = [
        f"{row},{'split' if n == 0 else ('val', 'train', '')[n % 3]}"
        for n, row in enumerate(tags())
    ]
    failure = place.failure({"a.csv": csv(*rows), **photos()})
    assert failure.reason == "InvalidDataToleranceExceeded"
    assert "it has no split, although others have one" in json.dumps(failure.facts)


def test_a_concept_cannot_be_shown_and_denied(place: Place) -> None:
    rows = [*PARTIAL, "4.png,cat;dog,cat"]
    place.run_folder({"a.csv": csv(*rows), **photos(5)}, invalidPercent=30)
    (bad,) = place.reporter.report["badItems"]
    assert bad["problem"] == "a.csv line 6: `cat` is in concepts and in not_concepts"


def test_pictures_that_no_file_lists_are_told(place: Place) -> None:
    place.run_folder({"a.csv": csv(*tags()), **photos(13)}, invalidPercent=10)
    (bad,) = place.reporter.report["badItems"]
    assert bad == {
        "path": "images/12.png",
        "problem": "not at a path that a CSV file lists in its column path",
    }


@pytest.mark.parametrize(
    ("data", "reason", "message"),
    [
        (b"path;concepts\n0.png;cat", "InputInvalid", "has semicolons between its columns: save it with commas"),
        (b"path\tconcepts\n0.png\tcat", "InputInvalid", "has tabs between"),
        (b'"path";"concepts"\n"0.png";"cat"', "InputInvalid", "has semicolons between"),
        (b"path,concepts,path\n", "InputInvalid", "the column `path` twice"),
        (b"path,concept\n0.png,cat", "InputInvalid", "is the column `concept` meant as `concepts`?"),
        (b"path,concepts,splits\n", "InputInvalid", "is the column `splits` meant as `split`?"),
        (b"path,concepts,group_id\n", "InputInvalid", "is the column `group_id` meant as `group`?"),
        (b"path,concepts,not_concept\n", "InputInvalid", "meant as `not_concepts`?"),
        (b"path,not_concepts\n", "InputInvalid", "path, not_concepts, but no `concepts`"),
        (b"path,concept,x_min,y_min,x_max\n", "InputInvalid", "but no `y_max`"),
        (b"path,concept,x_min,y_min,x_max,ymax\n", "InputInvalid", "`ymax` meant as `y_max`?"),
        (b'path,concepts\n0.png,"cat', "InputInvalid", "row that begins in line 2 cannot be read as CSV"),
        (b'path,concepts\n0.png,cat\n0.png,"' + b"x\n" * 99_999, "InputInvalid", "row that begins in line 3"),
        (b"path,concepts\n0.png,\xff", "InputInvalid", "is not UTF-8 after line"),
        (csv(boxes()[0] + ",not_concepts"), "InputInvalid", "for which the column `not_concepts` has no"),
        (b"path,concepts,concept\n", "InputInvalid", "for which the column `concept` has no meaning"),
        ("path,concepts\n0.png,cat".encode("utf-16"), "NoData", "no CSV file in UTF-8"),
        (b"path,concepts\n", "NoData", "no images were found; expected a path that a CSV"),
        (b"file,label\n0.png,cat", "NoData", "no CSV file in UTF-8 whose first line has the columns path and concepts"),
        (b"", "NoData", "no CSV file"),
        (b"path,concepts\n0.png,", "NoData", "none of the 1 images shows a concept"),
        (b"path,concept,x_min,y_min,x_max,y_max\n0.png,,,,,", "NoData", "none of the 1 images has a box"),
        (b"path,concepts\n0.png," + b"x" * 65, "InputInvalid", "longer than 64 bytes"),
        (b"path,concepts\n0.png,Cat;cat", "InputInvalid", "differ only in case"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used(place: Place, data: bytes, reason: str, message: str) -> None:
    pictures = {} if message.startswith("no images") else photos(1)
    failure = place.failure({"a.csv": data, **pictures})
    assert failure.reason == reason
    assert message in failure.message


def test_rows_of_held_out_splits_alone_teach_nothing(place: Place) -> None:
    rows = [
        f"{row},{'split' if n == 0 else ('val', 'test')[n % 2]}" for n, row in enumerate(tags())
    ]
    failure = place.failure({"a.csv": csv(*rows), **photos()})
    assert failure.reason == "NoData" and "none for train" in failure.message


def test_lists_of_boxes_and_of_concepts_are_two_datasets(place: Place) -> None:
    failure = place.failure({"a.csv": csv(*boxes()), "b.csv": csv(*tags()), **photos()})
    assert failure.reason == "InputInvalid"
    assert (
        failure.message == "`a.csv` lists boxes, `b.csv` lists concepts: make two Datasets of them"
    )


@pytest.mark.parametrize(
    "other",
    [
        b"a;b\n1;2",
        b"path\n0.png",
        b"path,split,license\n0.png,train,MIT",
        b"id;path;bytes\n1;0.png;9",
        "id,name\n1,Müller".encode("latin-1"),
        b'id,"name\n1,x',
        b"path,size\n" + bytes(range(256)),
    ],
)
def test_other_csv_files_do_not_count(place: Place, other: bytes) -> None:
    files = {"notes.csv": other, "a.csv": csv(*tags()), **photos()}
    assert place.run_folder(files)["invalid"] == 0


@pytest.mark.parametrize("is_one_file", [True, False])
def test_many_pictures_of_one_name_are_found_at_once(is_one_file: bool) -> None:
    """As in data of patients, where only folders tell views apart: in one file, or in one of each folder."""
    folders = [f"data/patient{n}" for n in range(20_000)]
    paths = [f"{folder}/front.png" for folder in folders]
    layout = CsvList()
    if is_one_file:
        rows = (f"patient{n}/front.png,cat" for n in range(len(paths)))
        layout.annotate("data/a.csv", csv("path,concepts", *rows))
    else:
        for folder in folders:
            layout.annotate(f"{folder}/a.csv", csv("path,concepts", "front.png,cat"))
    began = time.monotonic()
    layout.complete(set(), paths)
    # Compared each with each, they would take minutes.
    assert time.monotonic() - began < 10
    assert all(layout.role(path) == "item" for path in paths)
    assert list(layout.leftovers()) == []


def test_a_header_is_read_as_its_rows_are(place: Place) -> None:
    rows = csv(
        '"of\nwhom",path,concepts,a\u2028b,split', "x,0.png,cat,1,train", "y,1.png,dog,2,val"
    )
    record = place.run_folder({"a.csv": rows, **photos(2)})
    assert record["items"] == {"train": 1, "validation": 1, "test": 0}


def test_too_many_boxes_are_told(place: Place) -> None:
    rows = [*boxes(), *["0.png,cat,1,1,2,2"] * 10_000]
    place.run_folder({"a.csv": csv(*rows), **photos()}, invalidPercent=10)
    (bad,) = place.reporter.report["badItems"]
    assert bad["problem"] == "more than 10000 boxes"
