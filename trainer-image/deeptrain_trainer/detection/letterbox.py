"""The letterbox: a picture scaled to fit a square, top-left, the rest grey; and the way back for boxes."""

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from ..preprocess import IR_VERSION, OPSET, Preprocess, open_session

# What fills the square beside the picture, in grey levels (the field's value since YOLOv3).
PAD_LEVEL = 114


def content_size(width: int, height: int, size: int) -> tuple[int, int]:
    """Width and height of a picture within a square of `size`: its longer side fills it, halves are rounded up."""
    longest = max(width, height)

    def inside(side: int) -> int:
        return max(1, (2 * side * size + longest) // (2 * longest))

    return inside(width), inside(height)


def box_transform(width: int, height: int, size: int) -> NDArray[np.float32]:
    """float [4]: factors that turn corners in pixels of the square into shares of the original, 0 to 1."""
    inside = np.array(content_size(width, height, size) * 2, np.float32)
    return np.float32(1) / inside


def letterbox_graph(size: int) -> ModelProto:
    """`image` uint8 [height, width, 3] to `pixels` uint8 [1, size, size, 3] and `box_transform` float [1, 4].

    Antialiased linear resizing that keeps the ratio of the sides; the transform is that of `box_transform`.
    """
    constants: dict[str, NDArray[np.generic]] = {
        "batch_axis": np.array([0], np.int64),
        "size": np.array([size], np.int64),
        "one": np.array([1], np.int64),
        "two": np.array([2], np.int64),
        "planes_shape": np.array([1, 3], np.int64),
        "no_padding": np.zeros(6, np.int64),
        "black": np.array(0, np.float32),
        "white": np.array(255, np.float32),
        "pad_level": np.array(PAD_LEVEL, np.float32),
        "unit": np.array(1, np.float32),
        "width_and_height": np.array([1, 0, 1, 0], np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Shape", ["image"], ["sides"], start=0, end=2),
        node("ReduceMax", ["sides"], ["longest"], keepdims=1),
        node("Mul", ["longest", "two"], ["divisor"]),
        node("Mul", ["sides", "size"], ["scaled"]),
        node("Mul", ["scaled", "two"], ["doubled"]),
        node("Add", ["doubled", "longest"], ["dividend"]),
        node("Div", ["dividend", "divisor"], ["rounded_sides"]),
        node("Max", ["rounded_sides", "one"], ["inside"]),
        node("Concat", ["planes_shape", "inside"], ["sizes"], axis=0),
        node("Transpose", ["image"], ["planes"], perm=[2, 0, 1]),
        node("Cast", ["planes"], ["levels"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["levels", "batch_axis"], ["batch"]),
        node(
            "Resize",
            ["batch", "", "", "sizes"],
            ["resized"],
            mode="linear",
            antialias=1,
            exclude_outside=1,
            coordinate_transformation_mode="half_pixel",
        ),
        node("Sub", ["size", "inside"], ["padding"]),
        node("Concat", ["no_padding", "padding"], ["pads"], axis=0),
        node("Pad", ["resized", "pads", "pad_level"], ["padded"], mode="constant"),
        node("Round", ["padded"], ["rounded"]),
        node("Clip", ["rounded", "black", "white"], ["clipped"]),
        node("Cast", ["clipped"], ["bytes"], to=TensorProto.UINT8),
        node("Transpose", ["bytes"], ["pixels"], perm=[0, 2, 3, 1]),
        node("Cast", ["inside"], ["inside_float"], to=TensorProto.FLOAT),
        node("Gather", ["inside_float", "width_and_height"], ["corners"]),
        node("Div", ["unit", "corners"], ["factors"]),
        node("Unsqueeze", ["factors", "batch_axis"], ["box_transform"]),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "letterbox",
        [info("image", TensorProto.UINT8, ["height", "width", 3])],
        [
            info("pixels", TensorProto.UINT8, [1, size, size, 3]),
            info("box_transform", TensorProto.FLOAT, [1, 4]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(
        graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="deeptrain"
    )
    checker.check_model(model)
    return model


class Letterbox(Preprocess):
    """The graph in a session. May be called from several threads."""

    def __init__(self, size: int) -> None:
        self.size = size
        graph = letterbox_graph(size).SerializeToString()
        self._session = open_session(graph, threads=1, keeps_memory=False)

    def with_transform(
        self, rgb: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """uint8 [H, W, 3] to uint8 [size, size, 3] and the box transform, float [4]."""
        pixels, transform = self._session.run(["pixels", "box_transform"], {"image": rgb})
        return pixels[0], transform[0]
