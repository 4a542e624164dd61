"""The format `videoFolder`."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeptrain_trainer.dataset import sampler as sampler_module
from deeptrain_trainer.dataset import video as video_module
from deeptrain_trainer.dataset.image import decode_rgb
from deeptrain_trainer.dataset.importer import import_folder
from deeptrain_trainer.dataset.sampler import Sampler
from deeptrain_trainer.dataset.store import SPLITS, StoredDataset
from deeptrain_trainer.dataset.video import (
    Frame,
    InvalidVideoError,
    sampled_frames,
    video_format,
)
from deeptrain_trainer.failure import Failure

from .annotated import everything, stored
from .samples import Place, picture, tar_of, write_files
from .videos import HEIGHT, WIDTH, frame_pixels, sound, turned_clockwise, video

ROOT = Path(__file__).resolve().parents[3]
PLAIN = video()
CONTAINERS = [
    ("mp4", "mpeg4"),
    ("mp4", "libx264"),
    ("mov", "mpeg4"),
    ("matroska", "libx264"),
    ("webm", "libvpx-vp9"),
    ("avi", "mpeg4"),
]


def videos(concepts: dict[str, int], start: int = 0) -> dict[str, bytes]:
    names = [f"{concept}/{n}.mp4" for concept, count in concepts.items() for n in range(count)]
    return {name: video(2, 5, start + place) for place, name in enumerate(names)}


def taken(data: bytes, frames_per_second: float = 1) -> list[Frame]:
    return [frame for frame in sampled_frames(data, frames_per_second) if frame is not None]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Imports as `videoFolder`."""
    place = Place(tmp_path)
    place.format = "videoFolder"
    return place


