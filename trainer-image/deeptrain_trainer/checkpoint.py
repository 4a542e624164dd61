"""Checkpoints: safetensors and JSON, written whole or not at all, those of the last two steps kept.

A checkpoint is a directory `step-<number>`, or `step-<number>-<again>` where that step was saved before. It is written
under another name, its manifest last, synced and then renamed to a name that is free, so at no moment is there less
than before; one that is not what its manifest says is skipped.
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

_FORMAT = 2
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
        """Writes a checkpoint, then removes all but it and the one of the step before.

        One that is there already, whole and with the same content, is left as it is.
        """
        if self._whole is not None and self._is_saved(self._whole, checkpoint):
            return
        self._folder.mkdir(parents=True, exist_ok=True)
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
        digests[_STATE] = write_synced(temporary / _STATE, _state(checkpoint))
        write_synced(temporary / _MANIFEST, self._manifest(digests))
        sync_directory(temporary)
        final = self._free_name(checkpoint.step)
        temporary.rename(final)
        sync_directory(self._folder)
        self._remove_all_but(final, self._before(checkpoint.step))
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

    def position(self) -> dict[str, int] | None:
        """Epoch and step of the newest whole one that belongs to these inputs."""
        try:
            checkpoint = self.load()
        except Failure:
            return None
        if checkpoint is None:
            return None
        return {"epoch": checkpoint.state["epoch"], "step": checkpoint.step}

    def remove(self) -> None:
        """Removes them all: the artifact is published and nothing is left to resume."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _manifest(self, digests: dict[str, str]) -> bytes:
        manifest = {"format": _FORMAT, "inputsHash": self._inputs_hash, "files": digests}
        return json.dumps(manifest).encode()

    def _is_saved(self, path: Path, checkpoint: Checkpoint) -> bool:
        """Whether `path` is whole and holds this very content. Where the steps differ, nothing is read."""
        if _step_of(path) != checkpoint.step:
            return False
        digests = {n: _sha256(save(getattr(checkpoint, role))) for role, n in _TENSORS.items()}
        digests[_STATE] = _sha256(_state(checkpoint))
        return _is_whole(path) and (path / _MANIFEST).read_bytes() == self._manifest(digests)

    def _free_name(self, step: int) -> Path:
        """Sorted by name, later ones come later."""
        first = self._folder / f"step-{step:010d}"
        there = sorted(self._folder.glob(f"{first.name}*"))
        if not there:
            return first
        again = int(there[-1].name[len(first.name) + 1 :] or 0) + 1
        return first.with_name(f"{first.name}-{again:04d}")

    def _before(self, step: int) -> Path | None:
        """The newest whole checkpoint of an earlier step."""
        if self._whole is not None and _step_of(self._whole) < step:
            return self._whole
        earlier = (p for p in self._folder.glob("step-*") if _step_of(p) < step)
        return next((p for p in sorted(earlier, reverse=True) if _is_whole(p)), None)

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


def _step_of(path: Path) -> int:
    return int(path.name.split("-")[1])


def _state(checkpoint: Checkpoint) -> bytes:
    document = {"step": checkpoint.step, "bestEpoch": checkpoint.best_epoch, **checkpoint.state}
    return json.dumps(document).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _is_whole(path: Path) -> bool:
    try:
        _read(path)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


def _read(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest and the files of a checkpoint, checked. Raises ValueError, KeyError or OSError."""
    manifest = json.loads((path / _MANIFEST).read_bytes())
    if manifest["format"] != _FORMAT:
        raise ValueError(f"format {manifest['format']} is not known")
    contents = {name: (path / name).read_bytes() for name in manifest["files"]}
    for name, digest in manifest["files"].items():
        if _sha256(contents[name]) != digest:
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
