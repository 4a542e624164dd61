"""From what is said of anchors to boxes: the best pairs of all, and enough of them for a crowded picture."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deeptrain_trainer.detection import postprocess
from deeptrain_trainer.detection.anchors import AnchorShapes, anchor_boxes, octaves
from deeptrain_trainer.detection.boxes import decode, encode, ious
from deeptrain_trainer.detection.detector import DenseDetector
from deeptrain_trainer.detection.graph import detect, detector_graph, exported_detector, parity
from deeptrain_trainer.detection.losses import Predictions
from deeptrain_trainer.detection.postprocess import candidates

SIZE = 320
# Of retinanet-efficientnet-lite0 at its own image_size.
ANCHORS = anchor_boxes(SIZE, (8, 16, 32, 64), AnchorShapes(octaves(2.5)))


def best_of_all_pairs(predicted: Predictions, anchors: Tensor, most: int) -> tuple[Tensor, ...]:
    """`candidates` as it is defined: all pairs of an image are sorted."""
    concepts = predicted.logits.shape[2]
    scores, place = predicted.logits.sigmoid().flatten(1).sort(dim=1, descending=True)
    scores, place = scores[:, :most], place[:, :most]
    anchor, concept = place // concepts, place % concepts
    image = torch.arange(len(scores)).unsqueeze(1)
    regressor = concept if predicted.deltas.shape[2] > 1 else torch.zeros_like(concept)
    return decode(predicted.deltas[image, anchor, regressor], anchors[anchor]), scores, concept


@pytest.mark.parametrize("regressors", [1, 7])
@pytest.mark.parametrize("most", [1, 50, 399, 2500, 10000])
def test_candidates_are_the_best_pairs_of_all(
    monkeypatch: pytest.MonkeyPatch, most: int, regressors: int
) -> None:
    monkeypatch.setattr(postprocess, "MOST_CANDIDATES", most)
    random = torch.Generator().manual_seed(0)
    # All scores differ. Of some anchors many concepts are among the best, of some none.
    logits = torch.randperm(2 * 400 * 7, generator=random).view(2, 400, 7) / 1000 - 3
    logits[:, :20] += 3.0001
    predicted = Predictions(logits, torch.randn(2, 400, regressors, 4, generator=random))
    found = candidates(predicted, ANCHORS[:400])
    wanted = best_of_all_pairs(predicted, ANCHORS[:400], most)
    assert found[1].shape == (2, min(most, 400 * 7))
    assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))


class Said(nn.Module):
    """A head that says the same of every picture."""

    def __init__(self, logits: Tensor, deltas: Tensor) -> None:
        super().__init__()
        self.register_buffer("logits", logits)
        self.register_buffer("deltas", deltas)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [N, A, C] and deltas [N, A, 1, 4]."""
        shift = pixels.mean((1, 2, 3)).view(-1, 1, 1) / 255 - 0.5
        n = pixels.shape[0]  # free in the exported graph, as a length would not be
        return self.logits.expand(n, -1, -1) + shift, self.deltas.expand(n, -1, -1, -1)


def crowd() -> tuple[DenseDetector, Tensor]:
    """A detector that sees 80 objects in each picture, and these. Each is seen by all anchors that overlap it by half,
    of the surer ones by each of them more surely than the others by any.
    """
    x, y = (torch.arange(80) % 10) * 32.0, (torch.arange(80) // 10) * 40.0
    objects = torch.stack((x + 2, y + 3, x + 30, y + 33), 1)
    overlap = ious(ANCHORS, objects)
    value, nearest = overlap.max(1)
    surety = 4 - 0.05 * nearest + 0.04 * value
    logits = torch.where(value >= 0.5, surety, -6.0).view(1, -1, 1)
    deltas = encode(objects[nearest], ANCHORS).view(1, -1, 1, 4)
    return DenseDetector(nn.Identity(), Said(logits, deltas), ANCHORS).eval(), objects


def test_a_crowded_picture_gives_all_its_objects_back(monkeypatch: pytest.MonkeyPatch) -> None:
    model, objects = crowd()
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    transforms = np.full((3, 4), 1 / SIZE, np.float32)
    given = (pixels, transforms, 0.3)
    found = detect(model, *given)
    assert found.count.tolist() == [80] * 3
    # The surest first.
    assert torch.allclose(torch.from_numpy(found.boxes[0, :80]) * SIZE, objects, atol=0.01)
    served = exported_detector(detector_graph(model, SIZE, ["object"], 0.3), 1)(*given)
    assert served.count.tolist() == [80] * 3
    report = parity(found, served, 0.3)
    assert (report["boxes"], report["tied"], report["unmatched"]) == (240, 0, 0)
    # What it was before, and what this is for.
    monkeypatch.setattr(postprocess, "MOST_CANDIDATES", 1000)
    assert detect(model, *given).count.max() < 70
