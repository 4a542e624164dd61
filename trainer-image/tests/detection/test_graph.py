"""The graph that a detector is served as: the boxes of PyTorch, for any batch, with overridable thresholds."""

import json
import re
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from deeptrain_trainer.detection.architectures import ARCHITECTURES
from deeptrain_trainer.detection.detector import Detector
from deeptrain_trainer.detection.graph import (
    Boxes,
    RunDetector,
    detect,
    detector_graph,
    exported_detector,
    parity,
)
from deeptrain_trainer.detection.postprocess import NO_CONCEPT, detections
from deeptrain_trainer.failure import Failure
from deeptrain_trainer.preprocess import open_session

from .smalltwostage import build_small

CONCEPTS = ["a", "ü"]
SIZE = 64
TRANSFORMS = np.tile(np.array([1 / 64, 1 / 48, 1 / 64, 1 / 48], np.float32), (5, 1))


def ssdlite() -> Detector:
    """With a set of regressors for each concept."""
    template = "visual-detector/ssdlite-efficientnet-lite0"
    model = ARCHITECTURES[template].build(SIZE, len(CONCEPTS), len(CONCEPTS), 1)
    with torch.no_grad():
        for outputs in (model.head.concept_outputs, model.head.box_outputs):
            for predictor in outputs:
                predictor[-1].weight.mul_(40)
    return model


def two_stages() -> Detector:
    """Faster R-CNN on a small base, with one set of regressors."""
    model = build_small(SIZE, len(CONCEPTS), 1)
    with torch.no_grad():
        for layer in (model.head.boxes.concept_output, model.head.proposals.objectness):
            layer.weight.mul_(40)
        model.head.boxes.concept_output.bias[-1] = 4
    return model


DETECTORS = {"ssdlite": ssdlite, "two stages": two_stages}


@pytest.fixture(scope="module", params=sorted(DETECTORS))
def detector(request: pytest.FixtureRequest) -> Detector:
    """One whose answers are far from each other."""
    torch.manual_seed(0)
    return DETECTORS[request.param]().eval()


@pytest.fixture(scope="module")
def graph(detector: Detector) -> bytes:
    return detector_graph(detector, SIZE, CONCEPTS, score_threshold=0.6)


@pytest.fixture(scope="module")
def run(graph: bytes) -> RunDetector:
    return exported_detector(graph, 1)


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize("threshold", [0.001, 0.1, 0.5])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_it_finds_what_pytorch_finds(
    detector: Detector, run: RunDetector, pixels: NDArray[np.uint8], count: int, threshold: float
) -> None:
    given = (pixels[:count], TRANSFORMS[:count], threshold)
    wanted, found = detect(detector, *given), run(*given)
    assert found.boxes.shape == (count, 100, 4) and wanted.count.sum() > 0
    assert found.count.tolist() == wanted.count.tolist()
    report = parity(wanted, found, threshold)
    assert report["tied"] == report["unmatched"] == 0 and report["largestDifference"] < 1e-4


def test_its_rows_are_in_order_within_the_picture_and_empty_beyond_their_count(
    run: RunDetector, pixels: NDArray[np.uint8]
) -> None:
    found = run(pixels, TRANSFORMS, 0.6)
    assert found.count.min() > 0 and found.count.max() < 100
    for i, n in enumerate(found.count):
        assert (np.diff(found.scores[i, :n]) <= 0).all() and found.scores[i, n - 1] > 0.6
        assert found.boxes[i].min() >= 0 and found.boxes[i].max() <= 1
        assert set(found.concepts[i, :n]) <= {0, 1}
        assert not found.boxes[i, n:].any() and not found.scores[i, n:].any()
        assert (found.concepts[i, n:] == NO_CONCEPT).all()


def test_thresholds_have_defaults_and_may_be_overridden(
    graph: bytes, run: RunDetector, pixels: NDArray[np.uint8]
) -> None:
    session = open_session(graph, 1)
    assert [given.name for given in session.get_inputs()] == ["pixels", "box_transform"]
    assert {given.name for given in session.get_overridable_initializers()} == {
        "score_threshold",
        "iou_threshold",
    }
    feeds = {"pixels": pixels, "box_transform": TRANSFORMS}
    count = session.run(["count"], feeds)[0]
    assert count.tolist() == run(pixels, TRANSFORMS, 0.6).count.tolist()
    # Where any overlap is allowed nothing is suppressed, where none is allowed more.
    counts = [
        session.run(["count"], {**feeds, "iou_threshold": np.array([iou], np.float32)})[0].sum()
        for iou in (0.0, 0.5, 1.0)
    ]
    assert counts[0] < counts[1] == count.sum() < counts[2]


def test_a_higher_threshold_only_leaves_out(run: RunDetector, pixels: NDArray[np.uint8]) -> None:
    """So one run at the lowest threshold tells the boxes at every other."""
    low, high = run(pixels, TRANSFORMS, 0.6), run(pixels, TRANSFORMS, 0.8)
    for i, n in enumerate(high.count):
        above = low.scores[i] > 0.8
        assert above.sum() == n
        assert np.array_equal(low.boxes[i][above], high.boxes[i, :n])


