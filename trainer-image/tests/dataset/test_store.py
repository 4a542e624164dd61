"""The store: all of a dataset or nothing, once."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import signal
import stat
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deeptrain_trainer.dataset import publish as publish_module
from deeptrain_trainer.dataset.box import Box, pack_boxes
from deeptrain_trainer.dataset.publish import DatasetWriter, LabelledItem, content_digest, in_order
from deeptrain_trainer.dataset.store import (
    Split,
    StoreCorruptError,
    StoredDataset,
    hex_of,
    split_name,
    verify,
)
from deeptrain_trainer.failure import Failure

UID = "0f8fad5b-d9cb-469f-a165-70867728950e"
FILES = {f"picture {n}".encode(): ("cat",) if n % 2 else ("dog",) for n in range(20)}


def published(
    datasets: Path,
    files: dict[bytes, tuple[str, ...]] | None = None,
    held_out: int = 4,
    uid: str = UID,
    shard_bytes: int = 50,
) -> tuple[Path, str]:
    """Where the files were published as a dataset, and the split digest."""
    with DatasetWriter(datasets, uid, 1, shard_bytes) as writer:
        items = []
        for data, concepts in (FILES if files is None else files).items():
            sha256 = hashlib.sha256(data).digest()
            writer.add(sha256, data)
            items.append(LabelledItem(sha256, concepts))
        items.sort()
        splits: list[Split] = ["test" if n < held_out else "train" for n in range(len(items))]
        digest, split_digest = writer.publish(items, splits, b"{}")
    return datasets / hex_of(digest), split_digest


def names(datasets: Path) -> list[str]:
    return sorted(path.name for path in datasets.iterdir())


def test_what_was_stored_is_read(tmp_path: Path) -> None:
    path, split_digest = published(tmp_path)
    dataset = StoredDataset.open(path, split_digest)
    assert dataset.concepts == ("cat", "dog")
    assert dataset.digest == f"sha256:{path.name}"
    everything = dataset.items("train") + dataset.items("validation") + dataset.items("test")
    assert [len(dataset.items(s)) for s in ("train", "validation", "test")] == [16, 0, 4]  # type: ignore[arg-type]
    found = {
        dataset.read(item): tuple(dataset.concepts[n] for n in item.labels) for item in everything
    }
    assert found == FILES
    assert sorted(item.index for item in everything) == list(range(20))
    assert len(list((path / "shards").iterdir())) > 3
    verify(path)
    dataset.close()
    assert dataset.read(everything[0]) in FILES


def test_the_digest_is_of_content_and_labels_alone() -> None:
    one = LabelledItem(b"a" * 32, ("cat",))
    two = LabelledItem(b"b" * 32, ("dog",))
    assert content_digest([one, two]) == content_digest([two, one])
    assert content_digest([one, two]) != content_digest([one, two._replace(concepts=("cat",))])
    assert content_digest([one, two]) != content_digest([one, one, two])
    assert content_digest([one]) == GOLDEN


# A changed digest would train every model anew.
GOLDEN = "sha256:" + hashlib.sha256(b"61" * 32 + b' ["cat"]\n').hexdigest()


def test_boxes_videos_and_times_are_part_of_the_digest() -> None:
    def boxed(*boxes: Box) -> LabelledItem:
        return LabelledItem(b"a" * 32, ("cat",), 9, 9, pack_boxes(boxes))

    one, two = Box(0, 0, 0, 4, 4), Box(0, 1, 1, 5, 5)
    plain = LabelledItem(b"a" * 32, ("cat",), 9, 9)
    framed = plain._replace(video=b"v" * 32, time_ms=500)
    assert content_digest([plain]) == GOLDEN, "sizes are the content's"
    assert content_digest([boxed(one, two)]) == content_digest([boxed(two, one)])
    others = [plain, boxed(one), boxed(two), boxed(one, two), boxed(one._replace(ignored=True))]
    others += [framed, framed._replace(time_ms=0), framed._replace(video=b"w" * 32)]
    assert len({content_digest([item]) for item in others}) == len(others)


def test_frames_of_a_video_are_one_group_in_the_order_of_time(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path, UID, 1) as writer:
        items = []
        for video in (b"v" * 32, b"w" * 32):
            for time_ms in (2000, 0, 1000):
                data = b"black" if time_ms == 0 else video[:1] + str(time_ms).encode()
                sha256 = hashlib.sha256(data).digest()
                writer.add(sha256, data)
                items.append(LabelledItem(sha256, ("cat",), 8, 6, b"", video, time_ms))
        in_order(items)
        digest, split_digest = writer.publish(items, ["train"] * 6, b"{}")
    dataset = StoredDataset.open(tmp_path / hex_of(digest), split_digest)
    found = [(item.group, item.time_ms, item.width, item.height) for item in dataset.items("train")]
    assert found == [(group, time, 8, 6) for group in (0, 1) for time in (0, 1000, 2000)]


def test_equal_data_are_stored_once(tmp_path: Path) -> None:
    first, split = published(tmp_path)
    inode = (first / "index.bin").stat().st_ino
    backwards = dict(reversed(FILES.items()))
    second, same_split = published(tmp_path, backwards, uid="another-object")
    third, other_split = published(tmp_path, held_out=6)
    assert first == second == third
    assert split == same_split != other_split
    assert (first / "index.bin").stat().st_ino == inode
    assert names(tmp_path) == [first.name]
    for digest, held_out in ((split, 4), (other_split, 6)):
        assert len(StoredDataset.open(first, digest).items("test")) == held_out


def test_the_same_bytes_are_stored_once_and_are_one_group(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path, UID, 1) as writer:
        sha256 = hashlib.sha256(b"twin").digest()
        writer.add(sha256, b"twin")
        writer.add(sha256, b"twin")
        items = [LabelledItem(sha256, ("cat",)), LabelledItem(sha256, ("dog",))]
        digest, split_digest = writer.publish(items, ["train", "train"], b"{}")
    path = tmp_path / hex_of(digest)
    first, second = StoredDataset.open(path, split_digest).items("train")
    assert (first.group, first.offset) == (second.group, second.offset)
    assert first.labels != second.labels
    assert (path / "shards/00000.bin").read_bytes() == b"twin"


def test_nothing_is_left_of_an_import_that_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), DatasetWriter(tmp_path, UID, 1) as writer:
        writer.add(hashlib.sha256(b"x").digest(), b"x")
        writer.download.write_bytes(b"half an archive")
        raise RuntimeError
    assert names(tmp_path) == []


def test_what_a_dead_import_left_goes_with_the_next_of_the_same_object(tmp_path: Path) -> None:
    for name in (f".import-{UID}-1", f".broken-{UID}-1", ".import-someone-else-1"):
        (tmp_path / name / "shards").mkdir(parents=True)
    path, _ = published(tmp_path)
    assert names(tmp_path) == [".import-someone-else-1", path.name]


def aged(folder: Path, seconds: float) -> None:
    """As if nothing had been written there for so long."""
    for path in (folder, *folder.rglob("*")):
        then = time.time() - seconds
        os.utime(path, (then, then))


def abandoned(datasets: Path, uid: str) -> Path:
    """The working folder of an import that was killed by SIGKILL."""
    child = os.fork()
    if child == 0:
        with DatasetWriter(datasets, uid, 1) as writer:
            writer.add(hashlib.sha256(b"x").digest(), b"x")
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    return datasets / f".import-{uid}-1"


def test_what_a_killed_import_left_is_swept_by_any_other_after_an_hour(tmp_path: Path) -> None:
    folder = abandoned(tmp_path, "deleted-object")
    path, _ = published(tmp_path)
    assert names(tmp_path) == [".import-deleted-object-1", path.name]
    aged(folder, 3500)
    published(tmp_path)
    assert folder.exists()
    aged(folder, 3700)
    broken = tmp_path / ".broken-deleted-object-2"
    (broken / "shards").mkdir(parents=True)
    aged(broken, 3700)
    published(tmp_path)
    assert names(tmp_path) == [path.name]
    assert "lock" not in names(path)


def test_a_living_import_is_swept_by_nobody(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path, "slow-object", 1) as writer:
        writer.add(hashlib.sha256(b"x").digest(), b"x")
        folder = tmp_path / ".import-slow-object-1"
        aged(folder, 10_000)
        published(tmp_path)
        # Its own Dataset's next attempt may begin while it is still ending.
        with DatasetWriter(tmp_path, "slow-object", 2):
            assert folder.exists()
        items = [LabelledItem(hashlib.sha256(b"x").digest(), ("cat",))]
        digest, _ = writer.publish(items, ["train"], b"{}")
    verify(tmp_path / hex_of(digest))


def test_without_locks_what_was_written_lately_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a network file system: nobody's lock is seen by anybody else."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    with DatasetWriter(tmp_path, "slow-object", 1) as writer:
        folder = tmp_path / ".import-slow-object-1"
        aged(folder, 10_000)
        writer.add(hashlib.sha256(b"x").digest(), b"x")  # the shard is new
        published(tmp_path)
        assert folder.exists()


def test_where_there_are_no_locks_nothing_of_others_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    folder = abandoned(tmp_path, "deleted-object")
    abandoned(tmp_path, UID)
    aged(folder, 10_000)
    path, _ = published(tmp_path)
    assert names(tmp_path) == [folder.name, path.name]


@pytest.mark.parametrize(
    "damage", ["index.bin", "shards/00001.bin", "concepts.json", "manifest.json"]
)
@pytest.mark.parametrize("how", ["changed", "missing"])
def test_a_damaged_dataset_is_noticed_and_replaced(tmp_path: Path, damage: str, how: str) -> None:
    path, split = published(tmp_path)
    _, other_split = published(tmp_path, held_out=6)
    file = path / damage
    if how == "changed":
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    else:
        file.unlink()
    with pytest.raises(StoreCorruptError):
        verify(path)
    # What the manifest says of shards is for `verify`; an item is compared with the index.
    if (damage, how) != ("manifest.json", "changed"):
        with pytest.raises((StoreCorruptError, OSError)):
            dataset = StoredDataset.open(path, split)
            for item in dataset.items("train") + dataset.items("test"):
                dataset.read(item)
    published(tmp_path)
    verify(path)
    assert names(tmp_path) == [path.name]
    # The splits of other datasets with the same content have survived.
    assert len(StoredDataset.open(path, other_split).items("test")) == 6


def test_a_split_file_is_what_its_name_says(tmp_path: Path) -> None:
    path, split = published(tmp_path)
    file = path / split_name(split)
    value = json.loads(file.read_bytes())
    value["assignment"] = value["assignment"][::-1]
    file.write_text(json.dumps(value))
    with pytest.raises(StoreCorruptError, match="splits"):
        StoredDataset.open(path, split)
    with pytest.raises(StoreCorruptError, match="splits"):
        StoredDataset.open(path, "sha256:" + "0" * 64)


@pytest.mark.parametrize("digest", ["", "0" * 64, "sha256:../../etc", "sha256:" + "G" * 64])
def test_a_digest_that_is_none_never_becomes_a_path(digest: str) -> None:
    with pytest.raises(ValueError, match="not a digest"):
        hex_of(digest)


@pytest.mark.parametrize("uid", ["", "../x", "a/b", "a" * 65])
def test_a_uid_that_is_none_never_becomes_a_path(tmp_path: Path, uid: str) -> None:
    with pytest.raises(Failure, match="UID"):
        DatasetWriter(tmp_path, uid, 1)


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_full_disk_is_named_with_path_and_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "fsync":
        monkeypatch.setattr(publish_module.os, "fsync", full)
    else:
        monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(Failure) as caught:
        published(tmp_path)
    assert caught.value.reason == "DiskFull"
    assert caught.value.exit_code not in (0, 42, 143)
    assert str(tmp_path) in caught.value.message
    assert any(word.isdigit() for word in caught.value.message.split())
    assert names(tmp_path) == []


def test_losing_the_race_to_publish_is_as_good_as_winning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner, split = published(tmp_path / "other")
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        if not target.exists():
            shutil.copytree(winner, target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    path, other_split = published(tmp_path / "store", held_out=6)
    monkeypatch.undo()
    assert names(tmp_path / "store") == [path.name]
    verify(path)
    for digest in (split, other_split):
        assert StoredDataset.open(path, digest).items("test")


CHANGES = frozenset({"open", "os.rename", "os.mkdir", "os.chmod", "os.remove", "os.rmdir"})


def killed_at(change: int, datasets: Path, held_out: int) -> bool:
    """Publishes in another process, which SIGKILL ends at its n-th change of the disk; whether it came so far."""
    child = os.fork()
    if child == 0:
        left = change

        def count(event: str, arguments: tuple[object, ...] = ()) -> None:
            nonlocal left
            reads = event == "open" and not int(str(arguments[2])) & (os.O_WRONLY | os.O_RDWR)
            if event in CHANGES | {"fsync"} and not reads:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        fsync = os.fsync

        def counted(descriptor: int) -> None:
            count("fsync")
            fsync(descriptor)

        os.fsync = counted
        sys.addaudithook(count)
        published(datasets, held_out=held_out)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


@pytest.mark.parametrize("before", ["nothing", "equal data", "damaged data"])
def test_kill_9_at_any_moment_of_publishing(tmp_path: Path, before: str) -> None:
    """Wherever it is killed, what has a digest's name is whole, and the next attempt succeeds."""
    kills = 0
    while True:
        datasets = tmp_path / str(kills)
        split = None
        if before != "nothing":
            path, split = published(datasets)
            if before == "damaged data":
                (path / "index.bin").write_bytes(b"damage")
        was_killed = killed_at(kills + 1, datasets, held_out=6)
        there = [path for path in datasets.glob("*") if not path.name.startswith(".")]
        for path in there:
            if (path / "index.bin").read_bytes() != b"damage":
                verify(path)
                if split is not None:
                    assert len(StoredDataset.open(path, split).items("test")) == 4
        path, other_split = published(datasets, held_out=6)
        assert names(datasets) == [path.name]
        verify(path)
        assert len(StoredDataset.open(path, other_split).items("test")) == 6
        if not was_killed:
            break
        kills += 1
    assert kills > 25


def test_directories_are_open_to_the_group_and_keep_its_mark(tmp_path: Path) -> None:
    datasets = tmp_path / "datasets"
    datasets.mkdir()
    datasets.chmod(0o2775)
    before = os.umask(0o077)
    try:
        path, split = published(datasets)
    finally:
        os.umask(before)
    for folder in (path, path / "shards", path / "splits"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o2775
    for file in (path / "index.bin", path / split_name(split), path / "shards/00000.bin"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o664


def test_reading_works_from_threads_and_after_a_fork(tmp_path: Path) -> None:
    path, split = published(
        tmp_path, {os.urandom(5000): ("cat",) for _ in range(60)}, 0, shard_bytes=40_000
    )
    dataset = StoredDataset.open(path, split)
    items = dataset.items("train")
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(dataset.read, items * 5))
    assert all(hashlib.sha256(d).digest() == i.sha256 for d, i in zip(read, items * 5, strict=True))
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            ok = all(hashlib.sha256(dataset.read(i)).digest() == i.sha256 for i in items)
            os._exit(0 if ok else 1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
