"""The run file: everything a pod is told, checked against the schema that is generated from api/run.ts."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .failure import Failure

_SCHEMA = Path(__file__).parent / "schema" / "run.json"
_MAX_UID_CHARACTERS = 64


@dataclass(frozen=True)
class Hyperparameters:
    """All resolved, under their published names. `lrate` is the effective learning rate.

    `weight_decay` is None where it is the template's.

    Those that a type of template does not have are absent in its run files and read by nothing: here they keep a
    neutral value. Those that are alike for all templates are absent where nothing else is given: these are
    defaultsOfAll of api/hyperparameters.ts.
    """

    batch_size: int
    lrate: float
    num_epochs: int
    average_horizontal_flips: bool = False
    base_gradient_multiplier: float = 0.0
    image_size: int = 0
    init_epochs: int = 1
    step_epochs: int = 1
    lrate_schedule: Literal["step", "cosine"] = "step"
    lrate_decay: float = 0.3
    logreg: bool = True
    label_smoothing: float = 0.0
    num_items_per_epoch: int = 0
    test_freq: int = 1
    early_stop_epochs: int = 0
    use_perclass_regression: bool = False
    embeddings_size: int = 256
    # The paper's 0.5 and 64, made for millions of faces, spoil a pretrained base on some thousand pictures.
    angular_margin: float = 0.2
    angular_scale: float = 16.0
    weight_decay: float | None = None


@dataclass(frozen=True)
class Base:
    """Where the weights begin: `id` is `none`, a bundled base, `http` or `model` (api/run.ts).

    `digest` is of the weights' file, with `model` of the artifact's manifest. `path` is the folder that holds them.
    """

    id: str
    digest: str = ""
    url: str = ""
    path: Path = Path()
    deny_private_sources: bool = False


@dataclass(frozen=True)
class GatedConcept:
    """A metric, by its name in api/metrics.ts, of the concept at this place among the run's."""

    concept: int
    metric: str


@dataclass(frozen=True)
class TrainRun:
    """Train one version: dataset and base in, checkpoints and a published artifact below `output`.

    Of a run that only prepares for that, `output` is empty: it writes to what versions share.
    """

    attempt: int
    inputs_hash: str
    template: str
    template_revision: int
    hyperparameters: Hyperparameters
    seed: int
    concepts: list[str]
    dataset_path: Path
    dataset_digest: str
    split_digest: str
    base: Base
    # Their values become part of the record.
    gated: list[GatedConcept]
    output: Path
    # Of each node.
    threads: int
    gpus: int
    # Host and port where the processes of several nodes meet.
    rendezvous: tuple[str, int] | None
    # Detectors only: boxes that score below it are not returned.
    detection_score_threshold: float
    # Context-based classifiers only: the folder for what is derived of the dataset.
    derived: Path


@dataclass(frozen=True)
class InspectRun:
    """Verify the artifact below `output` and repeat its record."""

    inputs_hash: str
    gated: list[GatedConcept]
    output: Path


def read_envelope(path: Path) -> dict[str, Any]:
    """`task`, `uid` and `attempt` of a record, as far as a run file tells them, be it refused or not. Never raises."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        document = None
    given = document if isinstance(document, dict) else {}
    target = given.get("object")
    uid = target.get("uid") if isinstance(target, dict) else None
    attempt = given.get("attempt")
    is_number = isinstance(attempt, int) and not isinstance(attempt, bool) and attempt >= 1
    return {
        "task": "import" if given.get("task") == "import" else "train",
        "uid": uid if isinstance(uid, str) and len(uid) <= _MAX_UID_CHARACTERS else "",
        "attempt": attempt if is_number else 1,
    }


def read_run(path: Path) -> dict[str, Any]:
    """The run file as JSON that satisfies the schema. Raises Failure(InputInvalid) naming the field."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Failure("InputInvalid", f"The run file {path} cannot be read: {error}.") from None
    schema = json.loads(_SCHEMA.read_bytes())
    # The schemas of the tasks are alternatives: judge by the one that is asked for, so that messages name a field.
    task = document.get("task") if isinstance(document, dict) else None
    alternatives = {s["properties"]["task"]["const"]: s for s in schema["oneOf"]}
    if not isinstance(task, str) or task not in alternatives:
        raise Failure("InputInvalid", f"run file: task must be one of {', '.join(alternatives)}.")
    problem = best_match(Draft202012Validator(alternatives[task]).iter_errors(document))
    if problem is not None:
        field = ".".join(str(part) for part in problem.absolute_path) or "(root)"
        raise Failure("InputInvalid", f"run file: {field}: {problem.message[:500]}")
    return dict(document)


def train_run(document: dict[str, Any]) -> TrainRun:
    """The typed form of a run file whose task is `train`, or `prepare`: that has no output, and no GPU."""
    return TrainRun(
        attempt=document["attempt"],
        inputs_hash=document["inputsHash"],
        template=document["template"],
        template_revision=document["templateRevision"],
        hyperparameters=Hyperparameters(**document["hyperparameters"]),
        seed=document["seed"],
        concepts=document["concepts"],
        dataset_path=Path(document["dataset"]["path"]),
        dataset_digest=document["dataset"]["digest"],
        split_digest=document["dataset"]["splitDigest"],
        base=_base(document["base"]),
        gated=_gated(document),
        output=Path(document.get("output", "")),
        threads=document["threads"],
        gpus=document.get("gpus", 0),
        rendezvous=_rendezvous(document.get("rendezvous")),
        detection_score_threshold=document.get("detection_score_threshold", 0.0),
        derived=Path(document.get("derived", "")),
    )


def _rendezvous(given: dict[str, Any] | None) -> tuple[str, int] | None:
    return None if given is None else (given["host"], given["port"])


def _gated(document: dict[str, Any]) -> list[GatedConcept]:
    return [GatedConcept(**asked) for asked in document.get("gated", [])]


def _base(given: dict[str, Any]) -> Base:
    path = Path(given.get("path", ""))
    deny = given.get("denyPrivateSources", False)
    return Base(given["id"], given.get("digest", ""), given.get("url", ""), path, deny)


def inspect_run(document: dict[str, Any]) -> InspectRun:
    """The typed form of a run file whose task is `inspect`."""
    return InspectRun(
        inputs_hash=document["inputsHash"],
        gated=_gated(document),
        output=Path(document["output"]),
    )
