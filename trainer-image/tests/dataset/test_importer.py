"""Whole imports: layouts, tolerance, reports, and ends of all kinds."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from contract import assert_record

from deeptrain_trainer.dataset import importer as importer_module
from deeptrain_trainer.dataset.checker import Verdict
from deeptrain_trainer.dataset.findings import canonical_digest, canonical_json
from deeptrain_trainer.dataset.importer import Imported, import_folder, run_import
from deeptrain_trainer.dataset.store import StoredDataset, verify
from deeptrain_trainer.failure import Failure, Stopped

from .rights import as_ordinary_user
from .samples import UID, Place, picture, pictures, stopping_after, tar_of, write_files, zip_of
from .test_fetch import serving

ROOT = Path(__file__).resolve().parents[3]
GOOD = pictures({"cat": 6, "dog": 6})


def below(prefix: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{prefix}/{name}": data for name, data in files.items()}


def dataset_of(place: Place, record: dict[str, Any]) -> StoredDataset:
    path = place.datasets / record["digest"].removeprefix("sha256:")
    verify(path)
    return StoredDataset.open(path, record["splitDigest"])


def concept_names(place: Place) -> list[str]:
    return [concept["name"] for concept in place.reporter.report["concepts"]]


@pytest.mark.parametrize("wrapped", ["", "photos", "data/photos/v1"])
def test_folders_of_concepts_wrapped_or_not(place: Place, wrapped: str) -> None:
    files = below(wrapped, GOOD) if wrapped else GOOD
    record = place.run_folder({**files, **({f"{wrapped}/README.md": b"hi"} if wrapped else {})})
    assert record["outcome"] == "published"
    assert concept_names(place) == ["cat", "dog"]
    assert sum(record["items"].values()) == 12
    dataset = dataset_of(place, record)
    splits = [dataset.items(s) for s in ("train", "validation", "test")]
    assert {dataset.read(i) for split in splits for i in split} == set(GOOD.values())


@pytest.mark.parametrize(
    "names",
    [("train", "validation", "test"), ("Training", "val", "testing"), ("train", "DEV", "Test")],
)
def test_folders_of_splits(place: Place, names: tuple[str, str, str]) -> None:
    files: dict[str, bytes] = {"LICENSE": b"MIT", "set/notes.txt": b"x"}
    for start, (name, count) in enumerate(zip(names, (6, 2, 3), strict=True)):
        files |= below(f"set/{name}", pictures({"cat": count, "dog": count}, 100 * start))
    record = place.run_folder(files)
    assert record["items"] == {"train": 12, "validation": 4, "test": 6}
    assert record["invalid"] == 0


def test_split_names_without_folders_inside_are_concepts(place: Place) -> None:
    place.run_folder(pictures({"train": 6, "car": 6}))
    assert concept_names(place) == ["car", "train"]


def test_a_lone_split_folder_is_a_wrapping(place: Place) -> None:
    record = place.run_folder(below("train", pictures({"cat": 60, "dog": 60})))
    assert record["items"]["test"] > 0


def test_pictures_beside_and_below_the_concepts_are_told(place: Place) -> None:
    files = {**GOOD, "stray.png": picture(70), "cat/more/deep.png": picture(71), "list.csv": b"a,b"}
    record = place.run_folder(files, invalidPercent=20)
    assert record["invalid"] == 2
    bad = place.reporter.report["badItems"]
    assert [b["path"] for b in bad] == ["cat/more/deep.png", "stray.png"]
    assert all("not at <concept>/<file>" in b["problem"] for b in bad)


@pytest.mark.parametrize(
    ("files", "reason", "named"),
    [
        pytest.param({"a.txt": b"x"}, "NoData", "no images", id="no-images"),
        pytest.param({"cat/": b""}, "NoData", "no images", id="only-an-empty-folder"),
        pytest.param(
            {"1.png": picture(1), "2.png": picture(2)},
            "InvalidDataToleranceExceeded",
            "not at <concept>/<file>",
            id="no-folders",
        ),
        pytest.param(
            {**GOOD, "owl/": b""}, "NoPositives", "no usable item shows `owl`", id="empty-class"
        ),
        pytest.param(
            {**GOOD, "owl/note.txt": b"x"},
            "InvalidDataToleranceExceeded",
            "owl/note.txt",
            id="class-without-images",
        ),
        pytest.param(
            {**below("train", GOOD), **below("test", pictures({"cat": 1}, 50)), "extra/1.png": b""},
            "InputInvalid",
            "`extra` lies beside the splits",
            id="folder-beside-splits",
        ),
        pytest.param(
            {**below("val", GOOD), **below("test", pictures({"cat": 1}, 50))},
            "NoData",
            "none for train",
            id="no-train",
        ),
        pytest.param(
            {**GOOD, f"{'é' * 33}/1.png": picture(50)}, "InputInvalid", "64 bytes", id="long-name"
        ),
        pytest.param(
            {**below("train", GOOD), **below("test", pictures({"Cat": 1}, 50))},
            "InputInvalid",
            "differ only in case",
            id="case-between-splits",
        ),
        pytest.param(
            pictures({f"c{n:04}": 1 for n in range(1001)}),
            "InputInvalid",
            "1001 concepts",
            id="1001-concepts",
        ),
    ],
)
def test_what_cannot_be_a_dataset_is_named(
    place: Place, files: dict[str, bytes], reason: str, named: str
) -> None:
    failure = place.failure(files)
    assert (failure.reason, failure.exit_code) == (reason, 42)
    assert named in failure.message + json.dumps(failure.facts)


def test_any_unicode_is_a_name(place: Place) -> None:
    names = ["=SUM(A1)", "<b>x", "ñandú", "カメラ", "👩‍🔬", "a b"]
    place.run_folder(pictures(dict.fromkeys(names, 2)))
    assert concept_names(place) == sorted(names)


def test_decomposed_names_are_composed(place: Place) -> None:
    place.run_folder(pictures({"cafe\u0301": 3, "bar": 3}), concepts=["caf\u00e9", "bar"])
    assert concept_names(place) == ["caf\u00e9", "bar"]


def test_tolerance_is_a_percentage_of_all_items(place: Place) -> None:
    files = pictures({"cat": 10, "dog": 9}) | {"dog/broken.jpg": b"<html>404</html>"}
    record = place.run_folder(files, invalidPercent=5)
    assert (record["invalid"], sum(record["items"].values())) == (1, 19)
    assert place.reporter.report["badItems"] == [
        {"path": "dog/broken.jpg", "problem": "an HTML page, not JPEG, PNG, WebP, GIF or BMP"}
    ]
    path = place.datasets / record["digest"].removeprefix("sha256:")
    assert json.loads((path / "report.json").read_text())["badItems"][0]["path"] == "dog/broken.jpg"


def test_beyond_the_tolerance_the_first_bad_items_are_in_the_record(place: Place) -> None:
    files = GOOD | {f"dog/broken{n}.jpg": picture(1, "JPEG")[:-20] for n in range(9)}
    failure = place.failure(files)
    assert (failure.reason, failure.exit_code) == ("InvalidDataToleranceExceeded", 42)
    assert "9 of 21 items" in failure.message and "5 %" in failure.message
    assert failure.facts["invalid"] == 9
    assert [b["path"] for b in failure.facts["badItems"]] == [
        f"dog/broken{n}.jpg" for n in range(5)
    ]


def test_long_names_of_bad_items_fit_into_the_record(place: Place) -> None:
    files = {f"{'👩' * 15}/{'名' * 80}{n}.jpg": b"" for n in range(9)}
    failure = place.failure({**GOOD, **files})
    assert failure.facts["invalid"] == 9
    # Place.failure has held the record against the schema and its 3 KiB.
    assert 1 <= len(failure.facts["badItems"]) < 5


def test_a_closed_list_of_concepts_is_kept_in_its_order(place: Place) -> None:
    place.run_folder(GOOD, concepts=["dog", "cat"])
    assert concept_names(place) == ["dog", "cat"]
    failure = Place(_fresh(place)).failure(GOOD, concepts=["cat", "owl"])
    assert (failure.reason, failure.exit_code) == ("ConceptsMismatch", 42)
    assert "missing in the data: `owl`; not in spec.concepts: `dog`" in failure.message


def _fresh(place: Place) -> Path:
    folder = place.source.parent / "fresh"
    folder.mkdir()
    return folder


def test_names_of_files_and_their_order_do_not_matter(place: Place) -> None:
    first = place.run_archive(tar_of(GOOD))
    renamed = {f"x/{n.replace('/', '/renamed-')}": d for n, d in reversed(GOOD.items())}
    second = place.run_archive(tar_of(renamed), object={"uid": "another"})
    assert (first["digest"], first["splitDigest"]) == (second["digest"], second["splitDigest"])
    assert first["reportDigest"] == second["reportDigest"]
    assert len(place.left()) == 1


def test_done_twice_is_done_once(place: Place) -> None:
    first = place.run_folder(GOOD)
    second = place.run_folder(GOOD, attempt=2)
    assert first == second
    assert len(place.left()) == 1
    third = place.run_folder(GOOD, splits={"seed": 5})
    assert third["digest"] == first["digest"]
    assert third["splitDigest"] != first["splitDigest"]
    assert len(place.left()) == 1


def test_the_same_picture_in_two_splits_is_a_warning(place: Place) -> None:
    leak = {f"test/cat/{n}.png": GOOD[f"cat/{n}.png"] for n in range(3)}
    place.run_folder({**below("train", GOOD), **leak})
    warnings = {w["reason"]: w["message"] for w in place.reporter.report["warnings"]}
    assert warnings["DuplicatesAcrossSplits"].startswith("3 pictures")
    assert "12" not in warnings["FewItems"] or "items to learn from" in warnings["FewItems"]


def test_warnings_say_what_is_thin(place: Place) -> None:
    place.run_folder(pictures({"cat": 4, "dog": 30}))
    warnings = {w["reason"]: w["message"] for w in place.reporter.report["warnings"]}
    assert set(warnings) == {"FewItems", "NoHeldOutExamples", "LowSupport"}
    assert "cat" in warnings["NoHeldOutExamples"]
    assert "dog" in warnings["LowSupport"]
    assert all(len(message) <= 512 for message in warnings.values())


@pytest.mark.parametrize(("name", "final"), [("test", "test"), ("valid", "validation")])
def test_a_concept_that_the_final_metrics_are_not_measured_on_is_named(
    place: Place, name: str, final: str
) -> None:
    """Validation alone has the cats: it chooses the epoch, but where there is a test split it measures nothing."""
    held_out = {f"{name}/dog/{n}.png": GOOD[f"dog/{n}.png"] for n in range(2)}
    training = {
        n: d for n, d in GOOD.items() if n.startswith("cat") or n not in ("dog/0.png", "dog/1.png")
    }
    files = {**below("train", training), **held_out}
    if name == "test":
        files = {n: d for n, d in files.items() if n != "train/cat/0.png"}
        files["valid/cat/0.png"] = GOOD["cat/0.png"]
    place.run_folder(files)
    warnings = {w["reason"]: w["message"] for w in place.reporter.report["warnings"]}
    assert warnings["NoHeldOutExamples"].startswith(f"1 concept has no item in {final}, where")
    assert warnings["NoHeldOutExamples"].endswith(": cat")


def test_the_report_is_what_the_record_vouches_for(place: Place) -> None:
    record = place.run_folder(GOOD)
    report = place.reporter.report
    assert record["reportDigest"] == canonical_digest(report)
    assert {k: record[k] for k in ("digest", "splitDigest", "items", "invalid", "bytes")} == {
        k: report[k] for k in ("digest", "splitDigest", "items", "invalid", "bytes")
    }
    assert report["bytes"] == sum(map(len, GOOD.values()))
    totals = {s: sum(c[s] for c in report["concepts"]) for s in ("train", "validation", "test")}
    assert totals == report["items"]


def test_a_thousand_concepts_fit_into_a_report(place: Place) -> None:
    names = {f"{'名' * 20}{n:04}": 1 for n in range(1000)}
    place.run_archive(tar_of(pictures(names)))
    body = json.dumps(place.reporter.delivered[-1]).encode()
    assert len(body) < 192 * 1024


def test_progress_names_each_phase(place: Place) -> None:
    place.run_folder(GOOD)
    assert [event["phase"] for event in place.reporter.sent] == ["checking", "publishing"]
    assert all(event["type"] == "import" for event in place.reporter.sent)


def test_a_report_that_is_not_delivered_fails_the_attempt_but_keeps_the_data(place: Place) -> None:
    def refuse(event: dict[str, Any], /) -> None:
        raise ConnectionError("nobody there")

    place.reporter.deliver = refuse  # type: ignore[method-assign]
    with pytest.raises(Failure) as caught:
        place.run_folder(GOOD)
    assert caught.value.reason == "ImportFailed"
    assert caught.value.exit_code == 1
    assert "nobody there" in caught.value.message
    del place.reporter.deliver  # type: ignore[method-assign]
    assert place.run_folder(GOOD, attempt=2)["outcome"] == "published"


def test_an_archive_over_http(place: Place) -> None:
    data = tar_of(GOOD, mode="w:gz")
    sha256 = hashlib.sha256(data).hexdigest()
    with serving(lambda handler, n: handler.reply(200, data)) as server:
        record = place.run({"http": {"url": server.url, "sha256": sha256}})
        assert place.reporter.sent[0]["phase"] == "downloading"
        with pytest.raises(Failure) as caught:
            place.run({"http": {"url": server.url, "sha256": "0" * 64}}, attempt=2)
    assert record["digest"] == place.run_folder(GOOD)["digest"]
    assert caught.value.reason == "ChecksumMismatch"
    assert len(place.left()) == 1


def test_an_http_source_on_loopback_is_refused_in_earnest(place: Place) -> None:
    with serving(lambda handler, n: handler.reply(200, b"")) as server:
        run = place.run_file({"http": {"url": server.url}})
        with pytest.raises(Failure) as caught:
            run_import(run, place.reporter)
        assert server.requests == []
    assert (caught.value.reason, caught.value.exit_code) == ("SourceForbidden", 42)
    assert place.left() == []


def test_links_inside_a_claim_are_followed_and_out_of_it_refused(place: Place) -> None:
    write_files(place.source / "real", GOOD)
    folder = place.source / "photos"
    (folder / "owl").mkdir(parents=True)
    (folder / "cat").symlink_to("../real/cat")
    (folder / "owl" / "1.png").symlink_to("../../real/dog/1.png")
    record = place.run({"pvc": {"path": str(folder)}})
    assert sum(record["items"].values()) == 7
    secret = place.source.parent / "secret.png"
    secret.write_bytes(picture(99))
    (folder / "owl" / "2.png").symlink_to(secret)
    with pytest.raises(Failure) as caught:
        place.run({"pvc": {"path": str(folder)}}, attempt=2)
    assert (caught.value.reason, caught.value.exit_code) == ("SourceForbidden", 42)
    assert "photos/owl/2.png" in caught.value.message


def test_a_loop_of_links_ends(place: Place) -> None:
    folder = write_files(place.source / "photos", GOOD)
    (folder / "cat" / "again").symlink_to("..")
    with pytest.raises(Failure, match="folder above"):
        place.run({"pvc": {"path": str(folder)}})


def test_a_whole_claim_of_ext4_is_imported(place: Place) -> None:
    write_files(place.source, GOOD)
    (place.source / "lost+found").mkdir(mode=0)
    with as_ordinary_user():
        record = place.run({"pvc": {"path": str(place.source)}})
    assert (sum(record["items"].values()), record["invalid"]) == (len(GOOD), 0)
    assert concept_names(place) == ["cat", "dog"]


def test_what_is_left_out_is_not_even_looked_at(place: Place) -> None:
    folder = write_files(place.source / "photos", {**GOOD, "cat/Icon\r": b""})
    # Emacs marks a file that is being edited so.
    (folder / "cat" / ".#0.png").symlink_to("someone@host.1234:5678")
    (folder / ".snapshot").symlink_to("/")
    (folder / "dog" / ".cache").mkdir(mode=0)
    with as_ordinary_user():
        record = place.run({"pvc": {"path": str(folder)}})
    assert (sum(record["items"].values()), record["invalid"]) == (len(GOOD), 0)


def test_a_file_that_cannot_be_read_is_a_bad_item(place: Place) -> None:
    folder = write_files(place.source / "photos", pictures({"cat": 30, "dog": 30}))
    (folder / "cat" / "0.png").chmod(0)
    (folder / "cat" / "gone.png").symlink_to("../annex/gone.png")
    (folder / "README").write_text("closed")
    (folder / "README").chmod(0)
    with as_ordinary_user():
        record = place.run({"pvc": {"path": str(folder)}})
    assert (sum(record["items"].values()), record["invalid"]) == (59, 2)
    assert place.reporter.report["badItems"] == [
        {"path": "cat/0.png", "problem": "permission denied"},
        {"path": "cat/gone.png", "problem": "a link that leads nowhere"},
    ]


@pytest.mark.parametrize("closed", ["photos", "photos/cat", "photos/cat/more", "archive"])
@pytest.mark.parametrize("mode", [0, 0o400])
def test_a_folder_that_cannot_be_read_is_named(place: Place, closed: str, mode: int) -> None:
    write_files(place.source / "photos", {**GOOD, "cat/more/1.png": picture(1)})
    (place.source / "archive").write_bytes(tar_of(GOOD))
    path = place.source / ("archive" if closed == "archive" else "photos")
    (place.source / closed).chmod(mode if closed != "archive" else 0)
    with as_ordinary_user(), pytest.raises(Failure) as caught:
        place.run({"pvc": {"path": str(path)}})
    (place.source / closed).chmod(0o700)
    assert (caught.value.reason, caught.value.exit_code) == ("SourceForbidden", 42)
    assert closed in caught.value.message and "permission denied" in caught.value.message
    assert place.left() == []


def test_a_lost_link_where_a_folder_could_be_is_named(place: Place) -> None:
    folder = write_files(place.source / "photos", GOOD)
    (folder / "owl").symlink_to("../moved/owl")
    with pytest.raises(Failure, match="`owl` is a link that leads nowhere") as caught:
        place.run({"pvc": {"path": str(folder)}}, invalidPercent=50)
    assert (caught.value.reason, caught.value.exit_code) == ("SourceNotFound", 42)


def test_a_volume_that_does_not_answer_is_another_attempts_luck(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_files(place.source / "photos", GOOD)
    real = os.open

    def broken(path: Any, flags: int, *more: Any, **options: Any) -> int:
        if str(path).endswith("dog/3.png"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, flags, *more, **options)

    monkeypatch.setattr(os, "open", broken)
    with pytest.raises(Failure, match=r"`photos/dog/3.png` cannot be read") as caught:
        place.run({"pvc": {"path": str(folder)}})
    assert (caught.value.reason, caught.value.exit_code) == ("ImportFailed", 1)


def test_a_pipe_is_no_archive(place: Place) -> None:
    os.mkfifo(place.source / "pipe")
    with pytest.raises(Failure, match="neither a folder nor a file"):
        place.run({"pvc": {"path": str(place.source / "pipe")}})


@pytest.mark.parametrize(
    ("path", "reason"), [("nothing", "SourceNotFound"), ("../..", "SourceForbidden")]
)
def test_a_path_that_is_not_in_the_claim(place: Place, path: str, reason: str) -> None:
    with pytest.raises(Failure) as caught:
        place.run({"pvc": {"path": str(place.source / path)}})
    assert (caught.value.reason, caught.value.exit_code) == (reason, 42)


def test_a_fifo_among_the_files_is_a_bad_item(place: Place) -> None:
    folder = write_files(place.source / "photos", pictures({"cat": 30, "dog": 30}))
    os.mkfifo(folder / "cat" / "pipe.png")
    assert place.run({"pvc": {"path": str(folder)}})["invalid"] == 1
    assert place.reporter.report["badItems"][0]["problem"] == "not a regular file"


def test_an_item_needs_no_more_memory_than_its_limit_is_made_of(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator grants 1024 bytes to each; malloc's own share is not seen here."""

    def unchecked(
        files: Iterable[tuple[str, bytes]], _: int
    ) -> Iterator[tuple[str, bytes, Verdict]]:
        for key, data in files:
            yield key, data, Verdict(hashlib.sha256(data).digest(), None, True)

    monkeypatch.setattr(importer_module, "check_all", unchecked)
    count = 8_000
    files = {f"photos/concept_{n % 100}/IMG_2026_{n:08}.jpg": b"%d" % n for n in range(count)}
    archive = place.source / "archive"
    for pack in (tar_of, zip_of):
        archive.write_bytes(pack(files))
        limits = {"archiveBytes": 10**8, "unpackedBytes": 10**8, "items": count}
        tracemalloc.start()
        try:
            place.run({"pvc": {"path": str(archive)}}, limits=limits)
            assert tracemalloc.get_traced_memory()[1] / count < 800
        finally:
            tracemalloc.stop()


