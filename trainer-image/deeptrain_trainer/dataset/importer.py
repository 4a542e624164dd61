"""Imports a dataset: fetch, check every item, divide, publish, report.

Every expected end is a record (`ImportRecord` of api/record.ts) and an exit code; only surprises
raise.
"""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple, Protocol

from ..failure import Failure, Stopped
from .addresses import Policy
from .archive import Opened, open_archive
from .checker import check_all
from .fetch import Request, fetch
from .findings import BadItem, Findings, canonical_digest
from .folder import archive_inside, folder_members, resolved_inside
from .imagefolder import ImageFolder
from .importrun import HttpSource, ImportRun, import_run
from .member import MAX_FILE_BYTES, LostLinkError, UnreadableError, shown
from .publish import DatasetWriter, LabelledItem
from .splits import Member, Ratios, assign
from .store import hex_of

_PROGRESS_SECONDS: Final = 2.0
_MAX_PROCESSES: Final = 2
_RECORD_BAD_ITEMS: Final = 5
_RECORD_BAD_ITEMS_BYTES: Final = 1700
"""Leaves room for the rest of a record, which has 3 KiB in all."""

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


class _File(NamedTuple):
    """A file of the source after its check."""

    path: str
    sha256: bytes
    size: int
    problem: str | None
    is_image: bool


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
        frames_per_second: How often videos are sampled; `videoFolder` only.
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
        self._unread: list[_File] = []
        self._lost: set[str] = set()
        self._folders: set[str] = set()

    def run(self) -> dict[str, Any]:
        """Returns the record's part that speaks of the data."""
        with DatasetWriter(self._run.datasets, self._run.uid, self._run.attempt) as writer:
            with self._source(writer.download) as source:
                files = self._check(source, writer)
            findings = self._judge(files)
            return self._publish(findings, writer)

    @contextlib.contextmanager
    def _source(self, download: Path) -> Iterator[Opened]:
        source, limits = self._run.source, self._run.limits
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
            path = download
        else:
            path = resolved_inside(source.path, self._settings.source_root)
            if path.is_dir():
                root = self._settings.source_root
                yield Opened(folder_members(path, root, limits.entries), None)
                return
            path = archive_inside(path, self._settings.source_root)
        with open_archive(path, limits) as opened:
            yield opened

    def _downloaded(self, done: int, total: int | None) -> None:
        self._check_stop()
        self._progress("downloading", done, total)

    def _check(self, source: Opened, writer: DatasetWriter) -> list[_File]:
        """Checks every file and stores the bytes of the usable ones."""
        files: list[_File] = []
        stored_bytes = 0
        processes = self._settings.processes or min(_MAX_PROCESSES, _cores())
        self._progress("checking", 0, source.total)
        for path, data, verdict in check_all(self._files(source), processes):
            files.append(_File(path, verdict.sha256, len(data), verdict.problem, verdict.is_image))
            if verdict.problem is None:
                stored_bytes += len(data)
                if stored_bytes > self._run.limits.unpacked_bytes:
                    limit = self._run.limits.unpacked_bytes
                    raise Failure("ArchiveTooLarge", f"the items have more than {limit} bytes")
                writer.add(verdict.sha256, data)
            self._progress("checking", len(files), source.total)
        return files + self._unread

    def _files(self, source: Opened) -> Iterator[tuple[str, bytes]]:
        for member in source.members:
            self._check_stop()
            parent = member.path.rpartition("/")[0] if member.read else member.path
            while parent and parent not in self._folders:
                self._folders.add(parent)
                parent = parent.rpartition("/")[0]
            if member.read is None:
                continue
            if member.size > MAX_FILE_BYTES:
                problem = f"{member.size} bytes are more than {MAX_FILE_BYTES}"
                self._unread.append(_File(member.path, b"", member.size, problem, False))
                continue
            try:
                yield member.path, member.read()
            except UnreadableError as error:
                if isinstance(error, LostLinkError):
                    self._lost.add(member.path)
                self._unread.append(_File(member.path, b"", member.size, str(error), False))

    def _judge(self, files: list[_File]) -> Findings:
        """Tells items from bad items and from what is no item at all, and divides the items."""
        layout = ImageFolder(self._folders)
        members: list[Member] = []
        bad: list[BadItem] = []
        size = 0
        # Taken out one by one, so that what was found gives way to what is made of it.
        while files:
            file = files.pop()
            place = layout.place(file.path)
            if place is None:
                if file.path in self._lost:
                    raise Failure(
                        "SourceNotFound",
                        f"`{shown(file.path)}` is a link that leads nowhere, where a folder could be: "
                        "correct or remove it",
                    )
                # A README or a list of labels is welcome; a picture that would go unused is told.
                if file.is_image:
                    bad.append(BadItem(file.path, f"not at {layout.expected}"))
            elif file.problem is not None:
                bad.append(BadItem(file.path, file.problem))
            else:
                members.append(Member(file.sha256, place.concepts, place.split))
                size += file.size
        bad.sort()
        self._judge_amount(len(members), bad, layout)
        concepts = self._judge_concepts(members, layout, bad)
        # In three stable sorts, because tuples as keys would need half as much memory again.
        members.sort(key=lambda member: member.split or "")
        members.sort(key=attrgetter("concepts"))
        members.sort(key=attrgetter("group"))
        splits = assign(members, self._run.seed, self._run.ratios)
        return Findings(members, splits, concepts, bad, size)

    def _judge_amount(self, items: int, bad: list[BadItem], layout: ImageFolder) -> None:
        if not items and not bad:
            raise Failure("NoData", f"no images were found; expected {layout.expected}")
        if 100 * len(bad) > self._run.invalid_percent * (items + len(bad)):
            raise Failure(
                "InvalidDataToleranceExceeded",
                f"{len(bad)} of {items + len(bad)} items are invalid, more than the "
                f"{self._run.invalid_percent:g} % of spec.tolerance.invalidPercent",
                **_bad_facts(bad),
            )
        if not items:
            raise Failure("NoData", f"none of the {len(bad)} images can be used", **_bad_facts(bad))

    def _judge_concepts(
        self, members: list[Member], layout: ImageFolder, bad: list[BadItem]
    ) -> tuple[str, ...]:
        found = layout.concepts
        wanted = self._run.concepts
        if wanted is not None and set(wanted) != set(found):
            missing = [name for name in wanted if name not in set(found)]
            surplus = [name for name in found if name not in set(wanted)]
            raise Failure(
                "ConceptsMismatch",
                f"spec.concepts: missing in the data: {_listed(missing)}; not in spec.concepts: "
                f"{_listed(surplus)}",
            )
        shown_by = {concept for member in members for concept in member.concepts}
        empty = [name for name in found if name not in shown_by]
        if empty:
            raise Failure(
                "NoPositives",
                f"no usable item shows {_listed(empty)}: fill the folder, or remove it",
                **_bad_facts(bad),
            )
        return wanted or found

    def _publish(self, findings: Findings, writer: DatasetWriter) -> dict[str, Any]:
        self._progress("publishing", 0, None)
        items = [LabelledItem(member.group, member.concepts) for member in findings.members]
        full = {"badItems": [bad._asdict() for bad in findings.bad]}
        full_json = json.dumps(full, ensure_ascii=False, indent=1).encode("utf-8", "replace")
        digest, split_digest = writer.publish(items, findings.splits, full_json)
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


def _listed(names: list[str], most: int = 10) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"`{name}`" for name in names[:most]) + more


def _bad_facts(bad: list[BadItem]) -> dict[str, Any]:
    """The fields of a failed record that speak of bad items: as many of the first as there is room
    for.
    """
    items: list[dict[str, str]] = []
    left = _RECORD_BAD_ITEMS_BYTES
    for item in bad[:_RECORD_BAD_ITEMS]:
        items.append(item.to_json(path_units=200, problem_units=120))
        left -= len(json.dumps(items[-1], ensure_ascii=False).encode())
        if left < 0:
            items.pop()
            break
    return {"invalid": len(bad), "badItems": items}


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
