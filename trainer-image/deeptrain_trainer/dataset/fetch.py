"""Downloads an archive over HTTP into a file: bounded, checked, resumed when it is cut.

A host is resolved once, its addresses are judged, and the connection goes to a judged address; so a
name that answers differently the second time gains nothing. Redirects go through the same door.
Proxy settings of the environment are not read: a proxy would resolve names itself.
"""

import contextlib
import errno
import hashlib
import http.client
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from ..failure import EXIT_CRASHED, EXIT_INPUT_AT_FAULT, Failure
from . import addresses
from .addresses import Policy, Resolved
from .member import shown
from .publish import naming_full_disk

MAX_REDIRECTS: Final = 5
_TRIES_WITHOUT_PROGRESS: Final = 5
_PROGRESS_BYTES: Final = 64 * 1024
_CONNECT_SECONDS: Final = 10.0
_READ_BYTES: Final = 256 * 1024
_LEAST_BYTES_PER_STALL: Final = 1024
_MAX_RETRY_AFTER_SECONDS: Final = 60.0
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_SAFE: Final = "%/:=&?~+!$,;'()*[]@"


class DownloadFailure(Failure):
    """Why a download ended without a file."""

    def __init__(self, reason: str, message: str, *, retryable: bool) -> None:
        """`retryable`: a later attempt may succeed without any change to the source."""
        exit_code = EXIT_CRASHED if retryable else EXIT_INPUT_AT_FAULT
        super().__init__(reason, message, exit_code=exit_code)
        self.retryable = retryable


@dataclass(frozen=True)
class Fetched:
    """A complete download."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Request:
    """What is downloaded, and how patiently."""

    url: str
    max_bytes: int
    policy: Policy
    sha256: str | None = None
    sha256_field: str = "spec.source.http.sha256"
    """The field that `sha256` is from, for the message."""
    stall_seconds: float = 30.0
    progress: Callable[[int, int | None], None] = lambda done, total: None
    """Called with the bytes that are there, and in all where that is known."""
    sleep: Callable[[float], None] = time.sleep
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)


class _TransientError(Exception):
    """Worth another try at once."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def fetch(request: Request, target: Path) -> Fetched | Failure:
    """Downloads to `target`, which must not exist.

    Returns:
        What was fetched; or the failure, with the reason `DownloadFailed`, `SourceNotFound`,
        `SourceForbidden`, `ArchiveTooLarge`, `ChecksumMismatch` or `DiskFull`.
    """
    try:
        with target.open("xb") as file:
            download = _Download(request, file)
            with naming_full_disk(target, _READ_BYTES):
                download.run()
                file.flush()
    except Failure as failure:
        return failure
    found = download.sha256.hexdigest()
    if request.sha256 is not None and found != request.sha256:
        return DownloadFailure(
            "ChecksumMismatch",
            f"{plain(request.url)}: its SHA-256 is {found}, not {request.sha256} as "
            f"{request.sha256_field} says",
            retryable=False,
        )
    return Fetched(download.received, found)


