"""Checkpoints: safetensors and JSON, written whole or not at all, the last two kept.

A checkpoint is a directory `step-<number>`. It is written under another name, its manifest last, synced and then
renamed; one that is not what its manifest says is skipped.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from .durable import sync_directory, write_synced
from .failure import Failure
from .report import log

_FORMAT = 1
_MANIFEST = "manifest.json"
_STATE = "state.json"
# Files of tensors by their role in `Checkpoint`.
_TENSORS = {
    "model": "model.safetensors",
    "optimizer": "optimizer.safetensors",
    "best": "best.safetensors",
}

Tensors = dict[str, Tensor]


@dataclass
class Checkpoint:
    """`state` is plain JSON. `best` are the weights of the epoch to export, empty before the first evaluation."""

    step: int
    state: dict[str, Any]
    model: Tensors
    optimizer: Tensors
    best: Tensors = field(default_factory=dict)
    best_epoch: int = 0
    # Whether `best` equals `model`. Equal files are shared instead of written again.
    best_is_model: bool = False


class Checkpoints:
    """The checkpoints of one run in one folder."""

    def __init__(self, folder: Path, inputs_hash: str) -> None:
        self._folder = folder
        self._inputs_hash = inputs_hash
        # The newest one that this process wrote or verified; what else lies there is not trusted.
        self._whole: Path | None = None

    def save(self, checkpoint: Checkpoint) -> None:
        """Writes a checkpoint, then removes all but it and the one before."""
        self._folder.mkdir(parents=True, exist_ok=True)
        final = self._folder / f"step-{checkpoint.step:010d}"
        temporary = self._folder / f".tmp-{checkpoint.step}-{os.getpid()}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        digests: dict[str, str] = {}
        for role, name in _TENSORS.items():
            shared = None
            if role == "best":
                model = _TENSORS["model"]
                shared = (
                    (temporary / model, digests[model])
                    if checkpoint.best_is_model
                    else self._shared_best(checkpoint)
                )
            if shared is not None:
                digests[name] = _link(shared[0], temporary / name, shared[1])
            else:
                digests[name] = write_synced(temporary / name, save(getattr(checkpoint, role)))
        document = {"step": checkpoint.step, "bestEpoch": checkpoint.best_epoch, **checkpoint.state}
        digests[_STATE] = write_synced(temporary / _STATE, json.dumps(document).encode())
        manifest = {"format": _FORMAT, "inputsHash": self._inputs_hash, "files": digests}
        write_synced(temporary / _MANIFEST, json.dumps(manifest).encode())
        sync_directory(temporary)
        shutil.rmtree(final, ignore_errors=True)  # same step: written again, or a damaged one
        temporary.rename(final)
        sync_directory(self._folder)
        self._remove_all_but(final, self._whole)
        self._whole = final

    def load(self) -> Checkpoint | None:
        """The newest whole checkpoint. Raises Failure(InputInvalid) when it belongs to other inputs."""
        for path in sorted(self._folder.glob("step-*"), reverse=True):
            try:
                manifest, contents = _read(path)
            except (OSError, ValueError, KeyError, TypeError) as error:
                log({"type": "checkpoint-skipped", "path": str(path), "problem": str(error)})
                continue
            if manifest["inputsHash"] != self._inputs_hash:
                raise Failure(
                    "InputInvalid",
                    f"The checkpoint {path.name} was made with the inputs {manifest['inputsHash']}, "
                    f"not {self._inputs_hash}: another run uses this directory.",
                )
            self._whole = path
            state = json.loads(contents[_STATE])
            tensors = {role: load(contents[name]) for role, name in _TENSORS.items()}
            step, best_epoch = state.pop("step"), state.pop("bestEpoch")
            model, optimizer, best = (tensors[role] for role in ("model", "optimizer", "best"))
            return Checkpoint(step, state, model, optimizer, best, best_epoch)
        return None

    def remove(self) -> None:
        """Removes them all: the artifact is published and nothing is left to resume."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _shared_best(self, checkpoint: Checkpoint) -> tuple[Path, str] | None:
        """File and digest of the same best weights in the checkpoint before."""
        if self._whole is None or checkpoint.best_epoch == 0:
            return None
        if json.loads((self._whole / _STATE).read_bytes())["bestEpoch"] != checkpoint.best_epoch:
            return None
        manifest = json.loads((self._whole / _MANIFEST).read_bytes())
        return self._whole / _TENSORS["best"], manifest["files"][_TENSORS["best"]]

    def _remove_all_but(self, *kept: Path | None) -> None:
        """Old ones, damaged ones, and what killed writers left behind."""
        for path in [*self._folder.glob("step-*"), *self._folder.glob(".tmp-*")]:
            if path not in kept:
                shutil.rmtree(path, ignore_errors=True)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest and the files of a checkpoint, checked. Raises ValueError, KeyError or OSError."""
    manifest = json.loads((path / _MANIFEST).read_bytes())
    if manifest["format"] != _FORMAT:
        raise ValueError(f"format {manifest['format']} is not known")
    contents = {name: (path / name).read_bytes() for name in manifest["files"]}
    for name, digest in manifest["files"].items():
        if hashlib.sha256(contents[name]).hexdigest() != digest:
            raise ValueError(f"{name} is not what was written")
    return manifest, contents


def _link(source: Path, target: Path, digest: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
        with target.open("rb") as file:
            os.fsync(file.fileno())
    return digest
