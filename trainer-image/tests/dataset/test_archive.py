"""Hostile and damaged archives: each is refused by name, before anything is in the store."""

import gzip
import io
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable

import pytest
import zstandard

from deeptrain_trainer.dataset import archive as archive_module

from .samples import Place, picture, pictures, tar_entry, tar_of, zip_of

GOOD = pictures({"cat": 3, "dog": 3})
ONE = {"cat/1.png": picture(1)}


def both(name: str, second: str | None = None) -> list[bytes]:
    """A tar and a zip with the good files and one or two more of these names."""
    more = {name: picture(90), **({second: picture(91)} if second else {})}
    return [tar_of({**GOOD, **more}), zip_of({**GOOD, **more})]


@pytest.mark.parametrize(
    ("names", "named"),
    [
        pytest.param(("../outside.png",), "leads out of its folder", id="parent"),
        pytest.param(("cat/../../outside.png",), "leads out of its folder", id="parent-inside"),
        pytest.param(("/etc/cron.d/x",), "absolute", id="absolute"),
        pytest.param(("C:/windows/x.png",), "drive letter", id="drive"),
        pytest.param(("cat\\..\\x.png",), "backslash", id="backslash"),
        pytest.param(("cat/a\nb.png",), "control characters", id="line-break"),
        pytest.param(("cat/\x1b[31m.png",), "control characters", id="terminal-escape"),
        pytest.param(("cat/\u202egnp.exe",), "control characters", id="right-to-left"),
        pytest.param(("cat/" + "a" * 300 + ".png",), "longer than 255", id="long-part"),
        pytest.param(("a/" * 600 + "b.png",), "longer than 1024", id="long-path"),
        pytest.param(("cat/0.PNG", "cat/x.png"), "differ only in case", id="case-twins"),
        pytest.param(("Cat/7.png",), "differ only in case", id="case-twin-folders"),
        pytest.param(
            ("cat/\u00e9.png", "cat/e\u0301.png"), "differ only in case", id="nfc-nfd-twins"
        ),
        pytest.param(("cat/0.png",), "twice", id="same-name"),
        pytest.param(("cat/0.png/1.png",), "a file and a folder", id="file-as-folder"),
    ],
)
@pytest.mark.parametrize("kind", [0, 1], ids=["tar", "zip"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_not_plain_refuses_the_archive(
    place: Place, names: tuple[str, ...], named: str, kind: int
) -> None:
    if names == ("cat/0.png",):
        out = io.BytesIO()
        if kind == 0:
            with tarfile.open(fileobj=out, mode="w") as tar:
                for number in range(2):
                    data = picture(number)
                    tar.addfile(tar_entry("cat/0.png", data), io.BytesIO(data))
        else:
            with zipfile.ZipFile(out, "w") as archive:
                for number in range(2):
                    archive.writestr("cat/0.png", picture(number))
        data = out.getvalue()
    else:
        data = both(*names)[kind]
    failure = place.failure(data)
    assert failure.reason == "ArchiveInvalid"
    assert named in failure.message
    assert failure.exit_code == 42
    assert failure.message.isprintable()
    assert not (place.source.parent / "outside.png").exists()


def test_a_name_with_nul_is_not_cut_to_an_innocent_one(place: Place) -> None:
    data = zip_of({"cat/1.png_/../x": picture(1)}).replace(b"1.png_", b"1.png\0")
    assert "control characters" in place.failure(data).message


def test_a_name_that_is_not_utf8_is_refused(place: Place) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        tar.addfile(tar_entry("cat/\xe9.png", b""), io.BytesIO())
    assert "not UTF-8" in place.failure(out.getvalue()).message


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a character device"),
        (tarfile.BLKTYPE, "a block device"),
        (tarfile.FIFOTYPE, "a FIFO"),
        (tarfile.GNUTYPE_SPARSE, "a sparse file"),
        (b"Z", "unknown type"),
    ],
)
def test_only_files_and_folders_are_accepted(place: Place, kind: bytes, named: str) -> None:
    link = tar_entry("cat/link.png", type=kind, linkname="/etc/passwd")
    failure = place.failure(tar_of(GOOD, [link]))
    assert failure.reason == "ArchiveInvalid"
    assert named in failure.message and "cat/link.png" in failure.message