@pytest.mark.parametrize(("container", "codec"), CONTAINERS)
def test_frames_are_taken_at_each_second(container: str, codec: str) -> None:
    frames = taken(video(container=container, codec=codec))
    assert [frame.time_ms for frame in frames] == [0, 1000, 2000]
    assert {(frame.width, frame.height) for frame in frames} == {(WIDTH, HEIGHT)}
    for number, frame in zip((0, 10, 20), frames, strict=True):
        difference = decode_rgb(frame.jpeg).astype(int) - frame_pixels(number)
        assert np.abs(difference[HEIGHT // 2 + 4 :, WIDTH // 2 + 4 :]).mean() < 8


@pytest.mark.parametrize(
    ("frames_per_second", "times"),
    [
        (1, [0, 1000, 2000]),
        (2, [0, 500, 1000, 1500, 2000, 2500]),
        (0.5, [0, 2000]),
        (3, [0, 400, 700, 1000, 1400, 1700, 2000, 2400, 2700]),
        (100, [100 * n for n in range(30)]),
    ],
)
def test_of_each_interval_the_first_frame_is_taken(
    frames_per_second: float, times: list[int]
) -> None:
    assert [frame.time_ms for frame in taken(PLAIN, frames_per_second)] == times


def test_the_same_video_gives_the_same_bytes() -> None:
    assert taken(PLAIN, 2) == taken(PLAIN, 2)


def test_pictures_are_upright() -> None:
    (frame, *_) = taken(turned_clockwise(PLAIN))
    assert (frame.width, frame.height) == (HEIGHT, WIDTH)
    pixels = decode_rgb(frame.jpeg).astype(int)
    red = pixels[..., 0] - pixels[..., 1] > 100
    # Turned clockwise, the upper left is the upper right.
    assert red[: WIDTH // 2, HEIGHT // 2 :].mean() > 0.9
    assert red[:, : HEIGHT // 2 - 4].mean() < 0.05


def test_frames_are_jpeg_of_high_quality() -> None:
    (frame, *_) = taken(PLAIN)
    with Image.open(io.BytesIO(frame.jpeg)) as image:
        assert image.format == "JPEG"
        assert max(image.quantization[0]) <= 12  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "not a video"),
        (b"#EXTM3U\nhttp://127.0.0.1:1/a.ts\n", "not a video: not MP4"),
        (picture(1, "JPEG"), "not a video"),
        (PLAIN[: len(PLAIN) // 2], "truncated"),
        (PLAIN[:-1], "truncated"),
        (video(container="matroska")[:-2000], "truncated"),
        (video(container="webm", codec="libvpx-vp9")[:-500], "truncated"),
        (video(container="avi")[:-100], "truncated"),
        (b"\x00\x00\x00\x08ftypisom", "not a readable video"),
        (b"\x1a\x45\xdf\xa3" + b"\x00" * 500, "not a readable video"),
        (sound(), "no video track"),
        (video(codec="ffv1", container="matroska"), "codec ffv1 is not accepted"),
    ],
)
def test_what_is_no_video_is_told(data: bytes, named: str) -> None:
    with pytest.raises(InvalidVideoError, match=named):
        taken(data)


def test_an_iphones_photograph_is_no_video() -> None:
    assert video_format(b"\x00\x00\x00\x18ftypheic") is None
    assert video_format(b"\x00\x00\x00\x18ftypisom") == "mov"


def test_a_track_that_ends_too_early_is_truncated() -> None:
    data = video(40, 2, container="matroska")
    cluster = b"\x1f\x43\xb6\x75"
    at = data.index(cluster, data.index(cluster) + 1)  # the second
    cut = data.index(b"\x18\x53\x80\x67") + 4
    live = data[:cut] + b"\x01" + b"\xff" * 7 + data[cut + 8 : at]
    with pytest.raises(InvalidVideoError, match=r"truncated: its frames end at .* s of 40\.0 s"):
        taken(live)


def test_flipped_bytes_are_frames_or_a_named_problem() -> None:
    generator = np.random.default_rng(0)
    for source in (PLAIN, video(1, container="matroska", codec="libx264")):
        for _ in range(40):
            data = bytearray(source)
            for at in generator.integers(0, len(data), 4):
                data[at] ^= int(generator.integers(1, 256))
            try:
                taken(bytes(data))
            except InvalidVideoError as error:
                assert "\n" not in str(error)


def test_what_is_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_module, "MAX_FRAMES", 5)
    assert len(taken(PLAIN, 1)) == 3
    with pytest.raises(InvalidVideoError, match="more than 5 frames to take"):
        taken(PLAIN, 10)
    monkeypatch.setattr(video_module, "MAX_DECODED_PIXELS", 20 * WIDTH * HEIGHT)
    with pytest.raises(InvalidVideoError, match="more pixels than are decoded"):
        taken(PLAIN, 1)
    monkeypatch.setattr(video_module, "MAX_FRAME_PIXELS", WIDTH * HEIGHT - 1)
    with pytest.raises(InvalidVideoError, match="more pixels than are decoded"):
        taken(PLAIN, 1)


def test_frames_of_a_video_stay_together_and_in_order(place: Place) -> None:
    record = place.run_folder(videos({"cat": 12, "dog": 12}), framesPerSecond=2)
    dataset = stored(place, record)
    assert sum(record["items"].values()) == 24 * 4
    assert place.reporter.report["videos"] == 24
    groups = [{item.group for item in dataset.items(split)} for split in SPLITS]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 24
    assert all(groups), "each split has videos"
    by_group: dict[int, list[int]] = {}
    for item in sorted(everything(dataset), key=lambda item: item.index):
        by_group.setdefault(item.group, []).append(item.time_ms)
    assert set(map(tuple, by_group.values())) == {(0, 600, 1000, 1600)}
    assert {(item.width, item.height) for item in everything(dataset)} == {(WIDTH, HEIGHT)}


def test_folders_of_splits_are_kept(place: Place) -> None:
    files: dict[str, bytes] = {"README.md": b"videos"}
    for start, (split, count) in enumerate((("train", 4), ("val", 2), ("test", 1))):
        found = videos({"cat": count, "dog": count}, 50 * start)
        files |= {f"set/{split}/{name}": data for name, data in found.items()}
    record = place.run_archive(tar_of(files))
    assert place.reporter.report["videos"] == 14
    assert record["items"] == {"train": 16, "validation": 8, "test": 4}
    assert record["invalid"] == 0


def test_broken_videos_are_bad_items(place: Place) -> None:
    files = videos({"cat": 6, "dog": 6}) | {
        "cat/cut.mp4": PLAIN[:-50],
        "dog/photo.jpg": picture(1, "JPEG"),
        "stray.mp4": video(2, 5, 99),
    }
    record = place.run_folder(files, invalidPercent=20)
    problems = {b["path"]: b["problem"] for b in place.reporter.report["badItems"]}
    assert record["invalid"] == 3
    assert "truncated" in problems["cat/cut.mp4"]
    assert "not a video" in problems["dog/photo.jpg"]
    assert problems["stray.mp4"] == "not at <concept>/<video>"


def test_the_tolerance_counts_videos_not_frames(place: Place) -> None:
    files = videos({"cat": 4, "dog": 4}) | {"cat/cut.mp4": PLAIN[:-50]}
    failure = place.failure(files, framesPerSecond=5)
    assert failure.reason == "InvalidDataToleranceExceeded"
    assert "1 of 9 items" in failure.message


def test_the_order_of_files_does_not_matter_and_the_rate_does(place: Place) -> None:
    files = videos({"cat": 2, "dog": 2})
    first = place.run_archive(tar_of(files))
    second = place.run_archive(tar_of(dict(reversed(files.items()))))
    assert (first["digest"], first["splitDigest"]) == (second["digest"], second["splitDigest"])
    assert place.run_archive(tar_of(files), framesPerSecond=5)["digest"] != first["digest"]


def test_more_frames_than_items_are_allowed_are_refused(place: Place) -> None:
    limits = {"archiveBytes": 10**8, "unpackedBytes": 10**8, "items": 10}
    failure = place.failure(videos({"cat": 3, "dog": 3}), limits=limits, framesPerSecond=5)
    assert failure.reason == "ArchiveTooLarge"
    assert "lower spec.framesPerSecond" in failure.message


def test_import_folder_takes_format_and_rate(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "videos", videos({"cat": 2, "dog": 2}))
    imported = import_folder(
        folder, tmp_path / "datasets", format="videoFolder", frames_per_second=5
    )
    dataset = StoredDataset.open(imported.path, imported.split_digest)
    assert len(everything(dataset)) == 40


@pytest.fixture
def dying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sampler:
    tests = str(Path(__file__).resolve().parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")]))
    return Sampler(tmp_path / "spool", 1, "dataset.dying_sampler")


def test_a_video_that_kills_or_hangs_the_decoder_costs_itself_only(
    dying: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler_module, "_PATIENCE_SECONDS", 3.0)
    with dying as sampler:
        assert sampler.sample(b"segfault") == "the decoder did not survive it (SIGSEGV)"
        assert sampler.sample(b"hang") == "the decoder did not survive it (SIGKILL)"
        frames = sampler.sample(PLAIN)
        assert not isinstance(frames, str)
        assert [data for _, data in sampler.read(frames)] == [f.jpeg for f in taken(PLAIN)]
        with pytest.raises(Failure, match="no space left") as failed:
            sampler.sample(b"full")
        assert failed.value.reason == "DiskFull"


def test_a_process_that_does_not_start_is_no_fault_of_the_videos(
    dying: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYING_SAMPLER", "at-start")
    with dying as sampler, pytest.raises(RuntimeError, match="does not start: exit code 5"):
        sampler.sample(PLAIN)


def test_the_real_videos(place: Place, tmp_path: Path) -> None:
    archive = ROOT.parent / "shared" / "data" / "video-intel.tar.gz"
    if not archive.exists():
        pytest.skip("video-intel.tar.gz is not in ../shared/data")
    import tarfile

    files = {}
    with tarfile.open(archive) as packed:
        for name in ("bird", "book", "brother"):
            member = packed.extractfile(f"video-intel/asl_gestures/{name}.mkv")
            assert member is not None
            files[f"{name}/1.mkv"] = member.read()
    record = place.run_folder(files, framesPerSecond=2)
    assert record["items"]["train"] == 18
    assert record["invalid"] == 0
