"""The graph a detector is served as: PyTorch's export to the candidates, and non-maximum suppression after it.

PyTorch cannot export greedy suppression for a free batch size; ONNX has an operator for it that is batched.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, checker, helper
from torch import Tensor, nn

from ..augment import to_planes
from ..export import pixels_graph, with_metadata
from ..failure import Failure
from ..preprocess import open_session
from .boxes import ious
from .detector import Detector
from .postprocess import (
    EVALUATION_SCORE_THRESHOLD,
    IOU_THRESHOLD,
    MOST_BOXES,
    NO_CONCEPT,
    detections,
)
from .stagegraph import two_stage_graph
from .suppression import Constants, chosen_constants, chosen_nodes, initializers
from .twostage import TwoStageDetector

# Boxes may differ by this share of the picture's side, scores by this much.
PARITY_TOLERANCE = 1e-3
PARITY_UNMATCHED = 0.01
PARITY_TIED = 0.05
# A tie shows twice: each side's box is not the other's.
_TWO_PAIRS = 4
# What suppressed a box scores higher than it, or hardly lower.
_TIED_SCORE = 0.05
OUTPUTS = ("boxes", "scores", "concepts", "count")


class _Candidates(nn.Module):
    """uint8 [N, S, S, 3] to candidates (postprocess.py)."""

    def __init__(self, model: Detector) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found: tuple[Tensor, Tensor, Tensor] = self.model.candidates(self.model(to_planes(pixels)))
        return found


def detector_graph(
    model: Detector, image_size: int, concepts: list[str], score_threshold: float
) -> bytes:
    """The detector as one ONNX file, for any batch size N. Concepts are in its metadata.

    Inputs: `pixels` uint8 [N, S, S, 3] and `box_transform` float [N, 4], both as preprocess.onnx gives them; and, with
    defaults, `score_threshold` and `iou_threshold` float [1]. Outputs: those of `Detections`.
    """
    outputs = ["candidate_pixels", "candidate_scores", "candidate_concepts"]
    if isinstance(model, TwoStageDetector):
        proto = two_stage_graph(model, outputs)
    else:
        proto = pixels_graph(_Candidates(model), image_size, outputs)
    _append_suppression(proto, len(concepts), score_threshold)
    checker.check_model(proto)
    return with_metadata(proto, concepts=json.dumps(concepts, ensure_ascii=False))


def _append_suppression(proto: ModelProto, concepts: int, score_threshold: float) -> None:
    """Puts non-maximum suppression behind the candidates, in place of the graph's outputs."""
    own: Constants = {
        "score_threshold": np.array([score_threshold], np.float32),
        "iou_threshold": np.array([IOU_THRESHOLD], np.float32),
        "nms.concepts": np.arange(concepts, dtype=np.int64).reshape(1, concepts, 1),
        "nms.concept_axis": np.array([1], np.int64),
        "nms.one": np.array(1, np.float32),
        "nms.no_concept": np.array(NO_CONCEPT, np.int64),
    }
    constants = own | chosen_constants("nms", MOST_BOXES, least=0, none=-1)
    node = helper.make_node
    nodes = [
        # From pixels of the square to shares of the original.
        node("Unsqueeze", ["box_transform", "nms.concept_axis"], ["nms.transform"]),
        node("Mul", ["candidate_pixels", "nms.transform"], ["nms.shares"]),
        node("Clip", ["nms.shares", "nms.zero", "nms.one"], ["candidate_boxes"]),
        # Each concept on its own: [N, C, K] with a candidate's score at its concept alone.
        node("Unsqueeze", ["candidate_concepts", "nms.concept_axis"], ["nms.of"]),
        node("Equal", ["nms.of", "nms.concepts"], ["nms.is_of"]),
        node("Unsqueeze", ["candidate_scores", "nms.concept_axis"], ["nms.score"]),
        node("Where", ["nms.is_of", "nms.score", "nms.none"], ["nms.scores"]),
        node(
            "NonMaxSuppression",
            ["candidate_boxes", "nms.scores", "nms.most", "iou_threshold", "score_threshold"],
            ["nms.selected"],
        ),
        *chosen_nodes("nms", "candidate_boxes", "candidate_scores", "boxes"),
        node("Where", ["nms.real", "nms.best", "nms.zero"], ["scores"]),
        node("ReduceSum", ["nms.ones", "nms.concept_axis"], ["count"], keepdims=0),
        node("GatherElements", ["candidate_concepts", "nms.chosen"], ["nms.concept"], axis=1),
        node("Where", ["nms.real", "nms.concept", "nms.no_concept"], ["concepts"]),
    ]
    graph = proto.graph
    graph.node.extend(nodes)
    graph.initializer.extend(initializers(constants))
    info = helper.make_tensor_value_info
    n = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    graph.input.append(info("box_transform", TensorProto.FLOAT, [n, 4]))
    # Initialisers that are inputs too are defaults, which a caller may override.
    graph.input.extend(
        info(name, TensorProto.FLOAT, [1]) for name in ("score_threshold", "iou_threshold")
    )
    del graph.output[:]
    graph.output.extend(
        [
            info("boxes", TensorProto.FLOAT, [n, MOST_BOXES, 4]),
            info("scores", TensorProto.FLOAT, [n, MOST_BOXES]),
            info("concepts", TensorProto.INT64, [n, MOST_BOXES]),
            info("count", TensorProto.INT64, [n]),
        ]
    )