def test_too_much_is_refused(place: Place) -> None:
    limits = {"archiveBytes": 10**8, "unpackedBytes": 1000, "items": 1000}
    assert place.failure(GOOD, limits=limits).reason == "ArchiveTooLarge"
    limits = {"archiveBytes": 10**8, "unpackedBytes": 10**8, "items": 5}
    other = Place(_fresh(place))
    for source in (GOOD, tar_of(GOOD), zip_of(GOOD)):
        failure = other.failure(source, limits=limits)
        assert failure.reason == "ArchiveTooLarge"
        assert "the operator's --import-memory" in failure.message


def test_ratios_that_do_not_add_up_are_refused(place: Place) -> None:
    ratios = {"train": 0.8, "validation": 0.1, "test": 0.2}
    with pytest.raises(Failure, match=r"1\.1"):
        place.run_folder(GOOD, splits={"ratios": ratios})


def test_a_store_that_cannot_be_written_is_named(place: Place) -> None:
    place.datasets.parent.mkdir()
    place.datasets.write_text("a file where a folder should be")
    with pytest.raises(Failure) as caught:
        place.run_folder(GOOD)
    assert (caught.value.reason, caught.value.exit_code) == ("StoreNotReady", 1)
    assert str(place.datasets) in caught.value.message


def test_import_folder_is_the_short_way(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "photos", GOOD)
    imported = import_folder(folder, tmp_path / "datasets")
    assert isinstance(imported, Imported)
    dataset = StoredDataset.open(imported.path, imported.split_digest)
    assert dataset.digest == imported.digest


