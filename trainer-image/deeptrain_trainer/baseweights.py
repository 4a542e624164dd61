"""The weights that a training begins with: bundled, fetched, or of another version. Safetensors only."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import nn

from .artifact import MANIFEST, checked_files
from .bases import base_folder
from .dataset.store import sha256_of_file
from .failure import Failure
from .models.published import Adapting
from .run import Base

if TYPE_CHECKING:
    from torch import Tensor

# Below this share of its tensors a backbone would begin mostly at random, which nobody who names a base wants.
LEAST_MATCHED_SHARE = 0.9
# Prefixes under which files keep the backbone that we call `base`; what is trained elsewhere often has a wrapper's.
_PREFIXES = ("base.", "net.", "backbone.", "module.", "model.", "backbone.body.")
# What networks call the parts that are on top of a backbone, and those that hold its layers.
_HEADS = {"classifier", "fc", "head", "heads"}
_TRUNKS = {"blocks", "encoder", "features", "layers", "stages"}
# Of a batch-norm: how many batches it has seen. Some files do not tell, and nothing depends on it.
_COUNTERS = "num_batches_tracked"

# How zip archives and pickles begin.
_FOREIGN = (b"PK", b"\x80\x02")


class Loaded(NamedTuple):
    """How many of the tensors that were asked for began as the base's."""

    loaded: int
    new: int
    # The backbone's that the base lacked, by name: they begin at random.
    missing: frozenset[str] = frozenset()


def is_pretrained(base: Base) -> bool:
    """Whether the weights begin as something learnt."""
    return base.id != "none"


def load_base_into(
    backbone: nn.Module,
    base: Base,
    check_stop: Callable[[], None] = lambda: None,
    others: "Mapping[str, Tensor] | None" = None,
) -> Loaded:
    """Puts the base's weights into a backbone: tensors whose name and shape match, or that it can adapt.

    `others` are more of the model's tensors, by their names in a published version: what the base has of them is
    loaded too. `check_stop` may raise to break a download off.
    Raises Failure: BaseUnavailable where the weights cannot be read or are not those that were named,
    DiskFull, BaseIncompatible where fewer than 90 % of the backbone's tensors are among them, or layers that it does
    not have.
    """
    own, others = backbone.state_dict(), others or {}
    count = len(own) + len(others)
    if not is_pretrained(base):
        return Loaded(0, count)
    given = base_tensors(base, check_stop)
    matching = _matching(backbone, own, given)
    further = {
        name: given[name].to(tensor.dtype)
        for name, tensor in others.items()
        if name in given and given[name].shape == tensor.shape
    }
    for name, tensor in (matching | further).items():
        if not tensor.isfinite().all():
            raise Failure("BaseIncompatible", f"spec.base: {name} has values that are not finite.")
    backbone.load_state_dict({**own, **matching})
    for name, tensor in further.items():
        others[name].copy_(tensor)
    loaded = len(matching) + len(further)
    missing = {name for name in own if name not in matching and not name.endswith(_COUNTERS)}
    return Loaded(loaded, count - loaded, frozenset(missing))


def base_tensors(base: Base, check_stop: Callable[[], None] = lambda: None) -> "dict[str, Tensor]":
    """All tensors of a base by their names. Raises Failure as `load_base_into`."""
    if base.id == "model":
        return _tensors(_version_weights(base), "the base's weights")
    if base.id == "http":
        from .basefetch import fetched_weights

        return _tensors(fetched_weights(base, check_stop), base.url)
    return _tensors(_bundled(base), f"the base {base.id}")


def _bundled(base: Base) -> Path:
    path = base_folder() / f"{base.id}.safetensors"
    try:
        found = f"sha256:{sha256_of_file(path)}"
    except OSError as error:
        raise Failure(
            "BaseUnavailable",
            f"The base {base.id} cannot be read from this trainer image: {error.strerror}.",
        ) from None
    if found != base.digest:
        raise Failure(
            "BaseUnavailable",
            f"The base {base.id} in this trainer image is {found}, but this version was made with {base.digest}: "
            "use the trainer image that it was made with.",
        )
    return path


