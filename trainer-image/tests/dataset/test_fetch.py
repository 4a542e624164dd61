"""Downloads from servers that fail in all the usual ways. They serve on loopback, which only tests may fetch from."""

import hashlib
import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deeptrain_trainer.dataset import addresses
from deeptrain_trainer.dataset import fetch as fetch_module
from deeptrain_trainer.dataset.addresses import Policy, Resolved
from deeptrain_trainer.dataset.fetch import Fetched, Request, fetch, plain
from deeptrain_trainer.failure import Failure

DATA = random.Random(0).randbytes(600_000)
SHA256 = hashlib.sha256(DATA).hexdigest()

Answer = Callable[["Handler", int], None]


class Handler(BaseHTTPRequestHandler):
    """Answers request number n as the test says."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self) -> None:
        self.server.requests.append(self)
        self.close_connection = True
        self.server.answer(self, len(self.server.requests))

    def reply(
        self, status: int, body: bytes = b"", length: int | None = None, **headers: str
    ) -> None:
        """An answer; `length` lies about the body."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


class Server(ThreadingHTTPServer):
    """A server on loopback."""

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer = answer
        self.requests: list[Handler] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/set.tar.gz"

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up is what some tests are about."""


@contextmanager
def serving(answer: Answer) -> Iterator[Server]:
    with Server(answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Client:
    """Fetches into a temporary folder."""

    def __init__(self, folder: Path) -> None:
        self.target = folder / "download"
        self.slept: list[float] = []

    def fetch(self, url: str, **changes: Any) -> Fetched | Failure:
        given = {
            "max_bytes": 10**7,
            "policy": Policy(deny_private=False, allow_loopback=True),
            "stall_seconds": 5.0,
            "sleep": self.slept.append,
            **changes,
        }
        return fetch(Request(url=url, **given), self.target)

    def failure(self, url: str, **changes: Any) -> Failure:
        result = self.fetch(url, **changes)
        assert isinstance(result, Failure), result
        return result


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path)


def test_a_file_arrives_whole(client: Client) -> None:
    seen: list[tuple[int, int | None]] = []
    with serving(lambda handler, n: handler.reply(200, DATA)) as server:
        result = client.fetch(
            server.url, sha256=SHA256, progress=lambda done, total: seen.append((done, total))
        )
    assert result == Fetched(len(DATA), SHA256)
    assert client.target.read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA))
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


def test_a_chunked_answer_arrives_whole(client: Client) -> None:
    def answer(handler: Handler, _: int) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(DATA), 100_000):
            part = DATA[start : start + 100_000]
            handler.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")

    with serving(answer) as server:
        assert client.fetch(server.url) == Fetched(len(DATA), SHA256)


def test_another_checksum_is_told_with_both(client: Client) -> None:
    with serving(lambda handler, n: handler.reply(200, DATA)) as server:
        failure = client.failure(server.url, sha256="0" * 64)
    assert failure.reason == "ChecksumMismatch"
    assert SHA256 in failure.message and "0" * 64 in failure.message
    assert failure.message.endswith("as spec.source.http.sha256 says")
    assert failure.exit_code == 42


def test_another_checksum_names_the_field_that_it_is_from(client: Client) -> None:
    with serving(lambda handler, n: handler.reply(200, DATA)) as server:
        failure = client.failure(server.url, sha256="0" * 64, sha256_field="spec.other")
    assert failure.message.endswith(f"not {'0' * 64} as spec.other says")


@pytest.mark.parametrize(
    ("status", "reason", "code", "tries"),
    [
        (404, "SourceNotFound", 42, 1),
        (410, "SourceNotFound", 42, 1),
        (401, "DownloadFailed", 42, 1),
        (403, "DownloadFailed", 42, 1),
        (204, "DownloadFailed", 42, 1),
        (429, "DownloadFailed", 1, 5),
        (503, "DownloadFailed", 1, 5),
    ],
)
def test_a_status_is_named_and_judged(
    client: Client, status: int, reason: str, code: int, tries: int
) -> None:
    with serving(lambda handler, n: handler.reply(status)) as server:
        failure = client.failure(f"{server.url}?signature=secret")
    assert (failure.reason, failure.exit_code) == (reason, code)
    assert f"HTTP {status}" in failure.message
    assert "secret" not in failure.message
    assert len(server.requests) == tries


def test_a_server_that_asks_for_patience_gets_it(client: Client) -> None:
    def answer(handler: Handler, n: int) -> None:
        if n == 1:
            handler.reply(503, Retry_After="7")
        else:
            handler.reply(200, DATA)

    with serving(answer) as server:
        assert client.fetch(server.url) == Fetched(len(DATA), SHA256)
    assert client.slept == [7.0]


@pytest.mark.parametrize("etag", ['"v1"', None], ids=["etag", "date"])
def test_a_cut_download_goes_on_where_it_was(client: Client, etag: str | None) -> None:
    headers = {"ETag": etag} if etag else {"Last-Modified": "Mon, 24 Nov 2025 15:00:00 GMT"}
    served: list[int] = []

    def answer(handler: Handler, n: int) -> None:
        asked = handler.headers["Range"]
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        served.append(start)
        body = DATA[start : start + 250_000]
        if asked:
            assert handler.headers["If-Range"] == next(iter(headers.values()))
            span = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
            handler.reply(206, body, len(DATA) - start, Content_Range=span, **headers)
        else:
            handler.reply(200, body, len(DATA), **headers)

    with serving(answer) as server:
        assert client.fetch(server.url, sha256=SHA256) == Fetched(len(DATA), SHA256)
    assert served == [0, 250_000, 500_000]


def test_a_file_that_changed_between_parts_is_begun_anew(client: Client) -> None:
    new = DATA[::-1]

    def answer(handler: Handler, n: int) -> None:
        if n == 1:
            handler.reply(200, DATA[:250_000], len(DATA), ETag='"v1"')
        elif n == 2:
            # Wrongly continues although the ETag is another one.
            span = f"bytes 250000-{len(new) - 1}/{len(new)}"
            handler.reply(206, new[250_000:], Content_Range=span, ETag='"v2"')
        else:
            handler.reply(200, new, ETag='"v2"')

    with serving(answer) as server:
        result = client.fetch(server.url)
    assert result == Fetched(len(new), hashlib.sha256(new).hexdigest())
    assert client.target.read_bytes() == new


def test_a_server_without_ranges_is_asked_for_all_of_it_again(client: Client) -> None:
    def answer(handler: Handler, n: int) -> None:
        assert handler.headers["Range"] is None
        handler.reply(200, DATA if n == 3 else DATA[:100_000], len(DATA))

    with serving(answer) as server:
        assert client.fetch(server.url) == Fetched(len(DATA), SHA256)


def test_a_server_that_always_cuts_is_given_up(client: Client) -> None:
    with serving(lambda handler, n: handler.reply(200, DATA[:1000], len(DATA))) as server:
        failure = client.failure(server.url)
    assert (failure.reason, failure.exit_code) == ("DownloadFailed", 1)
    assert f"1000 of {len(DATA)} bytes" in failure.message
    assert client.slept == [1.0, 2.0, 4.0, 8.0]


def test_a_chunked_answer_that_is_cut_is_not_taken_for_whole(client: Client) -> None:
    def answer(handler: Handler, _: int) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"ffff\r\n" + DATA[:100])

    with serving(answer) as server:
        assert client.failure(server.url).reason == "DownloadFailed"


@pytest.mark.parametrize("drips", [False, True])
def test_a_stalled_download_is_given_up(client: Client, drips: bool) -> None:
    over = threading.Event()

    def answer(handler: Handler, _: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(DATA)))
        handler.end_headers()
        while not over.wait(0.05):
            if drips:
                handler.wfile.write(b"x")

    with serving(answer) as server:
        failure = client.failure(server.url, stall_seconds=0.3)
        over.set()
    assert (failure.reason, failure.exit_code) == ("DownloadFailed", 1)
    assert "stalled" in failure.message or "timed out" in failure.message


@pytest.mark.parametrize("stated", [True, False], ids=["stated", "unstated"])
def test_more_bytes_than_allowed_are_not_downloaded(client: Client, stated: bool) -> None:
    def answer(handler: Handler, _: int) -> None:
        if stated:
            handler.reply(200, DATA[:10], 10**12)
        else:
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(DATA)

    with serving(answer) as server:
        failure = client.failure(server.url, max_bytes=500_000)
    assert (failure.reason, failure.exit_code) == ("ArchiveTooLarge", 42)
    assert "500000" in failure.message
    assert client.target.stat().st_size <= 500_000


def test_a_disk_that_is_too_small_is_told_before_it_is_full(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        fetch_module.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000})
    )
    with serving(lambda handler, n: handler.reply(200, DATA)) as server:
        failure = client.failure(server.url)
    assert (failure.reason, failure.exit_code) == ("DiskFull", 1)
    assert str(len(DATA)) in failure.message and str(client.target.parent) in failure.message


def test_redirects_are_followed_five_times(client: Client) -> None:
    def answer(handler: Handler, n: int) -> None:
        if n <= handler.server.hops:  # type: ignore[attr-defined]
            handler.reply(302, Location=f"/hop{n}#part")
        else:
            handler.reply(200, DATA)

    with serving(answer) as server:
        server.hops = 5  # type: ignore[attr-defined]
        assert client.fetch(server.url) == Fetched(len(DATA), SHA256)
        server.requests.clear()
        server.hops = 6  # type: ignore[attr-defined]
        client.target.unlink()
        failure = client.failure(server.url)
    assert (failure.reason, failure.exit_code) == ("DownloadFailed", 42)
    assert "redirects" in failure.message


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://example.org/x",
        "gopher://127.0.0.1:25/",
        "http://user:pass@127.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[fe80::1]/",
        "http://0.0.0.0/",
        "http://[::ffff:169.254.169.254]/",
    ],
)
def test_a_redirect_goes_through_the_same_door(client: Client, location: str) -> None:
    with serving(lambda handler, n: handler.reply(301, Location=location)) as server:
        failure = client.failure(server.url)
    assert (failure.reason, failure.exit_code) == ("SourceForbidden", 42)
    assert "pass" not in failure.message.replace("passwd", "")


def test_a_redirect_from_https_to_http_is_refused() -> None:
    with pytest.raises(Failure) as caught:
        fetch_module._redirected("https://example.org/a", "http://example.org/b")
    assert caught.value.reason == "SourceForbidden"


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/x",
        "http://127.1/x",
        "http://2130706433/x",
        "http://0x7f000001/x",
        "http://[::1]/x",
        "http://[::ffff:127.0.0.1]/x",
        "http://169.254.169.254/latest",
        "http://0/x",
        "http://224.0.0.1/x",
        "http://255.255.255.255/x",
        "http://u:p@example.org/x",
        "http://example.org/x#@127.0.0.1",
        "file:///etc/passwd",
        "http:///nothing",
        "http://example.org:99999/",
    ],
)
def test_a_user_cannot_fetch_from_this_machine(client: Client, url: str) -> None:
    failure = client.failure(url, policy=Policy(deny_private=False))
    assert (failure.reason, failure.exit_code) == ("SourceForbidden", 42)
    assert ":p@" not in failure.message


def test_a_name_is_resolved_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the second answer would be another address, but nobody asks for it."""
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[Resolved]:
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "169.254.169.254"
        return [Resolved(socket.AF_INET, (address, port))]

    monkeypatch.setattr(addresses, "resolve", resolve)
    with serving(lambda handler, n: handler.reply(200, DATA)) as server:
        result = client.fetch(f"http://data.example:{server.server_port}/x")
    assert result == Fetched(len(DATA), SHA256)
    assert asked == ["data.example"]
    assert server.requests[0].headers["Host"] == f"data.example:{server.server_port}"