def test_a_link_in_a_zip_is_refused(place: Place) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        entry = zipfile.ZipInfo("cat/link.png")
        entry.create_system = 3
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    assert "link" in place.failure(out.getvalue()).message


def test_litter_of_operating_systems_is_left_out_silently(place: Place) -> None:
    litter = {
        "__MACOSX/cat/._0.png": b"x",
        "cat/._0.png": b"x",
        ".DS_Store": b"x",
        "cat/.DS_Store": b"x",
        "dog/Thumbs.db": b"x",
        "dog/desktop.ini": b"x",
        "cat/Icon\r": b"",
        "$RECYCLE.BIN/S-1-5-21/0.png": b"x",
        "System Volume Information/tracking.log": b"x",
        "lost+found/": b"",
        ".ipynb_checkpoints/0.png": picture(5),
    }
    record = place.run_archive(zip_of({**GOOD, **litter}))
    assert sum(record["items"].values()) == len(GOOD)
    assert record["invalid"] == 0


def damaged(data: bytes, at: int, value: int) -> bytes:
    return data[:at] + bytes([value]) + data[at + 1 :]


def zeroed_header(data: bytes) -> bytes:
    """A tar whose fourth header is lost, as a bad sector loses it: it looks like the end mark."""
    at = data.index(list(GOOD)[3].encode())
    assert at % 512 == 0
    return data[:at] + bytes(512) + data[at + 512 :]


def flipped_crc() -> bytes:
    data = zip_of(GOOD, zipfile.ZIP_STORED)
    at = data.index(b"IDAT") + 6
    return damaged(data, at, data[at] ^ 1)


def encrypted() -> bytes:
    data = bytearray(zip_of(GOOD))
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(magic)
        data[at + offset] |= 1
    return bytes(data)


def overlapping() -> bytes:
    """Two directory entries for one member: how a small file unpacks to a huge one."""
    data = zip_of(ONE)
    directory = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    entry = data[directory:end]
    second = entry.replace(b"cat/1.png", b"cat/2.png")
    tail = bytearray(data[end:])
    struct.pack_into("<HHL", tail, 8, 2, 2, 2 * len(entry))
    return data[:directory] + entry + second + bytes(tail)


