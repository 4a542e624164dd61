"""The run file of an import (`ImportRun` of api/run.ts), as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..failure import Failure
from .archive import Limits
from .splits import Ratios


@dataclass(frozen=True)
class HttpSource:
    """An archive that is fetched."""

    url: str
    sha256: str | None


@dataclass(frozen=True)
class PvcSource:
    """A directory or an archive in a mounted claim."""

    path: Path


@dataclass(frozen=True)
class ImportRun:
    """What is to be imported, and into which directory."""

    uid: str
    attempt: int
    source: HttpSource | PvcSource
    format: str
    frames_per_second: float
    """How often videos are sampled."""
    seed: int
    ratios: Ratios | None
    concepts: tuple[str, ...] | None
    """The closed list of concepts, in the order that the report has; None = those that are found.
    """
    invalid_percent: float
    datasets: Path
    deny_private_sources: bool
    archive_bytes: int
    limits: Limits


def import_run(value: Mapping[str, Any]) -> ImportRun:
    """The run that `value` describes; it has been checked against schema/run.json.

    Raises:
        Failure: `InputInvalid`: the ratios do not add up to 1.
    """
    source = value["source"]
    splits = value.get("splits", {})
    limits = value["limits"]
    concepts = value.get("concepts")
    return ImportRun(
        uid=value["object"]["uid"],
        attempt=value["attempt"],
        source=HttpSource(source["http"]["url"], source["http"].get("sha256"))
        if "http" in source
        else PvcSource(Path(source["pvc"]["path"])),
        format=value["format"],
        frames_per_second=value.get("framesPerSecond", 1),
        seed=splits.get("seed", 0),
        ratios=_ratios(splits.get("ratios")),
        concepts=None if concepts is None else tuple(concepts),
        invalid_percent=value["invalidPercent"],
        datasets=Path(value["datasets"]),
        deny_private_sources=value["denyPrivateSources"],
        archive_bytes=limits["archiveBytes"],
        limits=Limits(limits["unpackedBytes"], limits["items"]),
    )


def _ratios(value: Mapping[str, float] | None) -> Ratios | None:
    if value is None:
        return None
    ratios = Ratios(value["train"], value["validation"], value["test"])
    if abs(sum(ratios) - 1) > 1e-6:
        raise Failure(
            "InputInvalid",
            f"spec.splits.ratios: they add up to {sum(ratios):g}; they must add up to 1",
        )
    return ratios
