"""The architectures of detectors by their template, and how a run's model is built."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from ..baseweights import is_pretrained, load_base_into
from ..models import seed_initialisation
from ..models.efficientnet_lite import EfficientNetLite0Maps
from ..models.fasterrcnn import FasterRCNN
from ..models.resnet import ResNet50FineMaps, ResNet50Maps
from ..models.retinanet import RetinaNet
from ..models.ssdlite import SSDLite
from ..optimizer import Recipe
from ..run import TrainRun
from .anchors import AnchorShapes, anchor_boxes, anchor_levels, octaves
from .detector import DenseDetector, Detector
from .targets import DENSE_RULE, EVEN_RULE
from .twostage import TwoStageDetector

Build = Callable[[int, int, int, int], Detector]


@dataclass(frozen=True)
class Architecture:
    """`build` takes image_size, the numbers of concepts and of sets of box regressors (1, or one per concept), and the
    template's revision: what it builds for one never changes.
    """

    build: Build
    recipe: Recipe
    # Whether training images are enlarged up to twofold too.
    crops: bool = False


# The smallest side, 20 pixels, is for 320 what RetinaNet's 32 is for 512.
_SHAPES = AnchorShapes(octaves(2.5))
_COCO_SHAPES = AnchorShapes(octaves(4.0))
_SSD_SHAPES = AnchorShapes((2.5, 2.5 * 2**0.5))
# 32 to 512 pixels (Lin et al. 2017).
_PROPOSAL_SHAPES = AnchorShapes((8.0,))
_ADAMW = Recipe("AdamW", weight_decay=0.02, clip_norm=10.0)
_SGD = Recipe("SGD", weight_decay=1e-4, clip_norm=10.0)
# From this image_size on there is one level more; since revision 2 above each of these.
_LARGE, _SINCE_2 = 512, (320, 640)
_LITE0, _RESNET50 = EfficientNetLite0Maps.WIDTHS, ResNet50Maps.WIDTHS


def _dense(
    base: Callable[[int], nn.Module],
    head: Callable[[int, int, int], nn.Module],
    shapes: AnchorShapes,
    least_extra: int = 1,
) -> Build:
    """`head` takes the number of levels beyond the base's, of concepts, and of sets of box regressors per anchor."""

    def build(image_size: int, concepts: int, regressors: int, revision: int) -> Detector:
        extra = max(least_extra, _extra(image_size, revision))
        strides = [8 * 2**level for level in range(3 + extra)]
        return DenseDetector(
            base(image_size),
            head(extra, concepts, regressors),
            anchor_boxes(image_size, strides, shapes),
            rule=DENSE_RULE if revision < 2 else EVEN_RULE,
            least_per_image=0.0 if revision < 2 else 1.0,
        )

    return build


def _extra(image_size: int, revision: int) -> int:
    """The number of levels beyond the base's, so that anchors are as large as the picture, or nearly: the largest
    squares of _SHAPES and _SSD_SHAPES have .7 of its side. In revision 1 .44 at least, and larger objects had none.
    """
    if revision < 2:
        return 2 if image_size >= _LARGE else 1
    return 1 + sum(image_size > size for size in _SINCE_2)


def _unrevised(build: Build) -> Build:
    """As the first revision, whatever the others' are."""
    return lambda image_size, concepts, regressors, _: build(image_size, concepts, regressors, 1)


def _fasterrcnn(image_size: int, concepts: int, regressors: int, _: int) -> Detector:
    # The largest anchors of stride 64 are as large as 512 pixels.
    extra = 2 if image_size > _LARGE else 1
    strides = [4 * 2**level for level in range(4 + extra)]
    widths, anchors = ResNet50FineMaps.WIDTHS, _PROPOSAL_SHAPES.count
    return TwoStageDetector(
        ResNet50FineMaps(image_size),
        FasterRCNN(widths, 256, extra, anchors, concepts, regressors),
        anchor_levels(image_size, strides, _PROPOSAL_SHAPES),
        image_size,
    )


ARCHITECTURES = {
    "visual-detector/retinanet-efficientnet-lite0": Architecture(
        _dense(
            EfficientNetLite0Maps,
            lambda extra, concepts, regressors: RetinaNet(
                _LITE0, 96, extra, 2, _SHAPES.count, concepts, regressors
            ),
            _SHAPES,
        ),
        _ADAMW,
    ),
    "visual-detector/ssdlite-efficientnet-lite0": Architecture(
        _dense(
            EfficientNetLite0Maps,
            lambda extra, concepts, regressors: SSDLite(
                _LITE0, 96, extra, _SSD_SHAPES.count, concepts, regressors
            ),
            _SSD_SHAPES,
        ),
        _ADAMW,
        crops=True,
    ),
    "visual-detector/retinanet-resnet50": Architecture(
        _unrevised(
            _dense(
                ResNet50Maps,
                lambda extra, concepts, regressors: RetinaNet(
                    _RESNET50, 256, extra, 4, _COCO_SHAPES.count, concepts, regressors
                ),
                _COCO_SHAPES,
                least_extra=2,
            )
        ),
        _SGD,
    ),
    "visual-detector/fasterrcnn-resnet50": Architecture(_fasterrcnn, _SGD),
}


def build_detector(run: TrainRun, check_stop: Callable[[], None] = lambda: None) -> Detector:
    """The model as training begins: seeded random weights, then the base's weights where there is one."""
    hyperparameters, concepts = run.hyperparameters, len(run.concepts)
    regressors = concepts if hyperparameters.use_perclass_regression else 1
    seed_initialisation(run.seed)
    build = ARCHITECTURES[run.template].build
    model = build(hyperparameters.image_size, concepts, regressors, run.template_revision)
    base, head = model.base, model.head
    begun = load_base_into(base, run.base, check_stop, _of_any_concepts(head, regressors))
    model.base_loaded = begun.loaded
    pretrained = is_pretrained(run.base)
    if pretrained and isinstance(base, ResNet50Maps):
        base.freeze_stem()
    model.settle_base(
        is_pretrained=pretrained,
        multiplier=hyperparameters.base_gradient_multiplier,
        missing=begun.missing,
    )
    return model


def _of_any_concepts(head: nn.Module, regressors: int) -> dict[str, Tensor]:
    """The head's tensors that do not depend on the concepts, by their names in a whole detector."""
    new = ("concept_output", "box_output") if regressors > 1 else ("concept_output",)
    return {
        f"head.{name}": tensor
        for name, tensor in head.state_dict().items()
        if not any(part in name for part in new)
    }
