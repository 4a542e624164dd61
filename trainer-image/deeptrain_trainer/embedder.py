"""The learner of `visual-embedder`: a vector for each picture, near to those of pictures of the same concept."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from .arcface import ArcFace
from .artifact import document
from .augment import DRAWS, augment, to_planes
from .baseweights import is_pretrained, load_base_into
from .data import open_data
from .device import Device
from .export import PARITY_IMAGES, agreement, pixels_graph, with_metadata
from .figures.concepts import concept_files
from .figures.neighbours import neighbour_files
from .figures.picture import StoredPictures
from .heldout import ConceptItems, protocol_of, sample
from .learner import Evaluation, Validation
from .memory import PixelRoom
from .models import BACKBONES, BasedModel, backbone_name, seed_initialisation
from .optimizer import Recipe
from .order import batch_items, evaluation_batches, uniforms
from .pixels import Pixels, reserve_beside
from .preprocess import Preprocess, open_session, preprocess_graph
from .report import log
from .retrieval import Numbers, Retrieval, Vectors, retrieve
from .run import Hyperparameters, TrainRun
from .schedule import schedule_of

RECIPE = Recipe("AdamW", weight_decay=0.02)

Batch = tuple[Tensor, Tensor]
"""Images float [N, 3, S, S] and the numbers of their concepts' centres, int64 [N]."""
Embed = Callable[[NDArray[np.uint8]], Vectors]


class Embedder(BasedModel):
    """Pixels, float [N, 3, S, S] from 0 to 255, to embeddings [N, E] of length 1.

    `arcface` has a centre for each concept that is trained on; it is of use to the loss alone.
    """

    def __init__(
        self, base: nn.Module, features: int, concepts: int, hyperparameters: Hyperparameters
    ) -> None:
        super().__init__(base)
        size = hyperparameters.embeddings_size
        self.projection = nn.Linear(features, size, bias=False)
        margin, scale = hyperparameters.angular_margin, hyperparameters.angular_scale
        self.arcface = ArcFace(size, concepts, margin, scale)

    def forward(self, pixels: Tensor) -> Tensor:
        """The dot product of two embeddings is their cosine similarity."""
        return F.normalize(self.projection(self.base(pixels)).float(), dim=1)


class _Servable(nn.Module):
    """uint8 [N, S, S, 3] to embeddings [N, E]."""

    def __init__(self, model: Embedder) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        embeddings: Tensor = self.model(to_planes(pixels))
        return embeddings


def build_embedder(
    run: TrainRun, learnt_concepts: int, check_stop: Callable[[], None] = lambda: None
) -> Embedder:
    """The model as training begins: seeded random weights, then the base's weights where there is one."""
    backbone = BACKBONES[backbone_name(run.template)]
    seed_initialisation(run.seed)
    base = backbone.build(run.hyperparameters.image_size)
    model = Embedder(base, backbone.features, learnt_concepts, run.hyperparameters)
    begun = load_base_into(base, run.base, check_stop)
    model.base_loaded = begun.loaded
    model.settle_base(
        is_pretrained=is_pretrained(run.base),
        missing=begun.missing,
        multiplier=run.hyperparameters.base_gradient_multiplier,
    )
    return model


