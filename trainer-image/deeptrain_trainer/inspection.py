"""Verifies a published artifact and repeats the record that its run left."""

import hashlib
import json
from pathlib import Path
from typing import Any

from .export import ARTIFACT, MANIFEST
from .failure import Failure


def published_record(output: Path, inputs_hash: str) -> dict[str, Any] | None:
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
            _check_file(folder / entry["path"], entry)
            size += entry["bytes"]
        digest = hashlib.sha256(content).hexdigest()
        return {
            "outcome": "published",
            "inputsHash": inputs_hash,
            "artifact": {"path": ARTIFACT, "digest": f"sha256:{digest}", "bytes": size},
            **{key: manifest[key] for key in ("metrics", "epochs", "steps", "bestEpoch")},
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failure("ArtifactMissing", f"The artifact is damaged: {error}.") from None


def inspect(output: Path, inputs_hash: str) -> dict[str, Any]:
    """As `published_record`; nothing there is a Failure too."""
    record = published_record(output, inputs_hash)
    if record is None:
        raise Failure("ArtifactMissing", "The run left no artifact.")
    return record


def _check_file(path: Path, entry: dict[str, Any]) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if f"sha256:{digest}" != entry["digest"] or path.stat().st_size != entry["bytes"]:
        raise ValueError(f"{path.name} is not what was published")