def test_a_flag_stops_an_import(place: Place) -> None:
    folder = write_files(place.source / "photos", GOOD)
    run = place.run_file({"pvc": {"path": str(folder)}})
    from deeptrain_trainer.dataset.importer import Settings

    with pytest.raises(Stopped):
        run_import(run, place.reporter, stopping_after(5), Settings(source_root=place.source))
    assert place.left() == []


def test_the_program_exits_with_42_and_leaves_a_record(place: Place, tmp_path: Path) -> None:
    run = place.run_file({"pvc": {"path": "/source/nothing-is-mounted-here"}})
    (tmp_path / "run.json").write_text(json.dumps(run))
    arguments = ["--run", tmp_path / "run.json", "--record", tmp_path / "record.json"]
    program = [sys.executable, "-m", "deeptrain_trainer", *arguments]
    assert subprocess.run(program, cwd=ROOT / "trainer-image", check=False).returncode == 42
    record = json.loads((tmp_path / "record.json").read_text())
    assert_record(record)
    assert record["reason"] == "SourceNotFound"
    assert place.left() == []


IMPORTING = """
    import json, sys, time
    from deeptrain_trainer.dataset import importer
    from deeptrain_trainer.dataset.importer import Settings, run_import
    from deeptrain_trainer.failure import Stopped
    from pathlib import Path

    class Reporter:
        def send(self, event):
            print(event["phase"], flush=True)
            if event["phase"] == sys.argv[2]:
                time.sleep(60)
        def deliver(self, event):
            print("report", flush=True)
            if sys.argv[2] == "report":
                time.sleep(60)

    try:
        run = json.load(sys.stdin)
        run_import(run, Reporter(), settings=Settings(source_root=Path(sys.argv[1])))
    except Stopped:
        sys.exit(143)
"""


