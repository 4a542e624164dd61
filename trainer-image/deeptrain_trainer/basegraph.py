"""The frozen base of a context-based classifier: what a run's `base` is, as a graph from pixels to an embedding."""

from dataclasses import dataclass

from torch import Tensor, nn

from .artifact import checked_files
from .augment import to_planes
from .baseweights import load_base_into, version_manifest
from .failure import Failure
from .models import BACKBONES, FROZEN_BACKBONES, backbone_name
from .run import Base

EMBEDDING = "embedding"
# Those that the bundled bases were trained for; their files do not say so.
IMAGE_SIZES = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}
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
    if base.id in ("none", "http"):
        raise Failure(
            "BaseIncompatible",
            "spec.base: a context-based classifier trains a head alone, so it needs a base with trained weights and a "
            "known architecture: name a base of the catalogue, or a classifier or embedder in modelRef.",
        )
    if base.id != "model":
        return IMAGE_SIZES[base.id]
    manifest = version_manifest(base)
    template = str(manifest.get("template"))
    if template.partition("/")[0] not in ("visual-classifier", "visual-embedder"):
        raise Failure(
            "BaseIncompatible",
            f"spec.base.modelRef: a version of {template} makes no embedding of a whole picture: "
            "name a visual-classifier or a visual-embedder.",
        )
    return int(manifest["image_size"])


def base_graph(base: Base) -> BaseGraph:
    """Builds the graph. Raises Failure as `base_image_size` and `load_base_into`."""
    size = base_image_size(base)
    if base.id == "model" and _template(base).startswith("visual-embedder/"):
        return BaseGraph(_embedder(base), None)
    name = backbone_name(_template(base)) if base.id == "model" else base.id
    backbone = (BACKBONES | FROZEN_BACKBONES)[name].build(size)
    load_base_into(backbone, base)
    module = _Embedding(backbone).eval().requires_grad_(False)
    from .export import pixels_graph

    return BaseGraph(pixels_graph(module, size, [EMBEDDING]).SerializeToString(), module)


def _template(base: Base) -> str:
    return str(version_manifest(base)["template"])


def _embedder(base: Base) -> bytes:
    """An embedder's own graph: what it is served as is what it is a base with."""
    try:
        return checked_files(base.path, version_manifest(base), [_MODEL])[_MODEL]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failure(
            "BaseUnavailable", f"spec.base.modelRef: the version cannot be read: {error}."
        ) from None