class EmbedderLearner:
    """See learner.py, and heldout.py for what is learnt from and measured on."""

    selection_metric = "recall_at_1"
    recipe = RECIPE

    def __init__(self, run: TrainRun, device: Device, check_stop: Callable[[], None]) -> None:
        """Opens the data and the base. `check_stop` raises Stopped after SIGTERM."""
        self.run, self.device, self.check_stop = run, device, check_stop
        data = open_data(run)
        self.dataset = data.dataset
        self.protocol = protocol_of(run, data)
        train = self.protocol.train
        # An epoch is as long as the train split, although the held-out concepts' items do not teach.
        self.schedule = schedule_of(run.hyperparameters, len(train))
        # The place of each of the run's concepts among those that are learnt.
        learnt = np.unique(train.concepts[self.protocol.learnt])
        self.centre = np.searchsorted(learnt, np.arange(len(run.concepts)))
        queries = self.protocol.validation
        self.validation = queries.chosen(sample(run.seed, "validation", len(queries)))
        gallery = self.protocol.gallery
        self.gallery = gallery[sample(run.seed, "gallery", len(gallery))]
        self.has_validation = len(self.validation) > 0
        self.model = build_embedder(run, len(learnt), check_stop)
        self.reserve_bytes = reserve_beside(self.model, [train.items, self.validation.items])
        room = PixelRoom(self.reserve_bytes)
        self.pixels = self._pixels(train, room)
        self.validation_pixels = self._pixels(self.validation, room)

    def load_batch(self, step: int) -> Batch:
        """Augmented images of a step, and their concepts."""
        run, learnt = self.run, self.protocol.learnt
        device = self.device.torch_device
        chosen, passes = batch_items(run.seed, step, run.hyperparameters.batch_size, len(learnt))
        draws = uniforms(run.seed, passes, chosen, DRAWS)
        places = learnt[chosen]
        images = augment(
            torch.from_numpy(self.pixels.batch(places)).to(device),
            torch.from_numpy(draws).to(device),
            run.hyperparameters.average_horizontal_flips,
        )
        concepts = self.centre[self.protocol.train.concepts[places]]
        return images, torch.from_numpy(concepts).to(device)

    def loss(self, batch: Batch) -> Tensor:
        """Of a batch of images."""
        images, concepts = batch
        with self.device.autocast():
            embeddings = self.model(images)
        loss: Tensor = self.model.arcface(embeddings, concepts)
        return loss

    def validate(self) -> Validation:
        """Of at most data.MOST_VALIDATION_ITEMS queries, in a gallery of at most as many."""
        embed = _torch_embed(self.model, self.device.torch_device)
        most = self.device.evaluated_at_once
        queries = self._embeddings(embed, self.validation_pixels, most=most)
        gallery = self._embeddings(embed, self.pixels, self.gallery, most)
        if not (np.isfinite(queries).all() and np.isfinite(gallery).all()):
            raise FloatingPointError("embeddings are not finite")
        concepts = self.protocol.train.concepts[self.gallery]
        found = retrieve(queries, self.validation.concepts, gallery, concepts, self.run.concepts)
        scale = self.run.hyperparameters.angular_scale
        loss = centroid_loss(queries, self.validation.concepts, gallery, concepts, scale)
        return Validation(found.values, loss)

    def export(self) -> dict[str, bytes]:
        """`preprocess.onnx`, `model.onnx` and `parity.json`."""
        self.pixels.let_go()
        self.validation_pixels.let_go()
        run, size = self.run, self.run.hyperparameters.image_size
        graph = with_metadata(
            pixels_graph(_Servable(self.model), size, ["embedding"]),
            concepts=json.dumps(self._learnt_names(), ensure_ascii=False),
            embeddings_size=str(run.hyperparameters.embeddings_size),
            similarity="cosine",
        )
        _, queries = self.protocol.final_split
        images = self._pixels(queries) if len(queries) else self.pixels
        compared = images.batch(range(min(PARITY_IMAGES, len(images))))
        comparison = parity(
            _torch_embed(self.model, torch.device("cpu")),
            exported_embedder(graph, run.threads),
            compared,
            run.hyperparameters.batch_size,
        )
        return {
            "preprocess.onnx": preprocess_graph(size).SerializeToString(deterministic=True),
            "model.onnx": graph,
            "parity.json": document(comparison),
        }

    def evaluate(self, files: dict[str, bytes]) -> Evaluation:
        """The queries of test where it has any, else of validation, in the whole gallery."""
        split, queries = self.protocol.final_split
        gallery = self.protocol.train.chosen(self.protocol.gallery)
        about = {
            "heldOut": [self.run.concepts[c] for c in self.protocol.held_out],
            "queries": {"split": split, "items": len(queries)},
            "gallery": {"split": "train", "items": len(gallery)},
        }
        documents = {"evaluation/retrieval.json": document(about)}
        if not len(queries):
            return Evaluation(split, 0, {}, [], documents)
        asked, searched = self._pixels(queries), self._pixels(gallery)

        def measure(embed: Embed) -> Retrieval:
            return retrieve(
                self._embeddings(embed, asked),
                queries.concepts,
                self._embeddings(embed, searched),
                gallery.concepts,
                self.run.concepts,
            )

        found = measure(exported_embedder(files["model.onnx"], self.run.threads))
        documents |= self._neighbours(found, queries, gallery)
        title = f"{len(found.concepts):,} concepts, {found.items:,} queries of the {split} split"
        documents |= concept_files(found.concepts, title)
        values, warnings = dict(found.values), []
        if is_pretrained(self.run.base) and "recall_at_1" in values:
            baseline = measure(self._base_embed()).values["recall_at_1"]
            values["baseline_recall_at_1"] = baseline
            warnings = worse_than_base(values["recall_at_1"], baseline)
        return Evaluation(split, found.items, values, found.concepts, documents, warnings)

    def _neighbours(
        self, found: Retrieval, queries: ConceptItems, gallery: ConceptItems
    ) -> dict[str, bytes]:
        """The queries with what was found, as pictures and as JSON."""
        return neighbour_files(
            found.queries,
            len(queries) + found.neighbours,
            found.similarities,
            np.concatenate([queries.concepts, gallery.concepts]),
            self.run.concepts,
            StoredPictures(self.dataset, [*queries.items, *gallery.items]),
        )

    def _base_embed(self) -> Embed:
        """The features of the base as it was before this training, of length 1."""
        base = BACKBONES[backbone_name(self.run.template)].build(
            self.run.hyperparameters.image_size
        )
        load_base_into(base, self.run.base, self.check_stop)
        return _torch_embed(base.eval(), self.device.torch_device)

    def _learnt_names(self) -> list[str]:
        """The concepts of the centres, in their order."""
        held_out = set(self.protocol.held_out)
        return [name for c, name in enumerate(self.run.concepts) if c not in held_out]

    def _embeddings(
        self, embed: Embed, pixels: Pixels, places: Numbers | None = None, most: int = 16
    ) -> Vectors:
        places = np.arange(len(pixels)) if places is None else places
        embeddings = []
        for some in evaluation_batches(len(places), self.run.hyperparameters.batch_size, most):
            self.check_stop()
            embeddings.append(embed(pixels.batch(places[some])))
        return np.concatenate(embeddings)

    def _pixels(self, items: ConceptItems, room: PixelRoom | None = None) -> Pixels:
        preprocess = Preprocess(self.run.hyperparameters.image_size)
        return Pixels(self.dataset, items.items, preprocess, self.run.threads, room)