def importing(place: Place, phase: str) -> subprocess.Popen[str]:
    """An import in a process of its own, waiting in the phase."""
    folder = write_files(place.source / "photos", GOOD)
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(IMPORTING), str(place.source), phase],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT / "trainer-image",
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps(place.run_file({"pvc": {"path": str(folder)}})))
    child.stdin.close()
    for line in child.stdout:
        if line.strip() == phase:
            break
    return child


@pytest.mark.parametrize("phase", ["checking", "publishing", "report"])
def test_sigterm_stops_an_import_at_once_and_leaves_nothing_half_done(
    place: Place, phase: str
) -> None:
    child = importing(place, phase)
    began = time.monotonic()
    child.send_signal(signal.SIGTERM)
    assert child.wait(30) == 143
    assert time.monotonic() - began < 10
    if phase == "report":
        (digest,) = place.left()
        verify(place.datasets / digest)
    else:
        assert place.left() == []


@pytest.mark.parametrize("phase", ["checking", "publishing"])
def test_kill_9_leaves_nothing_under_a_digest_and_the_next_attempt_cleans_up(
    place: Place, phase: str
) -> None:
    child = importing(place, phase)
    child.kill()
    child.wait()
    assert place.left() == [f".import-{UID}-1"]
    record = place.run({"pvc": {"path": str(place.source / "photos")}}, attempt=2)
    assert place.left() == [record["digest"].removeprefix("sha256:")]
    dataset_of(place, record)


