"""Reports to the operator's progress endpoint and to stdout. The only module that knows that the operator exists.

A training never waits for a report and never fails for want of one: events wait in a bounded queue, and an endpoint
that is out of reach costs nothing but the events that it misses.
"""

import contextlib
import json
import math
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from pathlib import Path
from typing import Any

Event = dict[str, Any]

PATH = "/v1/progress"
CA_FILE = Path("/etc/deeptrain/ca.crt")
TOKEN_FILE = Path("/var/run/secrets/deeptrain/token")

_TIMEOUT_SECONDS = 10.0
_QUEUE_LENGTH = 256
_FIRST_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 30.0
_DELIVER_SECONDS = 300.0
# The endpoint may not know a new pod yet (401, 403, 404) or be overloaded: worth another try, but not for ever.
_RETRIABLE = frozenset({401, 403, 404, 408, 425, 429})
_MOST_REFUSALS = 8


class NotAcknowledgedError(Exception):
    """The endpoint did not answer an event with 200 in time, or refused it."""


class Reporter:
    """Sends the events of one attempt, in order, each with a sequence number of its own."""

    def __init__(
        self,
        task: str,
        uid: str,
        attempt: int,
        url: str | None,
        ca_file: Path = CA_FILE,
        token_file: Path = TOKEN_FILE,
        *,
        quiet: bool = False,
    ) -> None:
        """`url` is `https://host:port`; None: events go to stdout only. `quiet`: nowhere."""
        self._quiet = quiet
        self._envelope = {"uid": uid, "attempt": attempt, "task": task}
        self._url = url + PATH if url else None
        self._ca_file = ca_file
        self._token_file = token_file
        self._context: ssl.SSLContext | None = None
        # Tenths of a second since 1970: a pod that replaces another in the same attempt goes on above its numbers.
        self._sequence = int(time.time() * 10)
        self._queue: deque[Event] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._idle = True
        self._gone = False
        self._thread: threading.Thread | None = None

    def send(self, event: Event) -> None:
        """Queues an event and returns at once. The oldest waiting `step` events give way to newer ones."""
        if self._quiet:
            return
        log(event)
        if self._url is None or self._gone:
            return
        with self._changed:
            if event["type"] in ("step", "import"):  # only the newest of these is of interest
                kept = [e for e in self._queue if e["type"] != event["type"]]
                self._queue = deque(kept)
            self._queue.append(event)
            while len(self._queue) > _QUEUE_LENGTH:
                self._queue.popleft()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="report", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def deliver(self, event: Event, timeout_seconds: float = _DELIVER_SECONDS) -> None:
        """Sends an event and waits until it is acknowledged. Raises NotAcknowledgedError.

        Where no endpoint is named there is nobody to acknowledge it, and it counts as delivered.
        """
        log({"type": event["type"]})
        if self._url is None:
            return
        with self._changed:
            self._queue.clear()  # progress that this event supersedes
        deadline = time.monotonic() + timeout_seconds
        backoff = _FIRST_BACKOFF_SECONDS
        while True:
            status, problem = self._post(event)
            if status == 200:
                return
            if status is not None and status < 500 and status not in _RETRIABLE:
                raise NotAcknowledgedError(f"the progress endpoint refused it: {problem}")
            if time.monotonic() + backoff > deadline:
                raise NotAcknowledgedError(f"the progress endpoint did not take it: {problem}")
            time.sleep(backoff)
            backoff = min(2 * backoff, _LONGEST_BACKOFF_SECONDS)

    def flush(self, timeout_seconds: float) -> None:
        """Waits until the queue is empty or the time is over."""
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            while (self._queue or not self._idle) and not self._gone:
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                self._changed.wait(left)

    def close(self, timeout_seconds: float = 10.0) -> None:
        """Gives what is queued a last chance, then stops the thread."""
        self.flush(timeout_seconds)
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closing:
                    self._changed.wait()
                if self._closing or self._gone:
                    return
                event = self._queue.popleft()
                self._idle = False
            self._send_with_retries(event)
            with self._changed:
                self._idle = True
                self._changed.notify_all()

    def _send_with_retries(self, event: Event) -> None:
        backoff = _FIRST_BACKOFF_SECONDS
        refusals = 0
        while True:
            status, problem = self._post(event)
            if status == 200:
                return
            log({"type": "report-failed", "event": event["type"], "problem": problem})
            if status == 410:  # the run is no longer wanted to report; its training goes on
                self._gone = True
                return
            if status is not None and status < 500:
                refusals += 1
                if status not in _RETRIABLE or refusals >= _MOST_REFUSALS:
                    return
            with self._changed:
                superseded = event["type"] == "step" and bool(self._queue)
                if superseded or self._closing or self._changed.wait_for(self._is_closing, backoff):
                    return
            backoff = min(2 * backoff, _LONGEST_BACKOFF_SECONDS)

    def _is_closing(self) -> bool:
        return self._closing

    def _post(self, event: Event) -> tuple[int | None, str]:
        """The HTTP status, or None where there was no answer, and what went wrong."""
        with self._changed:
            self._sequence += 1
            sequence = self._sequence
        body = json.dumps({**self._envelope, "sequence": sequence, "event": event}, allow_nan=False)
        try:
            # The kubelet renews the token, so it is read anew for each request.
            token = self._token_file.read_text().strip()
            if self._context is None:
                self._context = ssl.create_default_context(cafile=str(self._ca_file))
            request = urllib.request.Request(
                str(self._url),
                data=body.encode(),
                headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            )
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({}),
                urllib.request.HTTPSHandler(context=self._context),
            )
            with opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                return response.status, ""
        except urllib.error.HTTPError as error:
            detail = error.read(200).decode("utf-8", "replace")
            error.close()
            return error.code, f"HTTP {error.code} {detail}"
        except (OSError, ValueError, ssl.SSLError) as error:
            return None, f"{type(error).__name__}: {error}"


def log(event: Event) -> None:
    """One line of JSON on stdout, with `event` for the type."""
    line = {"event": event["type"], **{k: v for k, v in event.items() if k != "type"}}
    # Whoever read it may be gone: that must not end a training.
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(json.dumps(line, default=str) + "\n")
        sys.stdout.flush()


def rounded(value: float, digits: int = 6) -> float:
    """`digits` significant digits, so that reports and records stay small. Finite values only."""
    if value == 0 or not math.isfinite(value):
        return value
    return float(f"{value:.{digits}g}")