def stated_size(size: int) -> bytes:
    """A zip whose directory states another size than the member has."""
    data = bytearray(zip_of(ONE))
    struct.pack_into("<L", data, data.index(b"PK\x01\x02") + 24, size)
    return bytes(data)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        pytest.param(lambda: tar_of(GOOD)[:2000], "truncated", id="tar-cut-in-an-entry"),
        pytest.param(
            lambda: tar_of(ONE)[:1024], "end mark is missing", id="tar-cut-after-an-entry"
        ),
        pytest.param(lambda: tar_of(GOOD)[: 1024 + 100], "truncated", id="tar-cut-in-a-header"),
        pytest.param(
            lambda: damaged(tar_of(GOOD), 1024, 65), "wrong checksum", id="tar-header-damaged"
        ),
        pytest.param(lambda: zeroed_header(tar_of(GOOD)), "after its end", id="tar-header-zeroed"),
        pytest.param(
            lambda: gzip.compress(zeroed_header(tar_of(GOOD))),
            "after its end",
            id="tar-header-zeroed-in-gzip",
        ),
        pytest.param(lambda: tar_of(GOOD) + tar_of(ONE), "after its end", id="two-tars"),
        pytest.param(
            lambda: gzip.compress(tar_of(GOOD)) + gzip.compress(tar_of(ONE)),
            "after its end",
            id="two-tar-gz",
        ),
        pytest.param(lambda: tar_of(GOOD) + b"\0" * 9999 + b"x", "after its end", id="tar-tail"),
        pytest.param(lambda: tar_of(GOOD, mode="w:gz")[:-9], "damaged or truncated", id="gzip-cut"),
        pytest.param(
            lambda: damaged(gzip.compress(tar_of(GOOD)), -8 % len(gzip.compress(tar_of(GOOD))), 0),
            "damaged or truncated",
            id="gzip-crc",
        ),
        pytest.param(lambda: zstandard.compress(tar_of(GOOD))[:-20], "truncated", id="zstd-cut"),
        pytest.param(lambda: zip_of(GOOD)[:-30], "directory is missing", id="zip-cut"),
        pytest.param(flipped_crc, "is damaged", id="zip-crc"),
        pytest.param(encrypted, "encrypted", id="zip-encrypted"),
        pytest.param(overlapping, "overlaps", id="zip-overlap"),
        pytest.param(lambda: stated_size(10), "is damaged", id="zip-larger-than-stated"),
        pytest.param(lambda: stated_size(10_000), "is damaged", id="zip-smaller-than-stated"),
        pytest.param(lambda: zip_of(GOOD, zipfile.ZIP_LZMA), "method 14", id="zip-lzma"),
        pytest.param(lambda: b"<!DOCTYPE html><title>Sign in</title>", "HTML", id="html-page"),
        pytest.param(lambda: b"BZh91AY&SY", "bzip2", id="bzip2"),
        pytest.param(lambda: b"\xfd7zXZ\x00", "xz", id="xz"),
        pytest.param(lambda: b"", "empty", id="empty-file"),
        pytest.param(lambda: picture(1), "PNG image", id="an-image"),
        pytest.param(lambda: gzip.compress(b"hello"), "no tar archive", id="gzip-of-text"),
        pytest.param(lambda: bytes(range(256)) * 4, "something else", id="noise"),
    ],
)
def test_damage_is_never_taken_for_the_end(
    place: Place, make: Callable[[], bytes], named: str
) -> None:
    failure = place.failure(make())
    assert failure.reason == "ArchiveInvalid"
    assert named in failure.message
    assert failure.exit_code == 42


def long_pax_header() -> bytes:
    entry = tar_entry("cat/1.png")
    entry.pax_headers = {"comment": "x" * 100_000}
    return tar_of({}, [entry])


def pax_sparse() -> bytes:
    entry = tar_entry("cat/1.png")
    entry.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    return tar_of({}, [entry])


@pytest.mark.parametrize("size", ["-1", "1e9", "x"])
def test_a_pax_size_that_is_no_number_is_refused(place: Place, size: str) -> None:
    entry = tar_entry("cat/1.png")
    entry.pax_headers = {"size": size}
    assert "pax size" in place.failure(tar_of({}, [entry])).message


def test_a_pax_size_beyond_the_end_is_a_truncation(place: Place) -> None:
    entry = tar_entry("cat/1.png")
    entry.pax_headers = {"size": str(10**30)}
    failure = place.failure(tar_of({}, [entry]))
    assert failure.reason in ("ArchiveInvalid", "InvalidDataToleranceExceeded")


def test_extension_headers_are_bounded(place: Place) -> None:
    assert "100" in place.failure(long_pax_header()).message
    assert "sparse" in place.failure(pax_sparse()).message


@pytest.mark.parametrize("kind", ["tar.gz", "tar.zst", "zip"])
def test_a_bomb_is_stopped_by_the_bytes_allowed(place: Place, kind: str) -> None:
    files = {"cat/bomb.png": bytes(20_000_000)}
    data = {
        "tar.gz": lambda: gzip.compress(tar_of(files), 9),
        "tar.zst": lambda: zstandard.compress(tar_of(files)),
        "zip": lambda: zip_of(files),
    }[kind]()
    assert len(data) < 100_000
    limits = {"archiveBytes": 10**8, "unpackedBytes": 10**7, "items": 100}
    failure = place.failure(data, limits=limits)
    assert failure.reason == "ArchiveTooLarge"
    assert failure.exit_code == 42
    assert "10000000" in failure.message


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_a_bomb_is_stopped_by_its_ratio(
    place: Place, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "_RATIO_FROM_BYTES", 1_000_000)
    files = {"cat/bomb.png": bytes(5_000_000)}
    data = gzip.compress(tar_of(files), 9) if kind == "tar.gz" else zip_of(files)
    failure = place.failure(data)
    assert failure.reason == "ArchiveTooLarge"
    assert "200 times" in failure.message


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_too_many_entries_are_refused(
    place: Place, pack: Callable[[dict[str, bytes]], bytes]
) -> None:
    limits = {"archiveBytes": 10**8, "unpackedBytes": 10**8, "items": 20}
    data = pack({f"cat/{n}.txt": b"" for n in range(41)})
    assert place.failure(data, limits=limits).reason == "ArchiveTooLarge"