def test_the_file_is_one_plain_graph_that_names_its_concepts(graph: bytes) -> None:
    proto = onnx.load_from_string(graph)
    onnx.checker.check_model(proto, full_check=True)
    assert {e.key: json.loads(e.value) for e in proto.metadata_props} == {"concepts": CONCEPTS}
    assert [value.name for value in proto.graph.output] == ["boxes", "scores", "concepts", "count"]
    assert proto.opset_import[0].version >= 18
    assert all(not tensor.external_data for tensor in proto.graph.initializer)
    for tensor in proto.graph.initializer:
        tensor.ClearField("raw_data")  # by chance weights hold any three bytes
    assert re.search(rb"\.py\b", proto.SerializeToString()) is None


def boxes(*rows: tuple[float, float, float, float], score: float = 0.9) -> Boxes:
    """One picture's answer."""
    n = len(rows)
    corners = np.zeros((1, 100, 4), np.float32)
    scores, concepts = np.zeros((1, 100), np.float32), np.full((1, 100), -1)
    corners[0, :n] = np.array(rows).reshape(n, 4)
    scores[0, :n], concepts[0, :n] = score, 0
    return Boxes(corners, scores, concepts, np.array([n]))


BOX = (0.1, 0.1, 0.4, 0.4)


def test_a_graph_that_disagrees_is_not_published() -> None:
    wanted = boxes(BOX)
    assert parity(wanted, boxes(BOX), 0.3)["boxes"] == 1
    for wrong in (
        boxes((0.1, 0.1, 0.4, 0.402)),
        boxes(BOX, score=0.89),
        boxes(BOX, (0.5, 0.5, 0.9, 0.9)),
        boxes(),
        replace(wanted, concepts=wanted.concepts + 1),
        replace(wanted, boxes=wanted.boxes * np.nan),
    ):
        with pytest.raises(Failure, match="does not find what PyTorch finds") as refused:
            parity(wanted, wrong, 0.3)
        assert refused.value.reason == "ParityFailed"


APART = tuple((0.1 * i, 0.5, 0.1 * i + 0.08, 0.6) for i in range(9))


def test_a_pair_of_boxes_that_rounding_exchanged_is_no_disagreement() -> None:
    """Two boxes of one object score nearly the same: PyTorch suppresses one, ONNX Runtime the other."""
    shifted = (0.1, 0.1, 0.4, 0.43)
    for more in (2, 9):
        report = parity(boxes(BOX, *APART[:more]), boxes(shifted, *APART[:more]), 0.3)
        assert (report["boxes"], report["tied"], report["unmatched"]) == (1 + more, 2, 0)
        assert report["largestDifference"] == 0


def test_most_boxes_must_be_the_same() -> None:
    moved = [(x, y, right, bottom + 0.01) for x, y, right, bottom in APART]
    with pytest.raises(Failure, match="6 have one that differs"):
        parity(boxes(*APART), boxes(*moved[:3], *APART[3:]), 0.3)
    # One that the other does not know in any form is no tie.
    with pytest.raises(Failure, match="1 have no counterpart"):
        parity(boxes(*APART), boxes(*APART[:-1]), 0.3)
    with pytest.raises(Failure, match="1 have no counterpart"):
        parity(boxes(*APART[:-1]), boxes(*APART), 0.3)


@pytest.mark.parametrize("wrong", [0.35, np.nan])
@pytest.mark.parametrize("count", [3, 9])
def test_one_wrong_score_is_no_tie(count: int, wrong: float) -> None:
    found = boxes(*APART[:count])
    found.scores[0, 0] = wrong
    with pytest.raises(Failure, match="have no counterpart"):
        parity(boxes(*APART[:count]), found, 0.3)


def test_a_score_at_the_threshold_may_fall_on_either_side() -> None:
    above, below = boxes(*APART, score=0.3), boxes(*APART, score=0.3)
    above.scores[0, 3] += 1e-6
    below.scores[0, 3] -= 1e-6
    for wanted, found in ((above, below), (below, above)):
        assert parity(wanted, found, 0.3)["unmatched"] == 0


def test_a_model_that_finds_nothing_is_compared_by_its_scores() -> None:
    assert parity(boxes(BOX, score=0.1), boxes(BOX, score=0.1), 0.3)["boxes"] == 0
    with pytest.raises(Failure):
        parity(boxes(BOX, score=0.1), boxes(BOX, score=0.2), 0.3)
    with pytest.raises(Failure):
        parity(boxes(BOX, score=0.1), boxes(BOX, score=float("nan")), 0.3)


def test_suppression_is_within_a_concept_and_keeps_the_best() -> None:
    corners = torch.tensor([[BOX, BOX, (0.1, 0.1, 0.4, 0.39), (0.6, 0.6, 0.9, 0.9)]])
    scores, concepts = torch.tensor([[0.9, 0.8, 0.7, 0.2]]), torch.tensor([[0, 1, 0, 0]])
    found = detections(corners, scores, concepts, 0.1, 0.5)
    assert found.count.tolist() == [3]
    assert found.concepts[0, :3].tolist() == [0, 1, 0]
    assert torch.equal(found.boxes[0, :3], corners[0, [0, 1, 3]])
    assert detections(corners, scores, concepts, 0.5, 0.5).count.tolist() == [2]
    assert detections(corners, scores, concepts, 0.95, 0.5).count.tolist() == [0]


def test_a_hundred_boxes_are_the_most() -> None:
    side = torch.arange(150).float() / 200
    corners = torch.stack((side, side, side + 0.004, side + 0.004), -1)[None]
    scores = torch.linspace(0.9, 0.5, 150)[None]
    found = detections(corners, scores, torch.zeros(1, 150, dtype=torch.int64), 0.1, 0.5)
    assert found.count.tolist() == [100] and torch.equal(found.scores, scores[:, :100])
