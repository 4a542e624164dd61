"""Pictures, archives and run files for the tests of the import."""

import io
import itertools
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from contract import assert_event, assert_record
from PIL import Image

from deeptrain_trainer.dataset.importer import Settings, run_import
from deeptrain_trainer.failure import Failure, Stopped
from deeptrain_trainer.record import failed

UID = "0f8fad5b-d9cb-469f-a165-70867728950e"
COMMON = {"task": "import", "uid": UID, "attempt": 1}


def picture(number: int, image_format: str = "PNG", side: int = 8) -> bytes:
    """A small picture; another number gives another one."""
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, image_format)
    return out.getvalue()


def pictures(concepts: dict[str, int], start: int = 0) -> dict[str, bytes]:
    """`<concept>/<number>.png` for each concept, that many; no two alike."""
    names = [f"{concept}/{n}.png" for concept, count in concepts.items() for n in range(count)]
    return {name: picture(start + place) for place, name in enumerate(names)}


def tar_entry(name: str, data: bytes = b"", **fields: Any) -> tarfile.TarInfo:
    """The header of an entry."""
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    for key, value in fields.items():
        setattr(entry, key, value)
    return entry


def tar_of(
    files: dict[str, bytes], extra: list[tarfile.TarInfo] | None = None, mode: str = "w"
) -> bytes:
    """A tar archive of the files, then the entries without content. A name that ends in / is a folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            kind = {"type": tarfile.DIRTYPE} if name.endswith("/") else {}
            archive.addfile(tar_entry(name, data, **kind), io.BytesIO(data))
        for entry in extra or []:
            archive.addfile(entry)
    return out.getvalue()


def zip_of(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive of the files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    """The files in a folder. A name that ends in / is a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(data)
    return folder


def stopping_after(checks: int) -> Callable[[], None]:
    """Raises Stopped when it is asked more often."""
    asked = itertools.count(1)

    def check_stop() -> None:
        if next(asked) > checks:
            raise Stopped

    return check_stop


class Recorder:
    """A reporter that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.delivered: list[dict[str, Any]] = []

    def send(self, event: dict[str, Any], /) -> None:
        assert_event(event, "import")
        self.sent.append(event)

    def deliver(self, event: dict[str, Any], /) -> None:
        assert_event(event, "import")
        self.delivered.append(event)

    @property
    def report(self) -> dict[str, Any]:
        return self.delivered[-1]["report"]


class Place:
    """A source and a store in a temporary folder."""

    def __init__(self, root: Path) -> None:
        self.source = root / "source"
        self.source.mkdir()
        self.datasets = root / "store" / "datasets"
        self.reporter = Recorder()
        self.format = "imageFolder"

    def run_file(self, source: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """An ImportRun."""
        return {
            "task": "import",
            "object": {"namespace": "team", "name": "photos", "uid": UID},
            "attempt": 1,
            "source": source,
            "format": self.format,
            "invalidPercent": 5,
            "datasets": str(self.datasets),
            "denyPrivateSources": False,
            "limits": {"archiveBytes": 10**8, "unpackedBytes": 10**8, "items": 10_000},
            **changes,
        }

    def run(self, source: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """Imports; the record's fields. Raises Failure and Stopped."""
        settings = Settings(source_root=self.source, allow_loopback=True, processes=1)
        run = self.run_file(source, **changes)
        try:
            record = run_import(run, self.reporter, settings=settings)
        except Failure as failure:
            assert_record({**COMMON, **failed(failure), **failure.facts})
            raise
        assert_record({**COMMON, **record})
        return record

    def run_archive(self, data: bytes, **changes: Any) -> dict[str, Any]:
        """Imports an archive from the claim."""
        (self.source / "archive").write_bytes(data)
        return self.run({"pvc": {"path": str(self.source / "archive")}}, **changes)

    def run_folder(self, files: dict[str, bytes], **changes: Any) -> dict[str, Any]:
        """Imports a folder of the claim."""
        folder = self.source / "photos"
        folder.mkdir(exist_ok=True)
        write_files(folder, files)
        return self.run({"pvc": {"path": str(folder)}}, **changes)

    def failure(self, data: bytes | dict[str, bytes], **changes: Any) -> Failure:
        """How the import of an archive or a folder fails, having left nothing behind."""
        try:
            record = (
                self.run_archive(data, **changes)
                if isinstance(data, bytes)
                else self.run_folder(data, **changes)
            )
        except Failure as failure:
            assert self.left() == [], "something was left in the store"
            assert self.reporter.delivered == []
            return failure
        raise AssertionError(f"it was imported: {record}")

    def left(self) -> list[str]:
        """What lies in the store, hidden or not."""
        return sorted(path.name for path in self.datasets.iterdir())
