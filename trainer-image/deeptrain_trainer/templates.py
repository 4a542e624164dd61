"""The types of templates: which learner each has. A type is imported when it is trained: others cost no time."""

from collections.abc import Callable

from .device import Device
from .failure import Failure
from .garbage import without_search
from .learner import Learner
from .models import BACKBONES, backbone_name
from .run import TrainRun

# The newest revision that this image knows, where it is not the first.
_NEWEST_REVISION = {
    "visual-classifier/efficientnet-lite0": 3,
    "visual-classifier/resnet18": 2,
    "visual-classifier/resnet50": 2,
    "visual-detector/retinanet-efficientnet-lite0": 2,
    "visual-detector/ssdlite-efficientnet-lite0": 2,
}


def open_learner(run: TrainRun, device: Device, check_stop: Callable[[], None]) -> Learner:
    """The learner of a run's template on its data. Raises Failure where they do not fit."""
    with without_search():
        learner = _learner_of(run.template)
    newest = newest_revision(run.template)
    if run.template_revision > newest:
        raise Failure(
            "InputInvalid",
            f"This trainer image has no revision {run.template_revision} of {run.template}, only up to {newest}: "
            "use a newer one.",
        )
    return learner(run, device, check_stop)


def newest_revision(template: str) -> int:
    """Of a template, the newest revision that this image knows."""
    return _NEWEST_REVISION.get(template, 1)


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