@pytest.mark.parametrize(
    "value",
    [
        {
            "b": [1, 2, {"z": 'é\u2028\x7f\x1f"\\/', "a": 2**53 - 1}],
            "a": None,
            "c": True,
            "": "👩‍🔬",
        },
        {"digest": "sha256:00", "concepts": [], "bytes": 0, "Z": -5, "_": [[]]},
        {"bytes": [999_999_999_999, 10**12, 1_234_567_890_125, 1_234_567_890_135, 2**52 + 5]},
    ],
)
def test_canonical_json_is_that_of_the_operator(value: dict[str, Any]) -> None:
    node = ROOT / "node_modules" / ".bin" / "node"
    if not node.exists():
        pytest.skip("needs Node in node_modules: npm install")
    script = (
        f"import {{canonicalJson, canonicalDigest}} from '{(ROOT / 'api/canonical.ts').as_uri()}';"
        "let text = ''; for await (const part of process.stdin) text += part;"
        "const value = JSON.parse(text);"
        "process.stdout.write(JSON.stringify([canonicalJson(value), canonicalDigest(value)]));"
    )
    answer = subprocess.run(
        [node, "--input-type=module", "-e", script],
        input=json.dumps(value),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(answer.stdout) == [canonical_json(value), canonical_digest(value)]


def test_canonical_json_refuses_what_two_languages_spell_differently() -> None:
    with pytest.raises(TypeError, match=r"0\.1"):
        canonical_json({"a": [0.1]})
    with pytest.raises(UnicodeEncodeError):
        canonical_json({"a": "\ud800"})


@pytest.mark.parametrize(
    ("archive", "items", "concepts"),
    [
        ("cifar10-sub", {"train": 13542, "validation": 1458, "test": 3000}, 10),
        ("grocery", {"train": 2640, "validation": 296, "test": 2485}, 81),
    ],
)
def test_real_archives(place: Place, archive: str, items: dict[str, int], concepts: int) -> None:
    source = ROOT.parent / "shared" / "data"
    if not (source / f"{archive}.tar.gz").exists():
        pytest.skip(f"{archive}.tar.gz is not in ../shared/data")
    place.source = source
    limits = {"archiveBytes": 10**9, "unpackedBytes": 10**9, "items": 10**6}
    record = place.run({"pvc": {"path": str(source / f"{archive}.tar.gz")}}, limits=limits)
    assert record["items"] == items
    assert record["invalid"] == 0
    assert len(dataset_of(place, record).concepts) == concepts
