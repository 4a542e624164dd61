"""An expected way for a run to end: the reason of api/reasons.ts, a line for the user, an exit code."""

from typing import Any

EXIT_PUBLISHED = 0
EXIT_CRASHED = 1
EXIT_INPUT_AT_FAULT = 42
EXIT_DIVERGED = 43
EXIT_PEER_LOST = 44
EXIT_RENDEZVOUS_TIMED_OUT = 45
EXIT_STOPPED = 143

_EXITS = {
    "Diverged": EXIT_DIVERGED,
    "PeerLost": EXIT_PEER_LOST,
    "RendezvousTimedOut": EXIT_RENDEZVOUS_TIMED_OUT,
}
# Reasons that another attempt with the same inputs cannot cure.
_INPUT_AT_FAULT = frozenset(
    {
        "BatchLargerThanData",
        "BatchNotDivisible",
        "BaseUnavailable",
        "BaseIncompatible",
        "NoBoxes",
        "NoPositives",
        "SingleConcept",
        "ConceptsOverlap",
        "InputInvalid",
        "ChecksumMismatch",
        "SourceForbidden",
        "SourceNotFound",
        "ArchiveInvalid",
        "ArchiveTooLarge",
        "NoData",
        "ConceptsMismatch",
        "InvalidDataToleranceExceeded",
    }
)


class Failure(Exception):
    """Ends a run as failed. `message` is one line without secrets: what is wrong, where, what to do.

    `facts` are the record's further fields (api/record.ts), such as `checkpoint` or `badItems`.
    `exit_code` is what the process exits with: that of the reason, unless it is given.
    """

    def __init__(
        self, reason: str, message: str, *, exit_code: int | None = None, **facts: Any
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.exit_code = _exit_code(reason) if exit_code is None else exit_code
        self.facts = facts


def _exit_code(reason: str) -> int:
    """42 when the input is at fault, another where the reason has one of its own."""
    if reason in _EXITS:
        return _EXITS[reason]
    return EXIT_INPUT_AT_FAULT if reason in _INPUT_AT_FAULT else EXIT_CRASHED


class Stopped(Exception):
    """SIGTERM: what was done is kept, and the process exits with 143. `facts` as in Failure."""

    def __init__(self, **facts: Any) -> None:
        super().__init__("stopped by SIGTERM")
        self.facts = facts
