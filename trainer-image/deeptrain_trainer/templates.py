"""The types of templates: which learner each has. A type is imported when it is trained: others cost no time."""

from collections.abc import Callable

from .device import Device
from .failure import Failure
from .garbage import without_search
from .learner import Learner
from .models import BACKBONES, backbone_name
from .run import TrainRun


def open_learner(run: TrainRun, device: Device, check_stop: Callable[[], None]) -> Learner:
    """The learner of a run's template on its data. Raises Failure where they do not fit."""
    with without_search():
        learner = _learner_of(run.template)
    return learner(run, device, check_stop)


def _learner_of(template: str) -> Callable[[TrainRun, Device, Callable[[], None]], Learner]:
    kind = template.partition("/")[0]
    if kind == "visual-classifier":
        from .classifier import ClassifierLearner

        return ClassifierLearner
    if kind == "visual-detector":
        from .detection.learner import DetectorLearner

        return DetectorLearner
    if kind == "visual-embedder":
        from .embedder import EmbedderLearner

        return EmbedderLearner
    if kind == "context-based-classifier":
        from .linear import LinearLearner

        return LinearLearner
    raise Failure(
        "InputInvalid", f"This trainer image has no template {template}: use a newer one."
    )


def bf16_on_cpu(template: str) -> bool:
    """Whether a template trains faster in bf16 on a CPU that has it."""
    if template.startswith("context-based-classifier/"):
        return False
    return BACKBONES[backbone_name(template)].bf16_on_cpu
