"""The learner of `visual-classifier`: concepts of a whole picture."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .artifact import document
from .augment import DRAWS, augment, to_planes
from .baseweights import is_pretrained, load_base_into
from .data import LabelledItems, RunData, open_data, validation_sample
from .device import Device
from .evaluate import exported_scores, measure, probabilities
from .export import PARITY_IMAGES, exported_model, model_graph, parity
from .figures.classifier import classifier_files
from .figures.picture import StoredPictures
from .learner import Evaluation, Validation
from .loss import classification_loss
from .memory import PixelRoom
from .metrics import selection_metric
from .models import BACKBONES, Classifier, backbone_name, begin_linear, seed_initialisation
from .optimizer import Recipe
from .order import batch_items, evaluation_batches, uniforms
from .pixels import Pixels, reserve_beside
from .preprocess import Preprocess, preprocess_graph
from .run import TrainRun
from .schedule import schedule_of

RECIPES = {
    "efficientnet-lite0": Recipe("SGD", weight_decay=1e-4),
    "resnet18": Recipe("SGD", weight_decay=1e-4),
    "resnet50": Recipe("SGD", weight_decay=1e-4),
    "convnext-tiny": Recipe("AdamW", weight_decay=0.05, clip_norm=1.0),
    "vit-small": Recipe("AdamW", weight_decay=0.05, clip_norm=1.0),
}
# Those of a pretrained base, by the template's revision that they came with.
PRETRAINED_RECIPES = {"efficientnet-lite0": (3, Recipe("AdamW", weight_decay=0.02))}

Batch = tuple[Tensor, Tensor]
"""Images float [N, 3, S, S] and targets float [N, C]."""


def recipe_of(template: str, revision: int, begins_pretrained: bool) -> Recipe:
    """The recipe of a template's revision, which a later one never changes."""
    name = backbone_name(template)
    since, recipe = PRETRAINED_RECIPES.get(name, (0, RECIPES[name]))
    return recipe if begins_pretrained and revision >= since else RECIPES[name]


def build_classifier(run: TrainRun, check_stop: Callable[[], None] = lambda: None) -> Classifier:
    """The model as training begins: seeded random weights, then the base's weights where there is one."""
    name = backbone_name(run.template)
    backbone = BACKBONES[name]
    seed_initialisation(run.seed)
    base = backbone.build(run.hyperparameters.image_size)
    model = Classifier(base, backbone.features, len(run.concepts), backbone.dropout)
    begin_linear(model.head, run.hyperparameters.logreg)
    begun = load_base_into(base, run.base, check_stop)
    model.base_loaded = begun.loaded
    model.settle_base(
        is_pretrained=is_pretrained(run.base),
        missing=begun.missing,
        multiplier=run.hyperparameters.base_gradient_multiplier,
    )
    return model


