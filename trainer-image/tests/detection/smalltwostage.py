"""Faster R-CNN on a base that trains in seconds, in place of ResNet-50: all else is the very code of the template."""

from itertools import pairwise

from torch import Tensor, nn

from deeptrain_trainer.detection.anchors import AnchorShapes, anchor_levels
from deeptrain_trainer.detection.architectures import Architecture
from deeptrain_trainer.detection.twostage import TwoStageDetector
from deeptrain_trainer.models.fasterrcnn import FasterRCNN
from deeptrain_trainer.optimizer import Recipe

TEMPLATE = "visual-detector/fasterrcnn-resnet50"
_WIDTHS = (16, 24, 32, 48)
# Of 16 pixels at the finest level, for pictures of 96.
_SHAPES = AnchorShapes((4.0,))


class SmallMaps(nn.Module):
    """Maps of strides 4 to 32, as ResNet50FineMaps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _stage(3, 16)
        self.stages = nn.ModuleList(_stage(*pair) for pair in pairwise((16, *_WIDTHS)))

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Maps [N, width, S / stride, S / stride]."""
        maps = [self.stem((pixels - 110) / 60)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def build_small(
    image_size: int, concepts: int, regressors: int, _revision: int = 1
) -> TwoStageDetector:
    """As an architecture's `build`."""
    return TwoStageDetector(
        SmallMaps(),
        FasterRCNN(_WIDTHS, 32, 1, _SHAPES.count, concepts, regressors),
        anchor_levels(image_size, (4, 8, 16, 32, 64), _SHAPES),
        image_size,
    )


SMALL = Architecture(build_small, Recipe("SGD", weight_decay=1e-4, clip_norm=10.0))
