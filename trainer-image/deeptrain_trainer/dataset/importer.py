"""Imports a dataset: fetch, check every item, divide, publish, report.

Every expected end is a record (`ImportRecord` of api/record.ts) and an exit code; only surprises
raise.
"""

import contextlib
import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple, Protocol

from ..failure import Failure, Stopped
from .addresses import Policy
from .archive import Opened, open_archive
from .autoformat import format_of
from .checker import check_all
from .fetch import Request, fetch
from .findings import Findings, canonical_digest
from .folder import archive_inside, folder_members, resolved_inside
from .importrun import HttpSource, ImportRun, import_run
from .judge import CheckedFile, Found, judge
from .layouts import layout_of
from .member import MAX_FILE_BYTES, WHY_SO_FEW, LostLinkError, Member, UnreadableError
from .publish import DatasetWriter
from .sampler import Sampler
from .splits import Ratios
from .store import hex_of

_PROGRESS_SECONDS: Final = 2.0
_MAX_PROCESSES: Final = 2
# Failures that another format may not have.
_OF_THE_FORMAT: Final = frozenset(
    {"InputInvalid", "NoData", "InvalidDataToleranceExceeded", "ConceptsMismatch", "NoPositives"}
)

CheckStop = Callable[[], None]
"""Raises `Stopped` once the run is to end."""


class Reporter(Protocol):
    """Where the events of an import go (`ImportEvent` of api/progress.ts)."""

    def send(self, event: dict[str, Any], /) -> None:
        """Sends an event some time, or never; returns at once."""

    def deliver(self, event: dict[str, Any], /) -> None:
        """Returns when the event was acknowledged, and raises when it was not."""


class Settings(NamedTuple):
    """What is the same for every import in a pod. Tests set their own."""

    source_root: Path = Path("/source")
    """Where the claim is mounted that `pvc` paths are in."""
    allow_loopback: bool = False
    processes: int | None = None
    """Processes that check images; None = as many as there are cores, at most 2."""


def run_import(
    run: Mapping[str, Any],
    reporter: Reporter,
    check_stop: CheckStop = lambda: None,
    settings: Settings | None = None,
) -> dict[str, Any]:
    """Imports what the run file says.

    Args:
        run: The run file (`ImportRun` of api/run.ts); it has been checked against schema/run.json.
        reporter: Takes the progress, and at the end the report, which must be acknowledged.
        check_stop: Is called between any two files. SIGTERM ends an import without it too.
        settings: For tests.

    Returns:
        The fields of a published `ImportRecord` (api/record.ts), from `outcome` on.

    Raises:
        Failure: It did not succeed; nothing is left behind. `facts` has `invalid` and `badItems`
            where
            items are at fault.
        Stopped: SIGTERM; nothing is left behind.
    """
    with _stopping_on_sigterm():
        check_stop()
        task = _Import(import_run(run), reporter, check_stop, settings or Settings())
        return {"outcome": "published", **task.run()}


class Imported(NamedTuple):
    """Where an imported dataset is."""

    path: Path
    digest: str
    split_digest: str


def import_folder(
    folder: Path,
    datasets: Path,
    *,
    format: str = "imageFolder",
    frames_per_second: float | None = None,
    seed: int = 0,
    ratios: Ratios | None = None,
) -> Imported:
    """Imports a directory on this machine: for tests and trials.

    Args:
        folder: What is imported.
        datasets: Where it is stored.
        format: How its labels are laid out (`DatasetFormat` of api/dataset.ts).
        frames_per_second: How often videos are sampled; `videoFolder` and `auto` only.
        seed: Seed of the splits.
        ratios: Shares of the splits; None = those of the source, where it has some.

    Raises:
        Failure: It did not succeed.
    """
    run: dict[str, Any] = {
        "task": "import",
        "object": {"namespace": "local", "name": "local", "uid": f"local-{os.getpid()}"},
        "attempt": 1,
        "source": {"pvc": {"path": str(folder.resolve())}},
        "format": format,
        **({} if frames_per_second is None else {"framesPerSecond": frames_per_second}),
        "splits": {"seed": seed, **({"ratios": ratios._asdict()} if ratios else {})},
        "invalidPercent": 5,
        "datasets": str(datasets),
        "denyPrivateSources": False,
        "limits": {"archiveBytes": 2**40, "unpackedBytes": 2**40, "items": 10_000_000},
    }
    record = run_import(run, _Silent(), settings=Settings(source_root=folder.resolve()))
    path = datasets / hex_of(record["digest"])
    return Imported(path, record["digest"], record["splitDigest"])


