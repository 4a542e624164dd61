"""The learner of `context-based-classifier/linear`: a linear head on the embeddings of a frozen base."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx.compose
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from .artifact import document
from .basegraph import EMBEDDING
from .data import open_data, validation_sample
from .device import Device
from .embeddings import EMBEDDED_BATCH, items_in_order, open_embeddings, rows_of
from .evaluate import exported_scores, measure, probabilities
from .export import agreement, exported_model, with_metadata
from .figures.classifier import classifier_files
from .figures.picture import StoredPictures
from .learner import Evaluation, Validation
from .loss import classification_loss
from .metrics import selection_metric
from .models import BasedModel, begin_linear, seed_initialisation
from .optimizer import Recipe
from .order import batch_items
from .pixels import Pixels
from .preprocess import IR_VERSION, OPSET, Preprocess, open_session, preprocess_graph
from .run import TrainRun
from .schedule import schedule_of

RECIPE = Recipe("SGD", weight_decay=1e-4)
# The Euclidean norm of what the head sees: with a norm of 1 it would learn too slowly, and the norm that the base gives
# says more about the picture's contrast than about what it shows.
EMBEDDING_NORM = 16.0
# An epoch takes a few hundredths of a second, a validation as long: more of them would be most of the training.
MOST_VALIDATIONS = 10
_SMALLEST_NORM = 1e-12
# Multiplications of a forward pass.
_LEAST_SHARED_PRODUCT = 2**26
_BATCH = 4096

Batch = tuple[Tensor, Tensor]
"""Embeddings float [N, D] and targets float [N, C]."""


class LinearHead(BasedModel):
    """Embeddings [N, F] to logits [N, concepts]. Its base is what made them, and has no weights here."""

    def __init__(self, features: int, concepts: int) -> None:
        super().__init__(nn.Identity())
        self.head = nn.Linear(features, concepts)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Logits: apply sigmoid (logreg) or softmax to get probabilities."""
        logits: Tensor = self.head(EMBEDDING_NORM * F.normalize(embeddings, eps=_SMALLEST_NORM))
        return logits