def plain(url: str) -> str:
    """A URL for messages: without the query, which may hold a signature, and without credentials."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        query = "?…" if parts.query else ""
        return shown(f"{parts.scheme}://{host}{parts.path}{query}")
    except ValueError:
        return "the URL"


class _Download:
    """The state of one download over all its tries."""

    def __init__(self, request: Request, file: BinaryIO) -> None:
        self._request = request
        self._file = file
        self.received = 0
        self.sha256 = hashlib.sha256()
        self._total: int | None = None
        self._validator: str | None = None

    def run(self) -> None:
        failures = 0
        while True:
            before = self.received
            try:
                self._try()
                return
            except (_TransientError, OSError, http.client.HTTPException) as error:
                if isinstance(error, OSError) and error.errno in (
                    errno.ENOSPC,
                    errno.EDQUOT,
                ):
                    raise
                failures = 1 if self.received - before >= _PROGRESS_BYTES else failures + 1
                if failures >= _TRIES_WITHOUT_PROGRESS:
                    detail = shown(" ".join(str(error).split()) or type(error).__name__)
                    raise DownloadFailure(
                        "DownloadFailed",
                        f"{plain(self._request.url)}: {detail} (after {failures} tries)",
                        retryable=True,
                    ) from error
                asked = error.retry_after if isinstance(error, _TransientError) else 0.0
                self._request.sleep(max(2.0 ** (failures - 1), asked))

    def _try(self) -> None:
        headers = {}
        if self.received and self._validator:
            headers = {"Range": f"bytes={self.received}-", "If-Range": self._validator}
        with _opened(self._request, headers) as response:
            if response.status == 206 and not self._continues(response):
                self._restart()
                raise _TransientError("the server continued another file than it began")
            if response.status == 416:
                self._restart()
                raise _TransientError("the server has no such range")
            if response.status == 200:
                self._restart()
                self._total = _length(response)
                self._validator = _validator(response)
                self._check_room()
            self._receive(response)
        if self._total is not None and self.received != self._total:
            raise _TransientError(f"cut off after {self.received} of {self._total} bytes")

    def _continues(self, response: http.client.HTTPResponse) -> bool:
        span = (response.headers.get("Content-Range") or "").removeprefix("bytes ")
        begin = span.partition("-")[0]
        total = span.rpartition("/")[2]
        return (
            begin == str(self.received)
            and (self._total is None or total in ("*", str(self._total)))
            and _validator(response) in (None, self._validator)
        )

    def _restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self.received = 0
        self.sha256 = hashlib.sha256()
        self._total = None
        self._validator = None

    def _check_room(self) -> None:
        if self._total is None:
            return
        if self._total > self._request.max_bytes:
            self._too_large(self._total)
        folder = Path(self._file.name).parent
        free = shutil.disk_usage(folder).free
        if self._total > free:
            raise Failure(
                "DiskFull",
                f"{folder}: the archive has {self._total} bytes, and {free} are free; give the claim more "
                "room, then set the annotation deeptrain.dev/retry",
            )

    def _too_large(self, size: int) -> None:
        raise DownloadFailure(
            "ArchiveTooLarge",
            f"{plain(self._request.url)}: {size} bytes are more than the {self._request.max_bytes} that "
            "are allowed",
            retryable=False,
        )

    def _receive(self, response: http.client.HTTPResponse) -> None:
        window_end = time.monotonic() + self._request.stall_seconds
        window_bytes = 0
        while data := response.read1(_READ_BYTES):
            if self.received + len(data) > self._request.max_bytes:
                self._too_large(self.received + len(data))
            self._file.write(data)
            self.sha256.update(data)
            self.received += len(data)
            self._request.progress(self.received, self._total)
            window_bytes += len(data)
            # A server that drips a byte now and then never runs into the socket's own timeout.
            if time.monotonic() > window_end:
                if window_bytes < _LEAST_BYTES_PER_STALL:
                    raise _TransientError("stalled")
                window_end = time.monotonic() + self._request.stall_seconds
                window_bytes = 0


@contextlib.contextmanager
def _opened(request: Request, headers: dict[str, str]) -> Iterator[http.client.HTTPResponse]:
    """The answer to the request, after redirects: status 200, 206 or 416."""
    url = request.url
    if "#" in url:
        raise _forbidden(url, "has a fragment")
    for _ in range(MAX_REDIRECTS + 1):
        connection = _connection(url, request)
        with contextlib.closing(connection):
            parts = urlsplit(url)
            path = quote(parts.path or "/", safe=_SAFE)
            query = f"?{quote(parts.query, safe=_SAFE)}" if parts.query else ""
            connection.request("GET", path + query, headers={**_HEADERS, **headers})
            response = connection.getresponse()
            if response.status not in _REDIRECTS:
                _judge(response, url)
                yield response
                return
            url = _redirected(url, response.headers.get("Location"))
    raise DownloadFailure(
        "DownloadFailed",
        f"{plain(request.url)}: more than {MAX_REDIRECTS} redirects",
        retryable=False,
    )


# Identity: a compressed transfer would change the bytes that the checksum is about.
_HEADERS: Final = {"User-Agent": "deeptrain-importer", "Accept-Encoding": "identity"}


def _connection(url: str, request: Request) -> "_Connection":
    """A connection, not yet made, to a judged address of the URL's host."""
    parts, host, port = _parsed(url)
    found = addresses.resolve(host, port)
    for address in found:
        problem = addresses.refusal(address.address[0], request.policy)
        if problem is not None:
            raise _forbidden(url, f"leads to the {problem}")
    tls = request.tls if parts.scheme == "https" else None
    return _Connection(host, port, found, request.stall_seconds, tls)


