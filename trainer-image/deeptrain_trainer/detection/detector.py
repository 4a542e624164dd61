"""A detector: a base, what makes boxes of its maps, and the anchors that these are relative to."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from ..baseweights import base_tensors, is_pretrained, load_base_into
from ..models import BasedModel, seed_initialisation
from ..models.efficientnet_lite0 import EfficientNetLite0Maps
from ..models.resnet import ResNet50Maps
from ..models.retinanet import RetinaNet
from ..models.ssdlite import SSDLite
from ..optimizer import Recipe
from ..run import TrainRun
from .anchors import AnchorShapes, anchor_boxes, octaves
from .losses import Predictions


class Detector(BasedModel):
    """Pixels, float [N, 3, S, S] from 0 to 255, to predictions for each anchor. `head` is all but the backbone."""

    anchors: Tensor

    def __init__(self, base: nn.Module, head: nn.Module, anchors: Tensor) -> None:
        super().__init__(base)
        self.head = head
        self.register_buffer("anchors", anchors, persistent=False)

    def forward(self, pixels: Tensor) -> Predictions:
        """Logits and deltas of all anchors."""
        logits, deltas = self.head(self.base(pixels))
        return Predictions(logits, deltas)


@dataclass(frozen=True)
class Architecture:
    """`head` takes the number of concepts and of sets of box regressors at each anchor."""

    base: Callable[[int], nn.Module]
    head: Callable[[int, int], nn.Module]
    strides: tuple[int, ...]
    shapes: AnchorShapes
    recipe: Recipe
    # Whether training images are enlarged up to twofold too.
    crops: bool


_SHAPES = AnchorShapes(octaves(3.0))
_COCO_SHAPES = AnchorShapes(octaves(4.0))
_SSD_SHAPES = AnchorShapes((3.0, 3.0 * 2**0.5))
_ADAMW = Recipe("AdamW", weight_decay=0.02, clip_norm=10.0)
_SGD = Recipe("SGD", weight_decay=1e-4, clip_norm=10.0)
_LITE0, _RESNET50 = EfficientNetLite0Maps.WIDTHS, ResNet50Maps.WIDTHS

ARCHITECTURES = {
    "visual-detector/retinanet-efficientnet-lite0": Architecture(
        EfficientNetLite0Maps,
        lambda concepts, regressors: RetinaNet(
            _LITE0, 96, 1, 2, _SHAPES.count, concepts, regressors
        ),
        (8, 16, 32, 64),
        _SHAPES,
        _ADAMW,
        crops=False,
    ),
    "visual-detector/ssdlite-efficientnet-lite0": Architecture(
        EfficientNetLite0Maps,
        lambda concepts, regressors: SSDLite(
            _LITE0, 96, 1, _SSD_SHAPES.count, concepts, regressors
        ),
        (8, 16, 32, 64),
        _SSD_SHAPES,
        _ADAMW,
        crops=True,
    ),
    "visual-detector/retinanet-resnet50": Architecture(
        ResNet50Maps,
        lambda concepts, regressors: RetinaNet(
            _RESNET50, 256, 2, 4, _COCO_SHAPES.count, concepts, regressors
        ),
        (8, 16, 32, 64, 128),
        _COCO_SHAPES,
        _SGD,
        crops=False,
    ),
}


def build_detector(run: TrainRun) -> Detector:
    """The model as training begins: seeded random weights, then the base's weights where there is one."""
    architecture, hyperparameters = ARCHITECTURES[run.template], run.hyperparameters
    concepts = len(run.concepts)
    regressors = concepts if hyperparameters.use_perclass_regression else 1
    seed_initialisation(run.seed)
    base = architecture.base(hyperparameters.image_size)
    head = architecture.head(concepts, regressors)
    anchors = anchor_boxes(hyperparameters.image_size, architecture.strides, architecture.shapes)
    model = Detector(base, head, anchors)
    load_base_into(base, run.base)
    if run.base.id in ("model", "http"):
        _load_head(head, base_tensors(run.base), regressors)
    pretrained = is_pretrained(run.base)
    model.settle_base(is_pretrained=pretrained, multiplier=hyperparameters.base_gradient_multiplier)
    if pretrained and isinstance(base, ResNet50Maps):
        base.freeze_stem()
    return model


def _load_head(head: nn.Module, given: dict[str, Tensor], regressors: int) -> None:
    """Of a whole detector, what fits by name and shape; but not what is of its own concepts."""
    own = head.state_dict()
    new = ("concept_output", "box_output") if regressors > 1 else ("concept_output",)
    matching = {
        name: given[f"head.{name}"]
        for name, tensor in own.items()
        if f"head.{name}" in given
        and given[f"head.{name}"].shape == tensor.shape
        and not any(part in name for part in new)
    }
    head.load_state_dict({**own, **matching})