def version_manifest(base: Base) -> dict[str, Any]:
    """The manifest of the version that is the base. Raises Failure(BaseUnavailable)."""
    try:
        content = (base.path / MANIFEST).read_bytes()
        if "sha256:" + hashlib.sha256(content).hexdigest() != base.digest:
            raise ValueError(f"its manifest is not {base.digest}")
        return dict(json.loads(content))
    except (OSError, ValueError) as error:
        raise _unreadable(error) from None


def _version_weights(base: Base) -> bytes:
    manifest = version_manifest(base)
    try:
        return checked_files(base.path, manifest, ["weights.safetensors"])["weights.safetensors"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(error) from None


def _unreadable(error: Exception) -> Failure:
    return Failure("BaseUnavailable", f"spec.base.modelRef: the version cannot be read: {error}.")


def _tensors(content: bytes | Path, what: str) -> "dict[str, Tensor]":
    """Those of a file or its content. A file is mapped: read, it would be in memory twice.

    Raises Failure(BaseIncompatible) for what is not safetensors, a pickle above all: it is never opened.
    """
    try:
        return load_file(content) if isinstance(content, Path) else load(content)
    except (SafetensorError, ValueError, KeyError, OverflowError) as error:
        kind = "a pickle or a zip archive" if _begin(content) in _FOREIGN else "not whole"
        raise Failure(
            "BaseIncompatible",
            f"spec.base: {what} is {kind}: only safetensors files are accepted ({str(error)[:200]}).",
        ) from None


def _begin(content: bytes | Path) -> bytes:
    if isinstance(content, bytes):
        return content[:2]
    with content.open("rb") as file:
        return file.read(2)


def _matching(
    backbone: nn.Module, own: "dict[str, Tensor]", given: "dict[str, Tensor]"
) -> "dict[str, Tensor]":
    """The given tensors that fit. Raises Failure(BaseIncompatible) where they are of another architecture."""
    needed = [name for name in own if not name.endswith(_COUNTERS)]
    if isinstance(backbone, Adapting):  # then even what has another size finds its place
        matching, strange = _best_match(own, given, backbone.adapted)
        least = float(len(needed))
    else:
        matching, strange = _best_match(own, given, dict)
        least = LEAST_MATCHED_SHARE * len(needed)
    missing = [name for name in needed if name not in matching]
    if len(needed) - len(missing) < least:
        raise Failure(
            "BaseIncompatible",
            f"spec.base: only {len(needed) - len(missing)} of the {len(needed)} tensors of this template's backbone "
            f"are in the base with their name and shape (missing: {_first(missing)}): "
            "choose a base of the same architecture.",
        )
    if strange:
        raise Failure(
            "BaseIncompatible",
            f"spec.base: {len(strange)} tensors of the base are of layers that this template's backbone does not have "
            f"({_first(strange)}): choose a base of the same architecture.",
        )
    return matching


def _best_match(
    own: "dict[str, Tensor]",
    given: "dict[str, Tensor]",
    adapted: "Callable[[dict[str, Tensor]], dict[str, Tensor]]",
) -> "tuple[dict[str, Tensor], list[str]]":
    """The given tensors that fit, by our names, and the names of layers that we do not have; under that pair of
    prefixes with which most fit."""
    trunks = (_TRUNKS | {name.removeprefix("net.").partition(".")[0] for name in own}) - _HEADS
    candidates = []
    for theirs in ("", *_PREFIXES):
        bare = adapted(
            {n.removeprefix(theirs): tensor for n, tensor in given.items() if n.startswith(theirs)}
        )
        for ours in ("", "net."):
            fitting = {
                ours + name: tensor.to(own[ours + name].dtype)
                for name, tensor in bare.items()
                if ours + name in own and own[ours + name].shape == tensor.shape
            }
            strange = [
                name
                for name in bare
                if ours + name not in own
                and name.removeprefix("net.").partition(".")[0] in trunks
                and not name.endswith(_COUNTERS)
            ]
            candidates.append((fitting, strange))
    return max(candidates, key=lambda candidate: len(candidate[0]))


def _first(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
