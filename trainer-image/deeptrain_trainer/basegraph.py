"""The frozen base of a context-based classifier: what a run's `base` is, as a graph from pixels to an embedding."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from .artifact import checked_files
from .augment import to_planes
from .baseweights import base_tensors, load_base_into, version_manifest
from .failure import Failure
from .models import BACKBONES, backbone_name
from .run import Base

EMBEDDING = "embedding"
# Of weights that do not say for which size they were trained: that of the bundled ones.
IMAGE_SIZE = 224
_MODEL = "model.onnx"


@dataclass(frozen=True)
class BaseGraph:
    """`graph` is an ONNX file: `pixels` uint8 [N, S, S, 3] to `embedding` float [N, F].

    `module` is the same in PyTorch, or None where the graph was proven against it when its version was published.
    """

    graph: bytes
    module: nn.Module | None


class _Embedding(nn.Module):
    """uint8 [N, S, S, 3] to a backbone's pooled features [N, F]."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.backbone(to_planes(pixels))
        return features


def base_image_size(base: Base) -> int:
    """The side of the pictures that a base takes. Reads no weights.

    Raises Failure: BaseUnavailable where a version cannot be read, BaseIncompatible where a base makes no embedding.
    """
    if base.id == "none":
        raise Failure(
            "BaseIncompatible",
            "spec.base: a context-based classifier trains a head alone, so it needs a base with trained weights: "
            "name a base of the catalogue, or a classifier or embedder in modelRef.",
        )
    if base.id != "model":
        return IMAGE_SIZE
    manifest = version_manifest(base)
    template = str(manifest.get("template"))
    if template.partition("/")[0] not in ("visual-classifier", "visual-embedder"):
        raise Failure(
            "BaseIncompatible",
            f"spec.base.modelRef: a version of {template} makes no embedding of a whole picture: "
            "name a visual-classifier or a visual-embedder.",
        )
    return int(manifest["image_size"])


def base_graph(base: Base, check_stop: Callable[[], None] = lambda: None) -> BaseGraph:
    """Builds the graph. `check_stop` may raise to break a download off.

    Raises Failure as `base_image_size` and `load_base_into`, and BaseIncompatible for weights of unknown shapes.
    """
    size = base_image_size(base)
    if base.id == "model" and _template(base).startswith("visual-embedder/"):
        return BaseGraph(_embedder(base), None)
    backbone = BACKBONES[_architecture(base, check_stop)].build(size)
    load_base_into(backbone, base, check_stop)
    module = _Embedding(backbone).eval().requires_grad_(False)
    from .export import pixels_graph

    return BaseGraph(pixels_graph(module, size, [EMBEDDING]).SerializeToString(), module)


def _template(base: Base) -> str:
    return str(version_manifest(base)["template"])


def _architecture(base: Base, check_stop: Callable[[], None]) -> str:
    if base.id == "model":
        return backbone_name(_template(base))
    return _told_by_tensors(base, check_stop) if base.id == "http" else base.id


def _told_by_tensors(base: Base, check_stop: Callable[[], None]) -> str:
    """The architecture whose tensors a file has, by their names and shapes."""
    base_tensors(base, check_stop)  # a file that is no safetensors is refused with its own message
    for name, backbone in BACKBONES.items():
        try:
            load_base_into(backbone.build(IMAGE_SIZE), base, check_stop)
        except Failure:
            continue
        return name
    raise Failure(
        "BaseIncompatible",
        f"spec.base.http: {base.url} has the tensors of no known architecture "
        f"({', '.join(BACKBONES)}): name weights of one of these.",
    )


def _embedder(base: Base) -> bytes:
    """An embedder's own graph: what it is served as is what it is a base with."""
    try:
        return checked_files(base.path, version_manifest(base), [_MODEL])[_MODEL]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failure(
            "BaseUnavailable", f"spec.base.modelRef: the version cannot be read: {error}."
        ) from None
