"""The published artifact: files and a manifest with the digest of each. Written whole or not at all, and verified."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from .durable import sync_directory, write_synced
from .failure import Failure
from .record import gated_values
from .run import GatedConcept

ARTIFACT = "artifact"
MANIFEST = "manifest.json"
CONCEPTS = "concepts.json"
METRICS = "metrics.json"
_FORMAT = 1


def document(value: Any) -> bytes:
    """The content of a JSON file of the artifact."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1)
    return text.encode() + b"\n"


def publish(
    output: Path, files: dict[str, bytes], facts: dict[str, Any], attempt: int
) -> dict[str, Any]:
    """Writes <output>/artifact, whole or not at all; `facts` become part of its manifest.

    The names of `files` are paths in it, with `/` between folders. Returns the record's `artifact`.
    """
    # One attempt of a version lives at a time: what others began is of no use to anybody.
    for leftover in output.glob(".artifact-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary = output / f".artifact-{attempt}"
    temporary.mkdir(parents=True)
    entries = []
    for name, content in files.items():
        path = _inside(temporary, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = "sha256:" + write_synced(path, content)
        entries.append({"path": name, "bytes": len(content), "digest": digest})
    manifest = {"format": _FORMAT, **facts, "files": entries}
    content = json.dumps(manifest, ensure_ascii=False, allow_nan=False, indent=1).encode()
    digest = write_synced(temporary / MANIFEST, content)
    for folder in (*(path for path in temporary.rglob("*") if path.is_dir()), temporary):
        sync_directory(folder)
    final = output / ARTIFACT
    shutil.rmtree(final, ignore_errors=True)  # only a damaged one can be there
    temporary.rename(final)
    sync_directory(output)
    size = len(content) + sum(len(content) for content in files.values())
    return {"path": ARTIFACT, "digest": f"sha256:{digest}", "bytes": size}


def published_record(
    output: Path, inputs_hash: str, gated: list[GatedConcept]
) -> dict[str, Any] | None:
    """The fields of the published record of the artifact below `output`, or None where there is none.

    Raises Failure(ArtifactMissing) when a file is not what the manifest says, or it belongs to other inputs.
    """
    folder = output / ARTIFACT
    try:
        content = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        return None
    try:
        manifest = json.loads(content)
        if manifest["inputsHash"] != inputs_hash:
            raise ValueError(f"it was made with the inputs {manifest['inputsHash']}")
        size = len(content)
        for entry in manifest["files"]:
            _check_file(_inside(folder, entry["path"]), entry)
            size += entry["bytes"]
        digest = hashlib.sha256(content).hexdigest()
        return {
            "outcome": "published",
            "inputsHash": inputs_hash,
            "artifact": {"path": ARTIFACT, "digest": f"sha256:{digest}", "bytes": size},
            **{key: manifest[key] for key in ("metrics", "epochs", "steps", "bestEpoch")},
            # A head that was trained alone has no base of its own.
            **({"base": manifest["base"]} if "base" in manifest else {}),
            **_gated(folder, gated),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failure("ArtifactMissing", f"The artifact is damaged: {error}.") from None


def _gated(folder: Path, gated: list[GatedConcept]) -> dict[str, Any]:
    """What this run asks for; the one that trained may have asked for something else."""
    if not gated:
        return {}
    concepts = json.loads((folder / CONCEPTS).read_bytes())
    rows = json.loads((folder / METRICS).read_bytes())["concepts"]
    return gated_values(gated, concepts, rows)


def checked_files(folder: Path, manifest: dict[str, Any], names: list[str]) -> dict[str, bytes]:
    """The content of some of an artifact's files. Raises OSError, ValueError, KeyError or TypeError where damaged."""
    entries = {entry["path"]: entry for entry in manifest["files"]}
    contents = {}
    for name in names:
        contents[name] = _inside(folder, name).read_bytes()
        if "sha256:" + hashlib.sha256(contents[name]).hexdigest() != entries[name]["digest"]:
            raise ValueError(f"{name} is not what was published")
    return contents


def inspect(output: Path, inputs_hash: str, gated: list[GatedConcept]) -> dict[str, Any]:
    """As `published_record`; nothing there is a Failure too."""
    record = published_record(output, inputs_hash, gated)
    if record is None:
        raise Failure("ArtifactMissing", "The run left no artifact.")
    return record


def _inside(folder: Path, name: str) -> Path:
    """The place of a file. Raises ValueError for a name that leads out of the folder, or means the manifest."""
    parts = name.split("/")
    if name == MANIFEST or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{name!r} cannot be a file of an artifact")
    return folder.joinpath(*parts)


def _check_file(path: Path, entry: dict[str, Any]) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if f"sha256:{digest}" != entry["digest"] or path.stat().st_size != entry["bytes"]:
        raise ValueError(f"{entry['path']} is not what was published")
