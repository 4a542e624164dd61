"""An artifact is published whole or not at all, and its record can be repeated from it."""

import json
from pathlib import Path
from typing import Any

import pytest
from contract import assert_record

from deeptrain_trainer.artifact import (
    checked_files,
    document,
    inspect,
    publish,
    published_record,
)
from deeptrain_trainer.failure import Failure
from deeptrain_trainer.run import GatedConcept

HASH = "sha256:" + "1" * 64
FACTS: dict[str, Any] = {
    "metrics": {"split": "test", "values": {"top1": 0.5}, "items": 4},
    "epochs": 2,
    "steps": 12,
    "bestEpoch": 1,
}
FILES = {
    "model.onnx": b"graph",
    "concepts.json": b'["a"]\n',
    "evaluation/confusion.png": b"picture",
    "evaluation/pages/1.json": b"{}\n",
}


def published(output: Path) -> dict[str, Any]:
    return publish(output, FILES, {"inputsHash": HASH, **FACTS}, attempt=1)


def test_the_record_can_be_repeated_from_what_was_published(tmp_path: Path) -> None:
    artifact = published(tmp_path)
    assert artifact["path"] == "artifact"
    folder = tmp_path / "artifact"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.relative_to(folder).as_posix() for path in files} == {*FILES, "manifest.json"}
    assert artifact["bytes"] == sum(path.stat().st_size for path in files)
    want = {"outcome": "published", "inputsHash": HASH, "artifact": artifact, **FACTS}
    assert inspect(tmp_path, HASH, []) == want
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


def test_what_gates_ask_of_concepts_is_read_from_what_was_published(tmp_path: Path) -> None:
    rows = [
        {"concept": "dog", "ap": 0.25, "support": 3},
        {"concept": "cat", "support": 0},
    ]
    files = {
        "concepts.json": document(["cat", "dog", "fox"]),
        "metrics.json": document({"concepts": rows}),
    }
    artifact = publish(tmp_path, files, {"inputsHash": HASH, **FACTS}, attempt=1)
    asked = [(1, "ap"), (0, "ap"), (0, "support"), (2, "f1"), (999, "ap")]
    record = inspect(tmp_path, HASH, [GatedConcept(*each) for each in asked])
    assert record["artifact"] == artifact
    assert record["gated"] == [
        {"concept": 1, "metric": "ap", "value": 0.25},
        {"concept": 0, "metric": "ap"},
        {"concept": 0, "metric": "support", "value": 0},
        {"concept": 2, "metric": "f1"},
        {"concept": 999, "metric": "ap"},
    ]
    assert_record({"task": "train", "uid": "u", "attempt": 1, **record})


def test_metrics_that_cannot_be_read_are_a_damaged_artifact(tmp_path: Path) -> None:
    files = {"concepts.json": document(["cat"]), "metrics.json": document({"concepts": [{}]})}
    publish(tmp_path, files, {"inputsHash": HASH, **FACTS}, attempt=1)
    assert "gated" not in inspect(tmp_path, HASH, [])
    with pytest.raises(Failure, match="is damaged"):
        inspect(tmp_path, HASH, [GatedConcept(0, "ap")])


def test_nothing_published_is_artifact_missing(tmp_path: Path) -> None:
    assert published_record(tmp_path, HASH, []) is None
    with pytest.raises(Failure) as missing:
        inspect(tmp_path, HASH, [])
    assert missing.value.reason == "ArtifactMissing"


@pytest.mark.parametrize("damage", ["bit", "picture", "gone", "manifest", "other inputs"])
def test_what_is_not_as_published_is_artifact_missing(tmp_path: Path, damage: str) -> None:
    published(tmp_path)
    model, manifest = tmp_path / "artifact" / "model.onnx", tmp_path / "artifact" / "manifest.json"
    if damage == "bit":
        model.write_bytes(b"grapH")
    elif damage == "picture":
        (tmp_path / "artifact" / "evaluation" / "confusion.png").write_bytes(b"Picture")
    elif damage == "gone":
        model.unlink()
    elif damage == "manifest":
        manifest.write_text(manifest.read_text()[:-9])
    wanted = "sha256:" + "2" * 64 if damage == "other inputs" else HASH
    with pytest.raises(Failure, match="is damaged") as refused:
        inspect(tmp_path, wanted, [])
    assert refused.value.reason == "ArtifactMissing"


def test_a_damaged_artifact_is_replaced(tmp_path: Path) -> None:
    published(tmp_path)
    (tmp_path / "artifact" / "manifest.json").unlink()
    published(tmp_path)
    assert json.loads((tmp_path / "artifact" / "manifest.json").read_text())["inputsHash"] == HASH


def test_what_killed_attempts_began_goes_with_the_next(tmp_path: Path) -> None:
    for attempt in (1, 7):
        (tmp_path / f".artifact-{attempt}").mkdir()
        (tmp_path / f".artifact-{attempt}" / "model.onnx").write_bytes(b"half")
    published(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["artifact"]


def test_a_full_disk_leaves_nothing_under_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, _content: bytes) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("deeptrain_trainer.artifact.write_synced", full)
    with pytest.raises(OSError, match="No space left"):
        published(tmp_path)
    assert not (tmp_path / "artifact").exists()


OUTSIDE = [
    "../model.onnx",
    "/model.onnx",
    "a/../../b",
    "a//b",
    "a/",
    "./a",
    "",
    "a\0b",
    "manifest.json",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_file_lies_outside_of_the_artifact(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a file of an artifact"):
        publish(tmp_path / "output", {name: b"content"}, {"inputsHash": HASH}, attempt=1)
    assert not (tmp_path / "output" / "artifact").exists()


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_manifest_that_names_a_file_outside_is_damaged(tmp_path: Path, name: str) -> None:
    published(tmp_path / "output")
    manifest = tmp_path / "output" / "artifact" / "manifest.json"
    value = json.loads(manifest.read_text())
    value["files"][0]["path"] = name
    manifest.write_text(json.dumps(value))
    with pytest.raises(Failure, match="cannot be a file of an artifact"):
        inspect(tmp_path / "output", HASH, [])
    with pytest.raises(ValueError, match="cannot be a file of an artifact"):
        checked_files(manifest.parent, value, [name])