def test_tls_is_spoken_with_the_name_of_the_url(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str | None] = []

    class Recording(ssl.SSLContext):
        """Speaks no TLS, but tells which name it would have verified."""

        def wrap_socket(self, sock: Any, *_: Any, **options: Any) -> Any:
            names.append(options["server_hostname"])
            return sock

    pinned = [Resolved(socket.AF_INET, ("127.0.0.1", 0))]

    def resolve(host: str, port: int) -> list[Resolved]:
        return [pinned[0]._replace(address=("127.0.0.1", port))]

    monkeypatch.setattr(addresses, "resolve", resolve)
    with serving(lambda handler, n: handler.reply(200, DATA)) as server:
        url = f"https://data.example:{server.server_port}/x"
        result = client.fetch(url, tls=Recording(ssl.PROTOCOL_TLS_CLIENT))
    assert result == Fetched(len(DATA), SHA256)
    assert names == ["data.example"]


def test_certificates_are_verified() -> None:
    policy = Policy(deny_private=True)
    context = Request(url="https://data.example/x", max_bytes=1, policy=policy).tls
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


def test_one_refused_address_among_several_refuses_the_name(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [
        Resolved(socket.AF_INET, ("203.0.113.5", 80)),
        Resolved(socket.AF_INET, ("169.254.169.254", 80)),
    ]
    monkeypatch.setattr(addresses, "resolve", lambda host, port: both)
    failure = client.failure("http://data.example/x")
    assert failure.reason == "SourceForbidden"
    assert "link-local address 169.254.169.254" in failure.message


def test_an_unknown_name_may_be_known_later(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolve(host: str, port: int) -> list[Resolved]:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(addresses, "resolve", resolve)
    failure = client.failure("http://no-such.example/x")
    assert (failure.reason, failure.exit_code) == ("DownloadFailed", 1)
    assert "not known" in failure.message


def test_proxies_of_the_environment_are_not_used(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serving(lambda handler, n: handler.reply(200, DATA)) as server:
        assert client.fetch(server.url) == Fetched(len(DATA), SHA256)


def test_something_that_is_no_http_is_given_up(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def shout() -> None:
            for _ in range(5):
                connection, _ = server.accept()
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")
                connection.close()

        threading.Thread(target=shout, daemon=True).start()
        assert client.failure(f"http://127.0.0.1:{port}/x").reason == "DownloadFailed"


def test_a_url_is_shown_without_what_may_be_secret() -> None:
    assert plain("https://user:pw@host.example:8/a/b?sig=x") == "https://host.example:8/a/b?…"
