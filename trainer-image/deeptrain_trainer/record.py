"""The record: what a pod leaves in its termination message (api/record.ts). It alone completes a version."""

import json
from pathlib import Path
from typing import Any

from .failure import Failure

# The kubelet cuts a termination message at 4 KiB, which would make it unreadable.
MAX_BYTES = 3 * 1024
_MAX_MESSAGE_BYTES = 900


def failed(failure: Failure) -> dict[str, Any]:
    """The fields of a failed record."""
    return {
        "outcome": "failed",
        "reason": failure.reason,
        "message": one_line(failure.message),
    }


def one_line(message: str) -> str:
    """The message without line breaks and control characters, at most 900 bytes of UTF-8."""
    text = " ".join("".join(c if c.isprintable() else " " for c in message).split())
    return text.encode("utf-8", "replace")[:_MAX_MESSAGE_BYTES].decode("utf-8", "ignore")


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Writes the record in place: a termination log is a mounted file that cannot be renamed over."""
    content = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    encoded = content.encode()
    if len(encoded) > MAX_BYTES:
        raise ValueError(f"the record has {len(encoded)} bytes, at most {MAX_BYTES} are read")
    path.write_bytes(encoded)