def _parsed(url: str) -> tuple[SplitResult, str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = (parts.hostname or "").encode("idna").decode()
    except ValueError as error:
        raise _forbidden(url, "is not a valid URL") from error
    if parts.scheme not in ("http", "https"):
        raise _forbidden(url, "is neither http:// nor https://")
    if "@" in parts.netloc:
        raise _forbidden(url, "has credentials in it")
    if not host:
        raise _forbidden(url, "names no host")
    return parts, host, port


def _redirected(url: str, location: str | None) -> str:
    if not location:
        raise DownloadFailure(
            "DownloadFailed", f"{plain(url)}: a redirect without an address", retryable=False
        )
    target = urljoin(url, location).partition("#")[0]
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme == "http":
        raise _forbidden(target, "is a redirect from https to http")
    return target


def _forbidden(url: str, problem: str) -> DownloadFailure:
    return DownloadFailure("SourceForbidden", f"{plain(url)} {problem}", retryable=False)


def _judge(response: http.client.HTTPResponse, url: str) -> None:
    status = response.status
    if status in (200, 206, 416):
        return
    answer = f"{plain(url)}: HTTP {status} {shown(response.reason, 60)}".rstrip()
    if status in (404, 410):
        raise DownloadFailure("SourceNotFound", answer, retryable=False)
    if status in _TRANSIENT:
        after = response.headers.get("Retry-After") or ""
        seconds = float(after[:4]) if after.isdigit() else 0.0
        raise _TransientError(answer, min(seconds, _MAX_RETRY_AFTER_SECONDS))
    raise DownloadFailure("DownloadFailed", answer, retryable=False)


def _length(response: http.client.HTTPResponse) -> int | None:
    # http.client has read the header, and knows that chunks overrule it.
    return response.length


def _validator(response: http.client.HTTPResponse) -> str | None:
    """What tells whether the file is still the same: only a strong ETag or a date may be used with
    ranges.
    """
    etag = response.headers.get("ETag")
    if etag and etag.startswith('"'):
        return etag
    return None if etag else response.headers.get("Last-Modified")


class _Connection(http.client.HTTPConnection):
    """Connects to given addresses, while Host and the TLS name stay those of the URL."""

    def __init__(
        self,
        host: str,
        port: int,
        found: list[Resolved],
        timeout: float,
        tls: ssl.SSLContext | None,
    ) -> None:
        super().__init__(host, port, timeout=timeout)
        # The default port is left out of the Host header.
        self.default_port = 443 if tls else 80
        self._found = found
        self._tls = tls

    def connect(self) -> None:
        """Tries the addresses in order."""
        problem: OSError = OSError("the host has no address")
        for family, address in self._found:
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                connection.settimeout(min(_CONNECT_SECONDS, self.timeout or _CONNECT_SECONDS))
                connection.connect(address)
                connection.settimeout(self.timeout)
                self.sock = (
                    self._tls.wrap_socket(connection, server_hostname=self.host)
                    if self._tls
                    else connection
                )
                return
            except OSError as error:
                connection.close()
                problem = error
        raise problem
