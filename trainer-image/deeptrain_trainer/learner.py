"""What the types of templates do differently in a training. The engine knows nothing else of them.

A learner is one type of template (classifier, detector, embedder, ...) opened on the data of one run. The engine
drives it: `load_batch` and `loss` at every step, `validate` at the epochs that test_freq names, then `export` and
`evaluate` once, with the weights of the best epoch.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from .models import BasedModel
from .optimizer import Recipe
from .run import TrainRun
from .schedule import Schedule

Batch = Any
"""What `load_batch` makes and `loss` takes; the engine only carries it from one to the other."""


@dataclass(frozen=True)
class Validation:
    """Metrics by their names in api/metrics.ts, and the mean loss, of the validation split."""

    values: dict[str, float]
    loss: float


@dataclass(frozen=True)
class Evaluation:
    """The final evaluation. What has no support is absent, never 0 or NaN."""

    split: str
    items: int
    values: dict[str, float]
    # A row for each concept, in order: `concept`, `support`, and metrics by the names of api/metrics.ts.
    concepts: list[dict[str, Any]]
    # Further files of the artifact, by their path in it: tables, curves, pictures.
    files: dict[str, bytes] = field(default_factory=dict)
    # Lines on what makes the model doubtful, for metrics.json.
    warnings: list[str] = field(default_factory=list)
    # Facts for the artifact's manifest that are not in the run file.
    manifest: dict[str, Any] = field(default_factory=dict)


class Learner(Protocol):
    """One type of template on the data of one run."""

    run: TrainRun

    @property
    def model(self) -> BasedModel:
        """What is trained."""

    @property
    def recipe(self) -> Recipe:
        """How its weights are updated, where the run says nothing else."""

    @property
    def schedule(self) -> Schedule:
        """How long, and with which learning rates."""

    @property
    def selection_metric(self) -> str:
        """The metric of the validation split that chooses the exported epoch."""

    @property
    def reserve_bytes(self) -> int:
        """Memory beside what a step shows: of what comes later, or seldom."""

    @property
    def has_validation(self) -> bool:
        """Whether there is anything to validate on."""

    def load_batch(self, step: int) -> Batch:
        """All that step `step` trains on, augmented, on the device: a pure function of the step.

        Called from another thread, in which PyTorch uses one thread on the CPU, while the step before is trained on.
        """

    def loss(self, batch: Batch) -> Tensor:
        """The scalar loss of a batch, in fp32, with the graph to the model's parameters."""

    def validate(self) -> Validation:
        """Evaluates the model on the validation split, in fp32, as it will be served.

        Raises FloatingPointError where a score is not finite: such weights have no metrics.
        """

    def export(self) -> dict[str, bytes]:
        """The graphs that the model is served as, by file name, and `parity.json`. The model is on the CPU.

        Raises Failure(ParityFailed) where they do not agree with PyTorch.
        """

    def evaluate(self, files: dict[str, bytes]) -> Evaluation:
        """Evaluates the exported graphs under ONNX Runtime on the final split, from the stored bytes."""