def test_the_stated_size_of_a_zip_directory_is_looked_at_first(place: Place) -> None:
    data = bytearray(zip_of(ONE))
    end = data.index(b"PK\x05\x06")
    struct.pack_into("<HH", data, end + 8, 65_000, 65_000)
    assert place.failure(bytes(data)).reason == "ArchiveTooLarge"


def test_a_nested_archive_is_not_opened(place: Place) -> None:
    files = {**pictures({"cat": 30, "dog": 30}), "cat/inner.zip": zip_of({"cat/9.png": picture(9)})}
    record = place.run_archive(zip_of(files))
    assert record["invalid"] == 1
    assert place.reporter.report["badItems"] == [
        {"path": "cat/inner.zip", "problem": "a zip archive, not JPEG, PNG, WebP, GIF or BMP"}
    ]


@pytest.mark.parametrize(
    "pack",
    [
        pytest.param(tar_of, id="tar"),
        pytest.param(lambda files: tar_of(files, mode="w:gz"), id="tar.gz"),
        pytest.param(lambda files: zstandard.compress(tar_of(files)), id="tar.zst"),
        pytest.param(
            lambda files: gzip.compress(tar_of(files)[:5000]) + gzip.compress(tar_of(files)[5000:]),
            id="gzip-of-two-members",
        ),
        pytest.param(zip_of, id="zip"),
        pytest.param(lambda files: zip_of(files, zipfile.ZIP_STORED), id="zip-stored"),
    ],
)
def test_every_packing_gives_the_same_dataset(
    place: Place, pack: Callable[[dict[str, bytes]], bytes]
) -> None:
    assert place.run_archive(pack(GOOD))["digest"] == place.run_folder(GOOD)["digest"]


@pytest.mark.parametrize("blocks", [1, 2, 20, 4096])
def test_zero_blocks_of_any_number_are_the_end(place: Place, blocks: int) -> None:
    end = tar_of(GOOD).rstrip(b"\0")
    data = end + bytes(-len(end) % 512 + 512 * blocks)
    assert sum(place.run_archive(data)["items"].values()) == len(GOOD)


def test_a_zip_written_without_the_utf8_flag_keeps_its_names(place: Place) -> None:
    data = zip_of({"chat é/1.png": picture(1)})
    raw = bytearray(data)
    for magic, offset in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        raw[raw.find(magic) + offset] &= ~0x08
    place.run_archive(bytes(raw))
    assert [c["name"] for c in place.reporter.report["concepts"]] == ["chat é"]


def test_random_bytes_behind_a_magic_number_never_crash(place: Place) -> None:
    generator = random.Random(0)
    for magic in (b"PK\x03\x04", b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd"):
        for _ in range(20):
            assert place.failure(magic + generator.randbytes(700)).reason == "ArchiveInvalid"


def test_a_flipped_bit_is_an_image_or_a_named_failure(place: Place) -> None:
    generator = random.Random(1)
    whole = tar_of(GOOD)
    for _ in range(60):
        at = generator.randrange(len(whole))
        data = damaged(whole, at, whole[at] ^ (1 << generator.randrange(8)))
        try:
            record = place.run_archive(data, invalidPercent=100)
        except Exception as error:
            assert getattr(error, "reason", None) in (
                "ArchiveInvalid",
                "NoPositives",
                "InputInvalid",
            ), error
        else:
            assert record["outcome"] == "published"