@dataclass(frozen=True)
class Boxes:
    """The exported graph's answers, as those of `Detections`."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    concepts: NDArray[np.int64]
    count: NDArray[np.int64]

    @staticmethod
    def joined(batches: Sequence["Boxes"]) -> "Boxes":
        """Of several batches, one after the other."""
        names = (field.name for field in fields(Boxes))
        return Boxes(*(np.concatenate([getattr(b, name) for b in batches]) for name in names))


RunDetector = Callable[[NDArray[np.uint8], NDArray[np.float32], float], Boxes]


def exported_detector(graph: bytes, threads: int) -> RunDetector:
    """The graph under ONNX Runtime: pixels [N, S, S, 3], box transforms [N, 4] and a score threshold to boxes."""
    session = open_session(graph, threads)

    def run(
        pixels: NDArray[np.uint8], transforms: NDArray[np.float32], score_threshold: float
    ) -> Boxes:
        feeds = {
            "pixels": pixels,
            "box_transform": transforms,
            "score_threshold": np.array([score_threshold], np.float32),
        }
        return Boxes(*session.run(list(OUTPUTS), feeds))

    return run


@torch.no_grad()
def detect(
    model: Detector, pixels: NDArray[np.uint8], transforms: NDArray[np.float32], threshold: float
) -> Boxes:
    """What the graph does, by PyTorch on the model's device. The model is in evaluation mode."""
    images = to_planes(torch.from_numpy(pixels).to(model.anchors.device))
    return suppressed(model.candidates(model(images)), transforms, threshold)


def suppressed(
    given: tuple[Tensor, Tensor, Tensor], transforms: NDArray[np.float32], threshold: float
) -> Boxes:
    """What the graph makes of a detector's candidates, by PyTorch."""
    boxes, scores, concepts = given
    shares = (boxes * torch.from_numpy(transforms).to(boxes.device).unsqueeze(1)).clamp(0, 1)
    found = detections(shares, scores, concepts, threshold, IOU_THRESHOLD)
    columns = (found.boxes, found.scores, found.concepts, found.count)
    return Boxes(*(column.cpu().numpy() for column in columns))


def parity(wanted: Boxes, found: Boxes, score_threshold: float) -> dict[str, Any]:
    """Compares what PyTorch and ONNX Runtime found on the same images. Raises Failure(ParityFailed).

    Each box of one that scores above the threshold must be in the other's answer: of the same concept, with equal
    corners and score up to the tolerance. Rounding may turn suppression around where two scores are nearly equal or an
    overlap lies at its threshold; the object then has another box, and both are counted as tied. At most 5 % may be,
    or four of at least twelve; of all boxes 1 % may lack such a counterpart.
    A model that finds none is compared by its scores alone: its boxes are near-ties.
    """
    if not (wanted.scores > score_threshold).any():
        report = {"boxes": 0, "tied": 0, "unmatched": 0}
        difference = float(np.abs(wanted.scores - found.scores).max())
        # A score at the lowest threshold may be there or not. NaN must fail too.
        is_equal = difference <= PARITY_TOLERANCE + EVALUATION_SCORE_THRESHOLD
    else:
        distances, overlaps = _nearest(wanted, found, score_threshold)
        matched = distances <= PARITY_TOLERANCE
        is_tied = ~matched & (overlaps >= IOU_THRESHOLD - PARITY_TOLERANCE)
        tied, total = int(is_tied.sum()), len(matched)
        unmatched = int((~matched & ~is_tied).sum())
        boxes = int((wanted.scores > score_threshold).sum())
        report = {"boxes": boxes, "tied": tied, "unmatched": unmatched}
        difference = float(distances[matched].max(initial=0))
        most_tied = max(PARITY_TIED * total, min(_TWO_PAIRS, total // 3))
        is_equal = tied <= most_tied and unmatched <= PARITY_UNMATCHED * total
    if not is_equal:
        raise Failure(
            "ParityFailed",
            f"The exported model does not find what PyTorch finds on {len(wanted.count)} images. Of {report['boxes']} "
            f"boxes and of its own {report['unmatched']} have no counterpart, {report['tied']} have one that differs "
            f"by more than {PARITY_TOLERANCE} of the picture's side; the others differ by up to {difference:.3g}.",
        )
    head = {"images": len(wanted.count), "scoreThreshold": score_threshold}
    return {**head, **report, "largestDifference": difference, "tolerance": PARITY_TOLERANCE}


def _nearest(
    wanted: Boxes, found: Boxes, threshold: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each box of either above the threshold, among the other's of its concept: the distance to the nearest one
    (corners and score), and the largest overlap with one that may have suppressed it."""
    distances, overlaps = [], []
    for image in range(len(wanted.count)):
        for own, other in ((wanted, found), (found, wanted)):
            ours, theirs = _rows(own, image, threshold), _rows(other, image, 0)
            distance = np.abs(ours[:, None] - theirs[None]).max(2)
            distance[np.isnan(distance)] = np.inf
            corners = (torch.from_numpy(rows[:, :4]) for rows in (ours, theirs))
            overlap = ious(*corners).nan_to_num(0).numpy()
            is_other = ours[:, None, 5] != theirs[None, :, 5]
            is_lower = ~(theirs[None, :, 4] >= ours[:, None, 4] - _TIED_SCORE)
            overlap[is_other | is_lower] = 0
            distances.append(distance.min(1, initial=np.inf))
            overlaps.append(overlap.max(1, initial=0))
    return np.concatenate(distances), np.concatenate(overlaps)


def _rows(boxes: Boxes, image: int, threshold: float) -> NDArray[np.float64]:
    """Corners, score and concept of an image's boxes above the threshold [B, 6]. Concepts are whole numbers: another
    one is far beyond the tolerance."""
    rows = np.column_stack((boxes.boxes[image], boxes.scores[image], boxes.concepts[image]))
    # What is not a number is above nothing, but must be seen.
    counted: NDArray[np.float64] = rows[~(boxes.scores[image] <= threshold)].astype(np.float64)
    return counted
