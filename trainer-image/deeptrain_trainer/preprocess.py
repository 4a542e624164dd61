"""The graph that turns a decoded picture into the model's pixels. Training, evaluation and serving all run it.

So the pixels that a model is trained on are the pixels that it is served, whatever library a server resizes with.
"""

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

OPSET = 20
IR_VERSION = 10


def preprocess_graph(size: int) -> ModelProto:
    """`image` uint8 [height, width, 3] to `pixels` uint8 [1, size, size, 3]: squashed, antialiased, linear.

    Within one grey level of Pillow's BILINEAR (exclude_outside: weights beyond the border are not counted).
    """
    constants: dict[str, NDArray[np.generic]] = {
        "batch_axis": np.array([0], np.int64),
        "sizes": np.array([1, 3, size, size], np.int64),
        "black": np.array(0, np.float32),
        "white": np.array(255, np.float32),
    }
    nodes = [
        helper.make_node("Transpose", ["image"], ["planes"], perm=[2, 0, 1]),
        helper.make_node("Cast", ["planes"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["levels", "batch_axis"], ["batch"]),
        helper.make_node(
            "Resize",
            ["batch", "", "", "sizes"],
            ["resized"],
            mode="linear",
            antialias=1,
            exclude_outside=1,
            coordinate_transformation_mode="half_pixel",
        ),
        helper.make_node("Round", ["resized"], ["rounded"]),
        helper.make_node("Clip", ["rounded", "black", "white"], ["clipped"]),
        helper.make_node("Cast", ["clipped"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Transpose", ["bytes"], ["pixels"], perm=[0, 2, 3, 1]),
    ]
    graph = helper.make_graph(
        nodes,
        "preprocess",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["height", "width", 3])],
        [helper.make_tensor_value_info("pixels", TensorProto.UINT8, [1, size, size, 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(
        graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="deeptrain"
    )
    checker.check_model(model, full_check=True)
    return model


def open_session(model: bytes, threads: int, *, keeps_memory: bool = True) -> ort.InferenceSession:
    """An ONNX Runtime session on the CPU. `keeps_memory`: what a run took stays for the next one."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = keeps_memory
    # Idle threads that spin would take the cores from the others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Warnings say that overridable inputs hinder folding, which is what they are for.
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class Preprocess:
    """The graph in a session. May be called from several threads."""

    def __init__(self, size: int) -> None:
        self.size = size
        # One large picture must not hold its memory to the end.
        graph = preprocess_graph(size).SerializeToString()
        self._session = open_session(graph, threads=1, keeps_memory=False)

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 [H, W, 3] to uint8 [size, size, 3]."""
        pixels: NDArray[np.uint8] = self._session.run(None, {"image": rgb})[0][0]
        return pixels
