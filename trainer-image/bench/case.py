"""One comparison: what is trained, and the figures that come of the sides' turns. Nothing here runs anything."""

from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

OURS, R0, R1 = "ours", "R0", "R1"
SIDES = (OURS, R0, R1)
_MEGABYTE = 1e6


@dataclass(frozen=True)
class Case:
    """The same for all sides. `folder` holds train/<concept>/ and validation/<concept>/; `dataset` is it as stored."""

    backbone: str
    base: str
    image_size: int
    batch_size: int
    lrate: float
    epochs: int
    top1: float
    threads: int
    workers: int
    gpus: int
    # bf16 for R1 where the hardware and the network gain by it.
    tuned_bf16: bool
    # PyTorch's huge pages for R1: ours has them always.
    tuned_huge_pages: bool
    folder: Path
    dataset: dict[str, str]
    concepts: list[str]
    work: Path

    def to_json(self) -> dict[str, Any]:
        """For the sides' processes."""
        return {**asdict(self), "folder": str(self.folder), "work": str(self.work)}

    @staticmethod
    def from_json(document: dict[str, Any]) -> "Case":
        """What `to_json` made."""
        paths = {"folder": Path(document["folder"]), "work": Path(document["work"])}
        return Case(**{**document, **paths})


@dataclass(frozen=True)
class Start:
    """How long a side took, in seconds, before its first step: from exec to imported, from there to ready."""

    import_seconds: float
    prepare_seconds: float
    device: str
    precision: str

    @property
    def seconds(self) -> float:
        """Before the first step."""
        return self.import_seconds + self.prepare_seconds


@dataclass(frozen=True)
class Turn:
    """One epoch of a side: steps alone, then all of it with validation and checkpoint."""

    images: int
    train_seconds: float
    seconds: float
    top1: float

    @property
    def images_per_second(self) -> float:
        """Of the training steps alone."""
        return self.images / self.train_seconds


@dataclass(frozen=True)
class Race:
    """All turns of one side in one case."""

    start: Start
    turns: list[Turn]
    peak_bytes: int

    @property
    def steady(self) -> list[float]:
        """Images per second of each turn but the first, which allocates and chooses kernels."""
        return [turn.images_per_second for turn in self.turns[1:] or self.turns]

    @property
    def cold_images_per_second(self) -> float:
        """Of the process's whole life: imports, opening and caching of the data, all epochs."""
        total = self.start.seconds + sum(turn.seconds for turn in self.turns)
        return sum(turn.images for turn in self.turns) / total

    def seconds_to(self, top1: float) -> float | None:
        """Training, validation and checkpoints until the validation split first reached `top1`; None: it never did."""
        seconds = 0.0
        for turn in self.turns:
            seconds += turn.seconds
            if turn.top1 >= top1:
                return seconds
        return None


def figures(case: Case, races: dict[str, Race]) -> dict[str, Any]:
    """The case's part of the result. Ratios above 1 say that ours is faster."""
    ours = races[OURS]
    result: dict[str, Any] = {
        "backbone": case.backbone,
        "base": case.base,
        "image_size": case.image_size,
        "batch_size": case.batch_size,
        "lrate": case.lrate,
        "epochs": case.epochs,
        "top1": case.top1,
    }
    for name in (R0, R1):
        theirs = races[name]
        pairs = zip(ours.steady, theirs.steady, strict=True)
        result[f"ratio{name}"] = _rounded(median(a / b for a, b in pairs))
        result[f"coldRatio{name}"] = _rounded(
            ours.cold_images_per_second / theirs.cold_images_per_second
        )
        result[f"timeToTop1Ratio{name}"] = _time_ratio(ours, theirs, case.top1, cold=False)
        result[f"coldTimeToTop1Ratio{name}"] = _time_ratio(ours, theirs, case.top1, cold=True)
    result["sides"] = {name: _side(races[name], case.top1) for name in SIDES}
    return result


def _time_ratio(ours: Race, theirs: Race, top1: float, *, cold: bool) -> float | None:
    a, b = ours.seconds_to(top1), theirs.seconds_to(top1)
    if a is None or b is None:
        return None
    if cold:
        a, b = a + ours.start.seconds, b + theirs.start.seconds
    return _rounded(b / a)


def _side(race: Race, top1: float) -> dict[str, Any]:
    warm = race.seconds_to(top1)
    reached: dict[str, float | str] = {"warm": "not reached", "cold": "not reached"}
    if warm is not None:
        reached = {"warm": _rounded(warm), "cold": _rounded(warm + race.start.seconds)}
    return {
        "device": race.start.device,
        "precision": race.start.precision,
        "importSeconds": _rounded(race.start.import_seconds),
        "prepareSeconds": _rounded(race.start.prepare_seconds),
        "imagesPerSecond": _rounded(median(race.steady)),
        "coldImagesPerSecond": _rounded(race.cold_images_per_second),
        "secondsToTop1": reached,
        "peakMegabytes": round(race.peak_bytes / _MEGABYTE),
        "validationTop1": [_rounded(turn.top1) for turn in race.turns],
        "rounds": [_rounded(turn.images_per_second) for turn in race.turns],
    }


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
