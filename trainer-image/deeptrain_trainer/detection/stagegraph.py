"""The graph of a detector of two stages up to its candidates: each stage as PyTorch exports it, and what lies between
them in ONNX's own operators, which are free in the batch size: suppression of proposals, and RoIAlign.
"""

from collections.abc import Iterator

import numpy as np
import torch
from onnx import ModelProto, NodeProto, TensorProto, compose, helper
from torch import Tensor, nn

from ..augment import to_planes
from ..export import batched_graph, pixels_graph
from ..models.fasterrcnn import POOLED_SIDE
from .pooling import LEVEL_AREAS, POOLED_STRIDES, SAMPLES
from .proposals import LEAST_LOGIT, MOST_PROPOSALS, NO_PROPOSAL, PROPOSAL_IOU_THRESHOLD
from .suppression import Constants, chosen_constants, chosen_nodes, initializers
from .twostage import TwoStageDetector

_LEVELS = [f"level{number}" for number in range(len(POOLED_STRIDES))]
# What the names of the second stage begin with in the whole.
_SECOND = "second."


class _First(nn.Module):
    """uint8 [N, S, S, 3] to the levels and candidates for proposals."""

    def __init__(self, model: TwoStageDetector) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        levels, _, _, boxes, logits = self.model.first(to_planes(pixels))
        return (*levels, boxes, logits)


class _Second(nn.Module):
    """What was cut out, [N, P, channels, 7, 7], at proposals [N, P, 4] to candidates."""

    def __init__(self, model: TwoStageDetector) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, squares: Tensor, boxes: Tensor, real: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self.model.second(squares.flatten(0, 1), boxes, real)


def two_stage_graph(model: TwoStageDetector, outputs: list[str]) -> ModelProto:
    """`pixels` uint8 [N, S, S, 3] to the candidates under the names of `outputs`, for any N."""
    proto = pixels_graph(
        _First(model), model.image_size, [*_LEVELS, "proposed_boxes", "proposed_logits"]
    )
    width = model.head.boxes.channels
    square = [MOST_PROPOSALS, width, POOLED_SIDE, POOLED_SIDE]
    examples = {
        "squares": torch.zeros(2, *square),
        "boxes": torch.zeros(2, MOST_PROPOSALS, 4),
        "real": torch.ones(2, MOST_PROPOSALS, dtype=torch.bool),
    }
    second = batched_graph(_Second(model), examples, outputs)
    second = compose.add_prefix(second, _SECOND, rename_outputs=False)
    graph = proto.graph
    graph.initializer.extend(initializers(_constants(square)))
    graph.node.extend((*_proposal_nodes(), *_pooling_nodes()))
    for own, other in (
        (graph.node, second.graph.node),
        (graph.initializer, second.graph.initializer),
        (graph.value_info, second.graph.value_info),
    ):
        own.extend(other)
    del graph.output[:]
    graph.output.extend(second.graph.output)
    return proto


def _constants(square: list[int]) -> Constants:
    return {
        "rpn.iou": np.array([PROPOSAL_IOU_THRESHOLD], np.float32),
        "rpn.threshold": np.array([LEAST_LOGIT], np.float32),
        "rpn.class_axis": np.array([1], np.int64),
        "roi.corners": np.array([-1, 4], np.int64),
        "roi.flat": np.array([-1], np.int64),
        "roi.squares": np.array([-1, *square], np.int64),
        "roi.start": np.array(0, np.int64),
        "roi.step": np.array(1, np.int64),
        "roi.last_axis": np.array([1], np.int64),
        "roi.first_axis": np.array([0], np.int64),
        "roi.low": np.array([0, 1], np.int64),
        "roi.high": np.array([2, 3], np.int64),
        "roi.bounds": np.array([LEVEL_AREAS], np.float32),
        "roi.proposals": np.array([1, MOST_PROPOSALS], np.int64),
        **{f"roi.{level}": np.array(number, np.int64) for number, level in enumerate(_LEVELS)},
        **chosen_constants("rpn", MOST_PROPOSALS, least=LEAST_LOGIT, none=NO_PROPOSAL),
    }


