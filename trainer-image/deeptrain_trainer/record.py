"""The record: what a pod leaves in its termination message (api/record.ts). It alone completes a version."""

import json
from pathlib import Path
from typing import Any

from .failure import Failure
from .run import GatedConcept

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


def gated_values(
    gated: list[GatedConcept], concepts: list[str], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """`gated` of a published record: what is asked for, of the concepts' `rows`. What was not measured has no value."""
    if not gated:
        return {}
    places = {name: place for place, name in enumerate(concepts)}
    by_place = {places[row["concept"]]: row for row in rows}
    values = []
    for asked in gated:
        row = by_place.get(asked.concept, {})
        value = {"value": row[asked.metric]} if asked.metric in row else {}
        values.append({"concept": asked.concept, "metric": asked.metric, **value})
    return {"gated": values}


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
