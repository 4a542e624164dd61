"""The exported graphs: what a trained model is served as, and the proof that they agree with PyTorch."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor, nn

from .augment import to_planes
from .evaluate import probabilities
from .failure import Failure
from .garbage import without_search
from .models import Classifier
from .order import evaluation_batches
from .preprocess import IR_VERSION, OPSET, open_session

PARITY_IMAGES = 64
PARITY_TOLERANCE = 1e-3
# The exported batch size is free up to this.
_MOST_BATCH = 1024


class _Servable(nn.Module):
    """uint8 [N, S, S, 3] to scores [N, C]."""

    def __init__(self, model: Classifier, logreg: bool) -> None:
        super().__init__()
        self.model = model
        self.logreg = logreg

    def forward(self, pixels: Tensor) -> Tensor:
        return probabilities(self.model(to_planes(pixels)), self.logreg)


def model_graph(model: Classifier, image_size: int, logreg: bool, concepts: list[str]) -> bytes:
    """The model as one ONNX file: `pixels` uint8 [N, S, S, 3] to `scores` float [N, C], concepts as metadata."""
    graph = pixels_graph(_Servable(model, logreg), image_size, ["scores"])
    return with_metadata(graph, concepts=json.dumps(concepts, ensure_ascii=False))


def pixels_graph(module: nn.Module, image_size: int, outputs: list[str]) -> ModelProto:
    """A module of `pixels` uint8 [N, S, S, 3] as ONNX, with a free batch size and the names of its outputs."""
    example = torch.zeros(2, image_size, image_size, 3, dtype=torch.uint8)
    return batched_graph(module, {"pixels": example}, outputs)


def batched_graph(module: nn.Module, inputs: dict[str, Tensor], outputs: list[str]) -> ModelProto:
    """A module as ONNX, with a free batch size and the names of its outputs. `inputs` are examples of a batch of 2."""
    batch = torch.export.Dim("batch", min=1, max=_MOST_BATCH)
    with without_search(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            module.cpu().eval(),
            tuple(inputs.values()),
            dynamo=True,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=tuple({0: batch} for _ in inputs),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    proto: ModelProto = program.model_proto
    proto.ir_version = IR_VERSION
    proto.producer_name = "deeptrain"
    # Traces of the Python source are of no use to a server and name paths of this machine.
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        del value.metadata_props[:]
    del proto.graph.metadata_props[:]
    return proto


def with_metadata(proto: ModelProto, **metadata: str) -> bytes:
    """The file of a graph, with metadata."""
    for key, value in metadata.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def exported_model(
    graph: bytes, threads: int
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """The exported model under ONNX Runtime: uint8 [N, S, S, 3] to scores [N, C]."""
    session = open_session(graph, threads)

    def run(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = session.run(["scores"], {"pixels": pixels})[0]
        return scores

    return run


@torch.no_grad()
def parity(
    model: Classifier,
    logreg: bool,
    run_model: Callable[[NDArray[np.uint8]], NDArray[np.float32]],
    images: NDArray[np.uint8],
    batch_size: int,
) -> dict[str, Any]:
    """Compares PyTorch with ONNX Runtime on real images. Raises Failure(ParityFailed)."""
    servable = _Servable(model, logreg).cpu().eval()
    differences = [
        np.abs(servable(torch.from_numpy(images[some])).numpy() - run_model(images[some]))
        for some in evaluation_batches(len(images), batch_size)
    ]
    return agreement("scores", np.concatenate(differences), len(images))


def agreement(what: str, differences: NDArray[np.floating], images: int) -> dict[str, Any]:
    """The content of parity.json. `what` differs from PyTorch's by `differences`.

    Raises Failure(ParityFailed) where one is above PARITY_TOLERANCE.
    """
    difference = float(differences.max())
    if not difference <= PARITY_TOLERANCE:  # NaN must fail too
        raise Failure(
            "ParityFailed",
            f"The exported model's {what} differ from PyTorch's by {difference:.3g} on {images} images, "
            f"more than {PARITY_TOLERANCE}.",
        )
    return {
        "images": images,
        "largestDifference": difference,
        "tolerance": PARITY_TOLERANCE,
    }
