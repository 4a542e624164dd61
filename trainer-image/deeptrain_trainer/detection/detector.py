"""A detector: a base, what makes boxes of its maps, and the anchors that these are relative to."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from ..baseweights import is_pretrained, load_base_into
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
    """`head` takes the number of levels beyond the base's, of concepts, and of sets of box regressors per anchor."""

    base: Callable[[int], nn.Module]
    head: Callable[[int, int, int], nn.Module]
    shapes: AnchorShapes
    recipe: Recipe
    # Whether training images are enlarged up to twofold too.
    crops: bool
    least_extra: int = 1


# The smallest side, 20 pixels, is for 320 what RetinaNet's 32 is for 512.
_SHAPES = AnchorShapes(octaves(2.5))
_COCO_SHAPES = AnchorShapes(octaves(4.0))
_SSD_SHAPES = AnchorShapes((2.5, 2.5 * 2**0.5))
_ADAMW = Recipe("AdamW", weight_decay=0.02, clip_norm=10.0)
_SGD = Recipe("SGD", weight_decay=1e-4, clip_norm=10.0)
# From this image_size on there is one level more.
_LARGE = 512
_LITE0, _RESNET50 = EfficientNetLite0Maps.WIDTHS, ResNet50Maps.WIDTHS

ARCHITECTURES = {
    "visual-detector/retinanet-efficientnet-lite0": Architecture(
        EfficientNetLite0Maps,
        lambda extra, concepts, regressors: RetinaNet(
            _LITE0, 96, extra, 2, _SHAPES.count, concepts, regressors
        ),
        _SHAPES,
        _ADAMW,
        crops=False,
    ),
    "visual-detector/ssdlite-efficientnet-lite0": Architecture(
        EfficientNetLite0Maps,
        lambda extra, concepts, regressors: SSDLite(
            _LITE0, 96, extra, _SSD_SHAPES.count, concepts, regressors
        ),
        _SSD_SHAPES,
        _ADAMW,
        crops=True,
    ),
    "visual-detector/retinanet-resnet50": Architecture(
        ResNet50Maps,
        lambda extra, concepts, regressors: RetinaNet(
            _RESNET50, 256, extra, 4, _COCO_SHAPES.count, concepts, regressors
        ),
        _COCO_SHAPES,
        _SGD,
        crops=False,
        least_extra=2,
    ),
}


def build_for(template: str, image_size: int, concepts: int, regressors: int) -> Detector:
    """A detector with random weights. `regressors`: 1, or as many as concepts."""
    architecture = ARCHITECTURES[template]
    # Anchors of the coarsest level must be as large as the picture, or nearly.
    extra = max(architecture.least_extra, 2 if image_size >= _LARGE else 1)
    strides = [8 * 2**level for level in range(3 + extra)]
    return Detector(
        architecture.base(image_size),
        architecture.head(extra, concepts, regressors),
        anchor_boxes(image_size, strides, architecture.shapes),
    )


def build_detector(run: TrainRun, check_stop: Callable[[], None] = lambda: None) -> Detector:
    """The model as training begins: seeded random weights, then the base's weights where there is one."""
    hyperparameters, concepts = run.hyperparameters, len(run.concepts)
    regressors = concepts if hyperparameters.use_perclass_regression else 1
    seed_initialisation(run.seed)
    model = build_for(run.template, hyperparameters.image_size, concepts, regressors)
    base, head = model.base, model.head
    model.base_loaded, _ = load_base_into(
        base, run.base, check_stop, _of_any_concepts(head, regressors)
    )
    pretrained = is_pretrained(run.base)
    model.settle_base(is_pretrained=pretrained, multiplier=hyperparameters.base_gradient_multiplier)
    if pretrained and isinstance(base, ResNet50Maps):
        base.freeze_stem()
    return model


def _of_any_concepts(head: nn.Module, regressors: int) -> dict[str, Tensor]:
    """The head's tensors that do not depend on the concepts, by their names in a whole detector."""
    new = ("concept_output", "box_output") if regressors > 1 else ("concept_output",)
    return {
        f"head.{name}": tensor
        for name, tensor in head.state_dict().items()
        if not any(part in name for part in new)
    }
