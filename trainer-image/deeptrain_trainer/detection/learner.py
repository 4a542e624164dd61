"""The learner of `visual-detector`: concepts and their bounding boxes."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..artifact import document
from ..augment import to_planes
from ..data import open_data, validation_sample
from ..device import Device
from ..distributed import normaliser
from ..export import PARITY_IMAGES
from ..figures.concepts import concept_files
from ..figures.curves import curve_files
from ..figures.picture import StoredPictures
from ..learner import Evaluation, Validation
from ..memory import PixelRoom
from ..order import batch_items, evaluation_batches, uniforms
from ..pixels import Pixels, reserve_beside
from ..run import TrainRun
from ..schedule import schedule_of
from .architectures import ARCHITECTURES, build_detector
from .augment import DRAWS, augment
from .boxed import BoxedItems, boxed_items, check_boxes, concept_numbers
from .boxmistakes import box_mistake_files
from .evaluator import DetectorMetrics, detector_metrics
from .graph import Boxes, detect, detector_graph, exported_detector, parity, suppressed
from .letterbox import Letterbox, letterbox_graph
from .matching import PredictedBoxes
from .postprocess import EVALUATION_SCORE_THRESHOLD
from .targets import Truth

# Below it boxes are near-ties, of which PyTorch and ONNX Runtime may keep different ones.
_PARITY_SCORE_THRESHOLD = 0.05

Batch = tuple[Tensor, Truth, Tensor]
"""Images float [N, 3, S, S], boxes, and a random number of each image, which chooses what of it teaches."""


class DetectorLearner:
    """See ../learner.py."""

    selection_metric = "map"

    def __init__(self, run: TrainRun, device: Device, check_stop: Callable[[], None]) -> None:
        """Opens the data and the base. `check_stop` raises Stopped after SIGTERM."""
        self.run, self.device, self.check_stop = run, device, check_stop
        self.data = open_data(run)
        check_boxes(self.data)
        self.architecture = ARCHITECTURES[run.template]
        self.recipe = self.architecture.recipe
        self.schedule = schedule_of(run.hyperparameters, len(self.data.train))
        self.letterbox = Letterbox(run.hyperparameters.image_size)
        numbers = concept_numbers(self.data, run.concepts)
        size = run.hyperparameters.image_size
        self.boxed = boxed_items(self.data.train, numbers, size)
        self.validation = boxed_items(validation_sample(run, self.data), numbers, size)
        self.final_split, final = self.data.final_split
        self.final = boxed_items(final, numbers, size)
        self.has_validation = len(self.validation) > 0
        self.model = build_detector(run, check_stop)
        self.reserve_bytes = reserve_beside(self.model, [self.boxed.items, self.validation.items])
        room = PixelRoom(self.reserve_bytes)
        self.pixels = self._pixels(self.boxed, room)
        self.validation_pixels = self._pixels(self.validation, room)

    def load_batch(self, step: int) -> Batch:
        """Augmented images of a step, and their boxes."""
        run, device = self.run, self.device.torch_device
        chosen, passes = batch_items(
            run.seed, step, run.hyperparameters.batch_size, len(self.boxed)
        )
        draws = torch.from_numpy(uniforms(run.seed, passes, chosen, DRAWS + 1)).to(device)
        images, truth = augment(
            torch.from_numpy(self.pixels.batch(chosen)).to(device),
            torch.from_numpy(self.boxed.inside(chosen)).to(device),
            self.boxed.batch(chosen).to(device),
            draws[:, :DRAWS],
            run.hyperparameters.average_horizontal_flips,
            self.architecture.crops,
        )
        return images, truth, draws[:, DRAWS]

    def loss(self, batch: Batch) -> Tensor:
        """Of a batch of images, for each anchor or proposal that counts."""
        images, truth, chances = batch
        with self.device.autocast():
            parts = self.model.losses(self.model(images), truth, chances)
        least = self._least(self.run.hyperparameters.batch_size)
        return torch.stack([total / normaliser(number, least) for total, number in parts]).sum()

    @torch.no_grad()
    def validate(self) -> Validation:
        """Of at most data.MOST_VALIDATION_ITEMS items."""
        device = self.device.torch_device
        found: list[PredictedBoxes] = []
        sums: list[Tensor] = []
        for indices in self._batches(self.validation):
            pixels = torch.from_numpy(self.validation_pixels.batch(indices)).to(device)
            predicted = self.model(to_planes(pixels))
            given = self.model.candidates(predicted)
            if not predicted.is_finite() or not all(part.isfinite().all() for part in given[:2]):
                raise FloatingPointError("boxes or scores are not finite")
            truth = self.validation.batch(indices).to(device)
            parts = self.model.losses(predicted, truth, torch.zeros(len(indices), device=device))
            sums.append(torch.tensor(parts, dtype=torch.float64))
            transforms = self.validation.transforms(indices)
            boxes = suppressed(given, transforms, EVALUATION_SCORE_THRESHOLD)
            found += _in_pixels(boxes, self.validation.sides(indices))
        values = self._metrics(found, self.validation).values
        totals, numbers = torch.stack(sums).sum(0).unbind(1)
        least = self._least(len(self.validation))
        return Validation(values, (totals / numbers.clamp(min=least)).sum().item())

    def export(self) -> dict[str, bytes]:
        """`preprocess.onnx`, `model.onnx` and `parity.json`."""
        self.pixels.let_go()
        self.validation_pixels.let_go()
        run, size = self.run, self.run.hyperparameters.image_size
        graph = detector_graph(self.model, size, run.concepts, run.detection_score_threshold)
        sample = self.final if len(self.final) else self.boxed
        pixels = self._pixels(sample)
        run_model = exported_detector(graph, run.threads)
        wanted: list[Boxes] = []
        found: list[Boxes] = []
        for indices in self._batches(sample, PARITY_IMAGES):
            given = (pixels.batch(indices), sample.transforms(indices))
            wanted.append(detect(self.model, *given, EVALUATION_SCORE_THRESHOLD))
            found.append(run_model(*given, EVALUATION_SCORE_THRESHOLD))
        threshold = max(run.detection_score_threshold, _PARITY_SCORE_THRESHOLD)
        comparison = parity(Boxes.joined(wanted), Boxes.joined(found), threshold)
        return {
            "preprocess.onnx": letterbox_graph(size).SerializeToString(deterministic=True),
            "model.onnx": graph,
            "parity.json": document(comparison),
        }

    def evaluate(self, files: dict[str, bytes]) -> Evaluation:
        """On test where there is one, else validation."""
        final, split = self.final, self.final_split
        if not len(final):
            return Evaluation(split, 0, {}, [])
        pixels = self._pixels(final)
        run_model = exported_detector(files["model.onnx"], self.run.threads)
        found: list[PredictedBoxes] = []
        for indices in self._batches(final):
            transforms = final.transforms(indices)
            boxes = run_model(pixels.batch(indices), transforms, EVALUATION_SCORE_THRESHOLD)
            found += _in_pixels(boxes, final.sides(indices))
        metrics = self._metrics(found, final)
        names, threshold = self.run.concepts, self.run.detection_score_threshold
        where = f"{len(final):,} pictures of the {split} split"
        evaluated = concept_files(metrics.table, f"{len(names):,} concepts, {where}")
        evaluated |= curve_files(metrics.curves, names, f"{where.capitalize()}, at IoU .50")
        pictures = StoredPictures(self.data.dataset, final.items)
        evaluated |= box_mistake_files(final.truth, found, names, pictures, threshold)
        return Evaluation(
            split,
            len(final),
            metrics.values,
            metrics.concepts,
            evaluated,
            manifest={"detection_score_threshold": threshold},
        )

    def _least(self, images: int) -> float:
        """What losses of so many images are divided by at least: where next to none of them shows a box, the sum over
        their background would else count many times what it does in other batches."""
        return max(1.0, self.model.least_per_image * images)

    def _metrics(self, found: list[PredictedBoxes], boxed: BoxedItems) -> DetectorMetrics:
        threshold = self.run.detection_score_threshold
        return detector_metrics(found, boxed.truth, self.run.concepts, threshold)

    def _batches(self, boxed: BoxedItems, most: int | None = None) -> Iterator[NDArray[np.int64]]:
        end = len(boxed) if most is None else min(most, len(boxed))
        batch_size = self.run.hyperparameters.batch_size
        for indices in evaluation_batches(end, batch_size):
            self.check_stop()
            yield indices

    def _pixels(self, boxed: BoxedItems, room: PixelRoom | None = None) -> Pixels:
        return Pixels(self.data.dataset, boxed.items, self.letterbox, self.run.threads, room)


def _in_pixels(boxes: Boxes, sides: NDArray[np.float32]) -> list[PredictedBoxes]:
    """Of each picture, in pixels of the original."""
    return [
        PredictedBoxes(boxes.boxes[i, :n] * sides[i], boxes.concepts[i, :n], boxes.scores[i, :n])
        for i, n in enumerate(boxes.count)
    ]