def _proposal_nodes() -> Iterator[NodeProto]:
    """Candidates to proposals [N, P, 4] and whether each is one (proposals.py)."""
    node = helper.make_node
    yield node("Unsqueeze", ["proposed_logits", "rpn.class_axis"], ["rpn.logits"])
    yield node(
        "NonMaxSuppression",
        ["proposed_boxes", "rpn.logits", "rpn.most", "rpn.iou", "rpn.threshold"],
        ["rpn.selected"],
    )
    yield from chosen_nodes("rpn", "proposed_boxes", "proposed_logits", f"{_SECOND}boxes")
    yield node("Identity", ["rpn.real"], [f"{_SECOND}real"])


def _pooling_nodes() -> Iterator[NodeProto]:
    """Proposals to what is cut out at them, each from its own level (pooling.py)."""
    node = helper.make_node
    yield node("Reshape", [f"{_SECOND}boxes", "roi.corners"], ["roi.boxes"])
    # The image of each.
    yield node("Shape", [f"{_SECOND}boxes"], ["roi.batch"], start=0, end=1)
    yield node("Squeeze", ["roi.batch"], ["roi.number"])
    yield node("Range", ["roi.start", "roi.number", "roi.step"], ["roi.image"])
    yield node("Unsqueeze", ["roi.image", "roi.last_axis"], ["roi.column"])
    yield node("Expand", ["roi.column", "roi.proposals"], ["roi.table"])
    yield node("Reshape", ["roi.table", "roi.flat"], ["roi.images"])
    # Its level, by its area.
    yield node("Gather", ["roi.boxes", "roi.low"], ["roi.least"], axis=1)
    yield node("Gather", ["roi.boxes", "roi.high"], ["roi.most"], axis=1)
    yield node("Sub", ["roi.most", "roi.least"], ["roi.sides"])
    yield node("ReduceProd", ["roi.sides", "roi.last_axis"], ["roi.area"], keepdims=1)
    yield node("GreaterOrEqual", ["roi.area", "roi.bounds"], ["roi.reached"])
    yield node("Cast", ["roi.reached"], ["roi.ones"], to=TensorProto.INT64)
    yield node("ReduceSum", ["roi.ones", "roi.last_axis"], ["roi.level"], keepdims=0)
    for level, stride in zip(_LEVELS, POOLED_STRIDES, strict=True):
        own = f"roi.{level}"
        yield node("Equal", ["roi.level", own], [f"{own}.is"])
        yield node("NonZero", [f"{own}.is"], [f"{own}.place"])
        yield node("Squeeze", [f"{own}.place", "roi.first_axis"], [f"{own}.rows"])
        yield node("Gather", ["roi.boxes", f"{own}.rows"], [f"{own}.boxes"])
        yield node("Gather", ["roi.images", f"{own}.rows"], [f"{own}.images"])
        yield node(
            "RoiAlign",
            [level, f"{own}.boxes", f"{own}.images"],
            [f"{own}.squares"],
            coordinate_transformation_mode="half_pixel",
            mode="avg",
            output_height=POOLED_SIDE,
            output_width=POOLED_SIDE,
            sampling_ratio=SAMPLES,
            spatial_scale=1 / stride,
        )
    # Back into the order of the proposals: `roi.back` is the inverse of `roi.order`.
    yield node("Concat", [f"roi.{level}.rows" for level in _LEVELS], ["roi.order"], axis=0)
    yield node("Concat", [f"roi.{level}.squares" for level in _LEVELS], ["roi.sorted"], axis=0)
    yield node("Shape", ["roi.order"], ["roi.count"])
    yield node("Squeeze", ["roi.count"], ["roi.end"])
    yield node("Range", ["roi.start", "roi.end", "roi.step"], ["roi.ascending"])
    yield node("ScatterElements", ["roi.order", "roi.order", "roi.ascending"], ["roi.back"], axis=0)
    yield node("Gather", ["roi.sorted", "roi.back"], ["roi.unsorted"])
    yield node("Reshape", ["roi.unsorted", "roi.squares"], [f"{_SECOND}squares"])
