"""What follows ONNX's NonMaxSuppression: from its list of boxes to the best of each image, in rows of equal number."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

Constants = dict[str, NDArray[np.generic]]
"""The initialisers of a graph by name."""


def chosen_constants(prefix: str, most: int, *, least: float, none: float) -> Constants:
    """What `chosen_nodes` needs: how many boxes an image has at most, the least score, and what is below all scores."""
    return {
        f"{prefix}.most": np.array([most], np.int64),
        f"{prefix}.padding": np.array([0, 0, 0, most], np.int64),
        f"{prefix}.least": np.array(least, np.float32),
        f"{prefix}.none": np.array(none, np.float32),
        f"{prefix}.zero": np.array(0, np.float32),
        f"{prefix}.image_and_box": np.array([0, 2], np.int64),
        f"{prefix}.last_axis": np.array([2], np.int64),
        f"{prefix}.four": np.array([1, 1, 4], np.int64),
        f"{prefix}.false": np.array(False),
        f"{prefix}.true": np.array([True]),
    }


def chosen_nodes(prefix: str, boxes: str, scores: str, output: str) -> list[NodeProto]:
    """Takes boxes [N, K, 4], scores [N, K] and `<prefix>.selected` [M, 3], as NonMaxSuppression gives it, to the best
    of each image: `output` [N, most, 4], and below the prefix `best` (scores), `chosen` (places among the K), `real`
    (whether a row is a box) and `ones` (1 where it is), all [N, most]. What is no box has the place 0 and is 0.
    """
    p = prefix
    node = helper.make_node
    return [
        # From a list of (image, class, box) to a mask [N, K].
        node("Gather", [f"{p}.selected", f"{p}.image_and_box"], [f"{p}.places"], axis=1),
        node("Shape", [f"{p}.places"], [f"{p}.number"], start=0, end=1),
        node("Expand", [f"{p}.true", f"{p}.number"], [f"{p}.marks"]),
        node("Shape", [scores], [f"{p}.shape"]),
        node("Expand", [f"{p}.false", f"{p}.shape"], [f"{p}.unmarked"]),
        node("ScatterND", [f"{p}.unmarked", f"{p}.places", f"{p}.marks"], [f"{p}.kept"]),
        node("Where", [f"{p}.kept", scores, f"{p}.none"], [f"{p}.kept_scores"]),
        # There may be fewer than that.
        node("Pad", [f"{p}.kept_scores", f"{p}.padding", f"{p}.none"], [f"{p}.padded_scores"]),
        node("TopK", [f"{p}.padded_scores", f"{p}.most"], [f"{p}.best", f"{p}.order"], axis=1),
        node("GreaterOrEqual", [f"{p}.best", f"{p}.least"], [f"{p}.real"]),
        node("Cast", [f"{p}.real"], [f"{p}.ones"], to=TensorProto.INT64),
        # Places beyond the K are not real; 0 is always a place.
        node("Mul", [f"{p}.order", f"{p}.ones"], [f"{p}.chosen"]),
        node("Unsqueeze", [f"{p}.chosen", f"{p}.last_axis"], [f"{p}.row"]),
        node("Expand", [f"{p}.row", f"{p}.four"], [f"{p}.rows"]),
        node("GatherElements", [boxes, f"{p}.rows"], [f"{p}.boxes"], axis=1),
        node("Unsqueeze", [f"{p}.real", f"{p}.last_axis"], [f"{p}.real_row"]),
        node("Where", [f"{p}.real_row", f"{p}.boxes", f"{p}.zero"], [output]),
    ]


def initializers(constants: Constants) -> Iterator[TensorProto]:
    """As a graph holds them."""
    return (numpy_helper.from_array(value, name) for name, value in constants.items())