class _Silent:
    """A reporter for imports that nobody watches."""

    def send(self, event: dict[str, Any], /) -> None:
        """Nothing."""

    def deliver(self, event: dict[str, Any], /) -> None:
        """Nothing."""


class _Progress:
    """Sends `import` events: at each new phase, then every two seconds at most."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._phase = ""
        self._next = 0.0

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if phase == self._phase and now < self._next:
            return
        self._phase = phase
        self._next = now + _PROGRESS_SECONDS
        event: dict[str, Any] = {"type": "import", "phase": phase, "done": done}
        if total is not None:
            event["total"] = total
        self._reporter.send(event)


class _Place(NamedTuple):
    """What is imported: an archive, or a folder of a claim."""

    path: Path
    is_folder: bool


class _Import:
    """One import."""

    def __init__(
        self, run: ImportRun, reporter: Reporter, check_stop: CheckStop, settings: Settings
    ) -> None:
        self._run = run
        self._reporter = reporter
        self._check_stop = check_stop
        self._settings = settings
        self._progress = _Progress(reporter)
        self._unread: list[CheckedFile] = []
        self._lost: set[str] = set()
        self._folders: set[str] = set()

    def run(self) -> dict[str, Any]:
        """Returns the record's part that speaks of the data."""
        with DatasetWriter(self._run.datasets, self._run.uid, self._run.attempt) as writer:
            place = self._place(writer.download)
            if self._run.format != "auto":
                return self._import(place, writer)
            with self._opened(place) as source:
                found = format_of(self._watched(source))
            self._run = replace(self._run, format=found.name)
            try:
                return self._import(place, writer, found.name)
            except Failure as failure:
                if failure.reason not in _OF_THE_FORMAT:
                    raise
                message, code = f"{failure.message} ({found.hint()})", failure.exit_code
                raise Failure(failure.reason, message, exit_code=code, **failure.facts) from failure

    def _import(
        self, place: _Place, writer: DatasetWriter, found_format: str = ""
    ) -> dict[str, Any]:
        self._layout = layout_of(self._run.format)
        with self._opened(place) as source:
            files = self._check(source, writer)
        found = Found(files, self._folders, self._lost)
        findings = judge(found, self._layout, self._run)
        return self._publish(findings._replace(found_format=found_format), writer)

    def _place(self, download: Path) -> _Place:
        """The folder or the archive that is imported."""
        source = self._run.source
        if isinstance(source, HttpSource):
            self._progress("downloading", 0, None)
            request = Request(
                url=source.url,
                max_bytes=self._run.archive_bytes,
                policy=Policy(self._run.deny_private_sources, self._settings.allow_loopback),
                sha256=source.sha256,
                progress=self._downloaded,
            )
            fetched = fetch(request, download)
            if isinstance(fetched, Failure):
                raise fetched
            return _Place(download, is_folder=False)
        path = resolved_inside(source.path, self._settings.source_root)
        return _Place(path, path.is_dir())

    @contextlib.contextmanager
    def _opened(self, place: _Place) -> Iterator[Opened]:
        limits, root = self._run.limits, self._settings.source_root
        if place.is_folder:
            yield Opened(folder_members(place.path, root, limits.entries), None)
            return
        with open_archive(archive_inside(place.path, root), limits) as opened:
            yield opened

    def _watched(self, source: Opened) -> Iterator[Member]:
        """The members, which are looked at before they are checked. The run may be stopped between any two."""
        for number, member in enumerate(source.members):
            self._check_stop()
            self._progress("checking", number, None)
            yield member

    def _downloaded(self, done: int, total: int | None) -> None:
        self._check_stop()
        self._progress("downloading", done, total)

    def _check(self, source: Opened, writer: DatasetWriter) -> list[CheckedFile]:
        """Checks every file and stores the bytes of the usable ones."""
        if self._run.format == "videoFolder":
            return self._sample(source, writer)
        files: list[CheckedFile] = []
        stored_bytes = 0
        processes = self._settings.processes or min(_MAX_PROCESSES, _cores())
        self._progress("checking", 0, source.total)
        for path, data, verdict in check_all(self._files(source), processes):
            files.append(
                CheckedFile(
                    path,
                    verdict.sha256,
                    len(data),
                    verdict.problem,
                    verdict.is_image,
                    verdict.width,
                    verdict.height,
                )
            )
            if verdict.problem is None:
                stored_bytes += len(data)
                self._check_amount(stored_bytes)
                writer.add(verdict.sha256, data)
            self._progress("checking", len(files), source.total)
        return files + self._unread

    def _sample(self, source: Opened, writer: DatasetWriter) -> list[CheckedFile]:
        """Checks every video and stores its frames."""
        files: list[CheckedFile] = []
        stored_bytes = 0
        self._progress("checking", 0, source.total)
        with Sampler(writer.spool, self._run.frames_per_second) as sampler:
            for done, (path, data) in enumerate(self._files(source), 1):
                found = sampler.sample(data)
                self._check_stop()
                if isinstance(found, str):
                    files.append(CheckedFile(path, b"", len(data), found, False))
                    continue
                video = hashlib.sha256(data).digest()
                for frame, jpeg in sampler.read(found):
                    stored_bytes += len(jpeg)
                    self._check_amount(stored_bytes)
                    writer.add(frame.sha256, jpeg)
                    size = (frame.width, frame.height)
                    files.append(
                        CheckedFile(
                            path, frame.sha256, len(jpeg), None, True, *size, video, frame.time_ms
                        )
                    )
                if len(files) > self._run.limits.entries:
                    raise Failure(
                        "ArchiveTooLarge",
                        f"the videos have more than {self._run.limits.entries} frames to take, "
                        f"{WHY_SO_FEW}: lower spec.framesPerSecond",
                    )
                self._progress("checking", done, source.total)
        return files + self._unread

    def _check_amount(self, stored_bytes: int) -> None:
        limit = self._run.limits.unpacked_bytes
        if stored_bytes > limit:
            raise Failure("ArchiveTooLarge", f"the items have more than {limit} bytes")

    def _files(self, source: Opened) -> Iterator[tuple[str, bytes]]:
        for member in source.members:
            self._check_stop()
            parent = member.path.rpartition("/")[0] if member.read else member.path
            while parent and parent not in self._folders:
                self._folders.add(parent)
                parent = parent.rpartition("/")[0]
            if member.read is None:
                continue
            # 0 where it is an item, or of no meaning.
            limit = self._layout.annotation_limit(member.path)
            try:
                if member.size > (limit or MAX_FILE_BYTES):
                    raise UnreadableError(
                        f"{member.size} bytes are more than {limit or MAX_FILE_BYTES}"
                    )
                data = member.read()
            except UnreadableError as error:
                if limit:
                    self._layout.lose(member.path, str(error))
                    continue
                if isinstance(error, LostLinkError):
                    self._lost.add(member.path)
                unread = CheckedFile(member.path, b"", member.size, str(error), False)
                self._unread.append(unread)
                continue
            if limit:
                self._layout.annotate(member.path, data)
            else:
                yield member.path, data

    def _publish(self, findings: Findings, writer: DatasetWriter) -> dict[str, Any]:
        self._progress("publishing", 0, None)
        full = {"badItems": [bad._asdict() for bad in findings.bad]}
        full_json = json.dumps(full, ensure_ascii=False, indent=1).encode("utf-8", "replace")
        digest, split_digest = writer.publish(findings.members, findings.splits, full_json)
        found = findings.report(digest, split_digest)
        try:
            self._reporter.deliver({"type": "report", "report": found})
        except (Failure, Stopped):
            raise
        except Exception as error:
            raise Failure(
                "ImportFailed", f"the report did not reach the operator: {error}"
            ) from error
        kept = ("digest", "splitDigest", "items", "invalid", "bytes")
        return {**{key: found[key] for key in kept}, "reportDigest": canonical_digest(found)}


def _cores() -> int:
    """Whole cores that this process may use: of the machine, and of its container's limit."""
    cores = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


@contextlib.contextmanager
def _stopping_on_sigterm() -> Iterator[None]:
    """SIGTERM raises `Stopped` where the import is, also inside a wait for the network; once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_signal: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Stopped

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