class LinearLearner:
    """See learner.py."""

    recipe = RECIPE
    # Embeddings and heads are small.
    reserve_bytes = 0

    def __init__(self, run: TrainRun, device: Device, check_stop: Callable[[], None]) -> None:
        """Opens the data and their embeddings, which are computed where they are not stored."""
        self.run, self.device, self.check_stop = run, device, check_stop
        # A batch that is larger than the data is reduced, not refused.
        self.data = open_data(_with_batch(run, 1))
        self.batch_size = min(run.hyperparameters.batch_size, len(self.data.train))
        resolved = _with_batch(run, self.batch_size).hyperparameters
        self.schedule = replace(
            schedule_of(resolved, len(self.data.train)),
            shape="cosine",
            test_freq=-(-resolved.num_epochs // MOST_VALIDATIONS),
        )
        self.selection_metric = selection_metric(self.data.exclusive, self.data.are_frames)
        self.validation = validation_sample(run, self.data)
        self.has_validation = len(self.validation) > 0
        self.embeddings = open_embeddings(run, self.data.dataset, check_stop)
        self.rows = rows_of(self.data.train.items)
        seed_initialisation(run.seed)
        self.model = LinearHead(self.embeddings.vectors.shape[1], len(run.concepts))
        begin_linear(self.model.head, run.hyperparameters.logreg)
        # Two threads that share a small product wait for each other longer than one takes for all of it.
        if self.batch_size * self.model.head.weight.numel() < _LEAST_SHARED_PRODUCT:
            torch.set_num_threads(1)

    def load_batch(self, step: int) -> Batch:
        """Embeddings and targets of a step's items."""
        chosen, _ = batch_items(self.run.seed, step, self.batch_size, len(self.rows))
        embeddings = torch.from_numpy(self.embeddings.vectors[self.rows[chosen]])
        targets = torch.from_numpy(self.data.train.targets(chosen))
        device = self.device.torch_device
        return embeddings.to(device), targets.to(device)

    def loss(self, batch: Batch) -> Tensor:
        """Of a batch of embeddings."""
        embeddings, targets = batch
        return self._loss_of(self.model(embeddings), targets)

    def _loss_of(self, logits: Tensor, targets: Tensor) -> Tensor:
        hyperparameters = self.run.hyperparameters
        logreg, smoothing = hyperparameters.logreg, hyperparameters.label_smoothing
        return classification_loss(logits, targets, logreg, smoothing)

    @torch.no_grad()
    def validate(self) -> Validation:
        """Of at most data.MOST_VALIDATION_ITEMS items."""
        logreg, device = self.run.hyperparameters.logreg, self.device.torch_device
        embeddings = self.embeddings.vectors[rows_of(self.validation.items)]
        logits = self.model(torch.from_numpy(embeddings).to(device))
        everything = np.arange(len(self.validation))
        targets = torch.from_numpy(self.validation.targets(everything)).to(device)
        loss = self._loss_of(logits, targets).item()
        scores = probabilities(logits, logreg).cpu().numpy()
        if not np.isfinite(scores).all():
            raise FloatingPointError("scores are not finite")
        return Validation(measure(self.run, self.data, scores, self.validation).values, loss)

    def export(self) -> dict[str, bytes]:
        """`preprocess.onnx`, `model.onnx` (the base and the head), `head.onnx` and `parity.json`."""
        concepts = json.dumps(self.run.concepts, ensure_ascii=False)
        logreg = self.run.hyperparameters.logreg
        head = head_graph(self.model.head, logreg)
        whole = onnx.compose.merge_models(
            onnx.load_model_from_string(self.embeddings.graph),
            head,
            io_map=[(EMBEDDING, EMBEDDING)],
        )
        whole.producer_name = "deeptrain"
        del whole.metadata_props[:]  # the base's: an embedder's concepts are others
        graph = with_metadata(whole, concepts=concepts)
        preprocess = preprocess_graph(self.embeddings.size)
        return {
            "preprocess.onnx": preprocess.SerializeToString(deterministic=True),
            "model.onnx": graph,
            # So that a server knows which models have their base in common, and runs it once.
            "head.onnx": with_metadata(head, concepts=concepts, base=self.run.base.digest),
            "parity.json": document(self._parity(graph)),
        }

    def evaluate(self, files: dict[str, bytes]) -> Evaluation:
        """On test where there is one, else validation: the stored embeddings through the exported head."""
        split, labelled = self.data.final_split
        session = open_session(files["head.onnx"], self.run.threads)
        rows = rows_of(labelled.items)
        scores = [np.empty((0, len(self.run.concepts)), np.float32)]
        for start in range(0, len(rows), _BATCH):
            self.check_stop()
            embeddings = self.embeddings.vectors[rows[start : start + _BATCH]]
            scores += session.run(["scores"], {EMBEDDING: embeddings})
        all_scores = np.concatenate(scores)
        measured = measure(self.run, self.data, all_scores, labelled)
        pictures = StoredPictures(self.data.dataset, labelled.items)
        truth, known = labelled.truth, labelled.known
        figures = classifier_files(all_scores, truth, measured, pictures, split, known)
        return Evaluation(
            split,
            measured.items,
            measured.values,
            measured.concepts,
            figures,
            manifest={"image_size": self.embeddings.size},
        )

    @torch.no_grad()
    def _parity(self, graph: bytes) -> dict[str, Any]:
        """Compares PyTorch's base and head with the exported model, from the stored bytes of real images."""
        stored = self.embeddings
        dataset, threads = self.data.dataset, self.run.threads
        everything = items_in_order(dataset)
        items = [everything[index] for index in stored.compared]
        pixels = Pixels(dataset, items, Preprocess(stored.size), threads)
        found = exported_scores(
            exported_model(graph, threads), pixels, EMBEDDED_BATCH, self.check_stop
        )
        logits = self.model(torch.from_numpy(stored.references))
        expected = probabilities(logits, self.run.hyperparameters.logreg).numpy()
        return agreement("scores", np.abs(expected - found), len(items))


def head_graph(head: nn.Linear, logreg: bool) -> ModelProto:
    """`embedding` float [N, F] to `scores` float [N, C], scaled to EMBEDDING_NORM inside."""
    constants: dict[str, NDArray[np.generic]] = {
        "head.axis": np.array([1], np.int64),
        "head.smallest": np.array(_SMALLEST_NORM, np.float32),
        "head.norm": np.array(EMBEDDING_NORM, np.float32),
        "head.weight": head.weight.detach().cpu().numpy(),
        "head.bias": head.bias.detach().cpu().numpy(),
    }
    nodes = [
        helper.make_node("ReduceL2", [EMBEDDING, "head.axis"], ["head.length"], keepdims=1),
        helper.make_node("Max", ["head.length", "head.smallest"], ["head.divisor"]),
        helper.make_node("Div", [EMBEDDING, "head.divisor"], ["head.direction"]),
        helper.make_node("Mul", ["head.direction", "head.norm"], ["head.input"]),
        helper.make_node(
            "Gemm", ["head.input", "head.weight", "head.bias"], ["head.logits"], transB=1
        ),
        helper.make_node("Sigmoid", ["head.logits"], ["scores"])
        if logreg
        else helper.make_node("Softmax", ["head.logits"], ["scores"], axis=1),
    ]
    concepts, features = head.weight.shape
    graph = helper.make_graph(
        nodes,
        "head",
        [helper.make_tensor_value_info(EMBEDDING, TensorProto.FLOAT, ["batch", features])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", concepts])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(
        graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="deeptrain"
    )


def _with_batch(run: TrainRun, batch_size: int) -> TrainRun:
    return replace(run, hyperparameters=replace(run.hyperparameters, batch_size=batch_size))
