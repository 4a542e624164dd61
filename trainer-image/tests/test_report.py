"""Reports reach the endpoint in order, and one that is out of reach stops nothing."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from endpoint import Endpoint

from deeptrain_trainer import report
from deeptrain_trainer.report import NotAcknowledgedError, Reporter, rounded


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    opened = Endpoint(tmp_path)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_FIRST_BACKOFF_SECONDS", 0.02)
    monkeypatch.setattr(report, "_LONGEST_BACKOFF_SECONDS", 0.05)


def reporter(endpoint: Endpoint, url: str | None = None) -> Reporter:
    return Reporter("train", "the-uid", 3, url or endpoint.url, endpoint.ca, endpoint.token)


def checkpoint(step: int) -> dict[str, object]:
    return {"type": "checkpoint", "epoch": 1, "step": step}


def test_events_arrive_in_order_with_a_growing_sequence(endpoint: Endpoint) -> None:
    sender = reporter(endpoint)
    for step in range(5):
        sender.send(checkpoint(step))
    sender.close()
    assert [event["step"] for event in endpoint.of("checkpoint")] == [0, 1, 2, 3, 4]
    sequences = [sent["sequence"] for sent in endpoint.reports]
    assert sequences == sorted(set(sequences))
    first = endpoint.reports[0]
    assert (first["uid"], first["attempt"], first["task"]) == ("the-uid", 3, "train")
    assert set(endpoint.paths) == {"/v1/progress"}


def test_the_token_is_read_anew_for_each_request(endpoint: Endpoint) -> None:
    sender = reporter(endpoint)
    sender.send(checkpoint(1))
    sender.flush(5)
    endpoint.token.write_text("second")
    sender.send(checkpoint(2))
    sender.close()
    assert endpoint.tokens == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_what_may_pass_is_tried_again(endpoint: Endpoint, status: int) -> None:
    endpoint.answers = [status, status]
    sender = reporter(endpoint)
    sender.send(checkpoint(1))
    sender.close()
    assert len(endpoint.of("checkpoint")) == 1 and len(endpoint.refused) == 2


@pytest.mark.parametrize("status", [400, 409, 413, 422])
def test_what_is_refused_for_good_is_left_and_the_next_one_sent(
    endpoint: Endpoint, status: int
) -> None:
    endpoint.answers = [status]
    sender = reporter(endpoint)
    sender.send(checkpoint(1))
    sender.send(checkpoint(2))
    sender.close()
    assert [event["step"] for event in endpoint.of("checkpoint")] == [2]


def test_a_run_that_is_no_longer_wanted_reports_no_more(endpoint: Endpoint) -> None:
    endpoint.answers = [410]
    sender = reporter(endpoint)
    for step in range(3):
        sender.send(checkpoint(step))
        sender.flush(5)
    assert endpoint.reports == [] and len(endpoint.refused) == 1


def test_only_the_newest_waiting_step_is_sent(endpoint: Endpoint) -> None:
    endpoint.answers = [503, 503, 503]
    sender = reporter(endpoint)
    sender.send(checkpoint(1))
    for step in range(50):
        sender.send({"type": "step", "step": step})
    sender.close()
    assert len(endpoint.of("checkpoint")) == 1
    assert [event["step"] for event in endpoint.of("step")][-1] == 49
    assert len(endpoint.of("step")) < 5


def test_an_endpoint_out_of_reach_costs_no_time_and_bounded_memory(endpoint: Endpoint) -> None:
    endpoint.close()
    sender = reporter(endpoint)
    began = time.monotonic()
    for step in range(5_000):
        sender.send(checkpoint(step))
    assert time.monotonic() - began < 3
    assert len(sender._queue) <= 256
    began = time.monotonic()
    sender.close(timeout_seconds=0.2)
    assert time.monotonic() - began < 3


def test_another_authority_is_not_believed(endpoint: Endpoint, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Endpoint(tmp_path / "other")
    with pytest.raises(NotAcknowledgedError, match="CERTIFICATE_VERIFY_FAILED"):
        reporter(other, endpoint.url).deliver({"type": "report"}, timeout_seconds=0.1)
    other.close()
    assert endpoint.reports == [] and endpoint.tokens == []


def test_deliver_returns_when_it_is_acknowledged(endpoint: Endpoint) -> None:
    endpoint.answers = [503, 404]
    reporter(endpoint).deliver({"type": "report"})
    assert len(endpoint.of("report")) == 1


def test_deliver_says_why_it_was_not_taken(endpoint: Endpoint) -> None:
    endpoint.answers = [422]
    with pytest.raises(NotAcknowledgedError, match="refused it: HTTP 422"):
        reporter(endpoint).deliver({"type": "report"})
    endpoint.answers = [503] * 100
    with pytest.raises(NotAcknowledgedError, match="did not take it: HTTP 503"):
        reporter(endpoint).deliver({"type": "report"}, timeout_seconds=0.2)


def test_without_an_endpoint_events_go_to_stdout_only(capsys: pytest.CaptureFixture[str]) -> None:
    sender = Reporter("train", "uid", 1, None)
    sender.send(checkpoint(7))
    sender.deliver({"type": "report"})
    sender.close()
    assert capsys.readouterr().out.splitlines() == [
        '{"event": "checkpoint", "epoch": 1, "step": 7}',
        '{"event": "report"}',
    ]


def test_a_stdout_that_nobody_reads_any_more_stops_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Closed:
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Closed())
    Reporter("train", "uid", 1, None).send(checkpoint(1))


def test_numbers_are_rounded_to_significant_digits() -> None:
    assert rounded(0.123456789) == 0.123457
    assert rounded(1234567.0, 4) == 1235000
    assert rounded(0.0) == 0