class ClassifierLearner:
    """See learner.py."""

    def __init__(self, run: TrainRun, device: Device, check_stop: Callable[[], None]) -> None:
        """Opens the data and the base. `check_stop` raises Stopped after SIGTERM."""
        self.run, self.device, self.check_stop = run, device, check_stop
        self.data: RunData = open_data(run)
        self.schedule = schedule_of(run.hyperparameters, len(self.data.train))
        self.recipe = recipe_of(run.template, run.template_revision, is_pretrained(run.base))
        self.selection_metric = selection_metric(self.data.exclusive, self.data.are_frames)
        self.labelled = self.data.train
        self.validation = validation_sample(run, self.data)
        self.has_validation = len(self.validation) > 0
        self.model = build_classifier(run, check_stop)
        self.reserve_bytes = reserve_beside(
            self.model, [self.labelled.items, self.validation.items]
        )
        room = PixelRoom(self.reserve_bytes)
        self.pixels = self._pixels(self.labelled, room)
        self.validation_pixels = self._pixels(self.validation, room)

    def load_batch(self, step: int) -> Batch:
        """Augmented images of a step, and their truth."""
        run, device = self.run, self.device.torch_device
        chosen, passes = batch_items(
            run.seed, step, run.hyperparameters.batch_size, len(self.labelled)
        )
        draws = uniforms(run.seed, passes, chosen, DRAWS)
        images = augment(
            torch.from_numpy(self.pixels.batch(chosen)).to(device),
            torch.from_numpy(draws).to(device),
            run.hyperparameters.average_horizontal_flips,
        )
        return images, torch.from_numpy(self.labelled.targets(chosen)).to(device)

    def loss(self, batch: Batch) -> Tensor:
        """Of a batch of images."""
        images, targets = batch
        with self.device.autocast():
            logits = self.model(images)
        return self._loss_of(logits.float(), targets)

    def _loss_of(self, logits: Tensor, targets: Tensor) -> Tensor:
        hyperparameters = self.run.hyperparameters
        logreg, smoothing = hyperparameters.logreg, hyperparameters.label_smoothing
        return classification_loss(logits, targets, logreg, smoothing)

    @torch.no_grad()
    def validate(self) -> Validation:
        """Of at most data.MOST_VALIDATION_ITEMS items."""
        logreg, device = self.run.hyperparameters.logreg, self.device.torch_device
        scores, loss = [], 0.0
        batch_size, most = self.run.hyperparameters.batch_size, self.device.evaluated_at_once
        for indices in evaluation_batches(len(self.validation), batch_size, most):
            self.check_stop()
            batch = torch.from_numpy(self.validation_pixels.batch(indices)).to(device)
            targets = torch.from_numpy(self.validation.targets(indices)).to(device)
            logits = self.model(to_planes(batch)).float()
            loss += self._loss_of(logits, targets).item() * len(indices)
            scores.append(probabilities(logits, logreg).cpu().numpy())
        all_scores = np.concatenate(scores)
        if not np.isfinite(all_scores).all():
            raise FloatingPointError("scores are not finite")
        metrics = measure(self.run, self.data, all_scores, self.validation)
        return Validation(metrics.values, loss / len(self.validation))

    def export(self) -> dict[str, bytes]:
        """`preprocess.onnx`, `model.onnx` and `parity.json`."""
        self.pixels.let_go()
        self.validation_pixels.let_go()
        run, hyperparameters = self.run, self.run.hyperparameters
        size, logreg = hyperparameters.image_size, hyperparameters.logreg
        graph = model_graph(self.model, size, logreg, run.concepts)
        _, labelled = self.data.final_split
        sample = self._pixels(labelled) if len(labelled) else self.pixels
        images = sample.batch(range(min(PARITY_IMAGES, len(sample))))
        exported, batch_size = exported_model(graph, run.threads), hyperparameters.batch_size
        comparison = parity(self.model, logreg, exported, images, batch_size)
        return {
            "preprocess.onnx": preprocess_graph(size).SerializeToString(deterministic=True),
            "model.onnx": graph,
            "parity.json": document(comparison),
        }

    def evaluate(self, files: dict[str, bytes]) -> Evaluation:
        """On test where there is one, else validation."""
        split, labelled = self.data.final_split
        scores = np.empty((0, len(self.run.concepts)), np.float32)
        if len(labelled):
            run_model = exported_model(files["model.onnx"], self.run.threads)
            batch_size = self.run.hyperparameters.batch_size
            pixels = self._pixels(labelled)
            scores = exported_scores(run_model, pixels, batch_size, self.check_stop)
        measured = measure(self.run, self.data, scores, labelled)
        pictures = StoredPictures(self.data.dataset, labelled.items)
        truth, known = labelled.truth, labelled.known
        figures = classifier_files(scores, truth, measured, pictures, split, known)
        return Evaluation(split, measured.items, measured.values, measured.concepts, figures)

    def _pixels(self, labelled: LabelledItems, room: PixelRoom | None = None) -> Pixels:
        preprocess = Preprocess(self.run.hyperparameters.image_size)
        return Pixels(self.data.dataset, labelled.items, preprocess, self.run.threads, room)