def _torch_embed(model: nn.Module, device: torch.device) -> Embed:
    """A module of images, in evaluation mode, as a function of bytes, its vectors scaled to length 1."""
    model = model.to(device)

    @torch.no_grad()
    def embed(pixels: NDArray[np.uint8]) -> Vectors:
        vectors = model(to_planes(torch.from_numpy(pixels).to(device))).float()
        embeddings: Vectors = F.normalize(vectors, dim=1).cpu().numpy()
        return embeddings

    return embed


def exported_embedder(graph: bytes, threads: int) -> Embed:
    """The exported model under ONNX Runtime: uint8 [N, S, S, 3] to embeddings [N, E]."""
    session = open_session(graph, threads)

    def run(pixels: NDArray[np.uint8]) -> Vectors:
        embeddings: Vectors = session.run(["embedding"], {"pixels": pixels})[0]
        return embeddings

    return run


def parity(
    expected: Embed, exported: Embed, images: NDArray[np.uint8], batch_size: int
) -> dict[str, Any]:
    """Compares the directions of two embedders on real images. Raises Failure(ParityFailed)."""
    batches = [images[some] for some in evaluation_batches(len(images), batch_size)]
    ours, theirs = (
        np.concatenate([embed(some) for some in batches]).astype(np.float64)
        for embed in (expected, exported)
    )
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    distances = 1 - (ours * theirs).sum(1) / lengths
    return agreement("embeddings, by their cosine distance,", distances, len(images))


def centroid_loss(
    queries: Vectors,
    query_concepts: Numbers,
    gallery: Vectors,
    gallery_concepts: Numbers,
    scale: float,
) -> float:
    """Mean cross-entropy of queries over `scale` x the cosines to their gallery's mean of each concept (Snell et al.
    2017).

    The loss of a validation whose concepts have no learnt centre. Queries whose concept the gallery lacks do not count.
    """
    known = np.unique(gallery_concepts)
    counted = np.isin(query_concepts, known)
    if not counted.any():
        return 0.0
    means = np.stack([gallery[gallery_concepts == c].mean(0) for c in known])
    centres = F.normalize(torch.from_numpy(means), dim=1)
    cosines = torch.from_numpy(queries[counted]) @ centres.T
    targets = torch.from_numpy(np.searchsorted(known, query_concepts[counted]))
    return F.cross_entropy(scale * cosines, targets).item()


def worse_than_base(recall: float, baseline: float) -> list[str]:
    """A warning where the training has made search worse."""
    if recall >= baseline:
        return []
    message = (
        f"recall_at_1 is {recall:.4g}, but {baseline:.4g} with the base as it was: the training has made it worse. "
        "Lower spec.hyperparameters.lrate or base_gradient_multiplier, or add items."
    )
    log({"type": "warning", "reason": "WorseThanBase", "message": message})
    return [message]
