"""Every detector of the catalogue is exported as it is trained (test_graph.py has a small one, and one more)."""

import numpy as np
import pytest
import torch
from torch import nn

from deeptrain_trainer.augment import to_planes
from deeptrain_trainer.detection.architectures import ARCHITECTURES
from deeptrain_trainer.detection.detector import Detector
from deeptrain_trainer.detection.graph import detect, detector_graph, exported_detector, parity
from deeptrain_trainer.detection.twostage import TwoStageDetector
from deeptrain_trainer.models.retinanet import RetinaNet
from deeptrain_trainer.templates import newest_revision

SIZE = 96
TRANSFORMS = np.full((2, 4), 1 / SIZE, np.float32)


def _scores_of(model: Detector) -> list[nn.Module]:
    head = model.head
    if isinstance(model, TwoStageDetector):
        return [head.boxes.concept_output, head.proposals.objectness]
    if isinstance(head, RetinaNet):
        return [head.head.concept_output]
    return [predictor[-1] for predictor in head.concept_outputs]


@pytest.mark.parametrize("template", sorted(ARCHITECTURES))
def test_its_graph_finds_what_pytorch_finds(template: str) -> None:
    torch.manual_seed(0)
    model = ARCHITECTURES[template].build(SIZE, 2, 1, newest_revision(template))
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    with torch.no_grad():
        # Statistics as of a trained base: without them features grow from layer to layer, and scores are all 0 or 1.
        for module in model.base.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        model.base.train()(to_planes(torch.from_numpy(pixels)))
        for layer in _scores_of(model):  # answers that are far from each other
            layer.weight.mul_(10)
        if isinstance(model, TwoStageDetector):
            model.head.boxes.concept_output.bias[-1] = 4
    model.eval()
    run = exported_detector(detector_graph(model, SIZE, ["a", "b"], score_threshold=0.3), 1)
    for count in (1, 2):
        given = (pixels[:count], TRANSFORMS[:count], 0.001)
        wanted, found = detect(model, *given), run(*given)
        assert wanted.count.sum() > 10
        assert parity(wanted, found, 0.001)["boxes"] > 10
