"""Judges records and reports by the schemas that are generated from api/."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

import deeptrain_trainer

_SCHEMAS = Path(deeptrain_trainer.__file__).parent / "schema"


@cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((_SCHEMAS / f"{name}.json").read_text()))


def assert_record(record: dict[str, Any]) -> None:
    """The record is what api/record.ts accepts, and small enough to be read."""
    _validator("record").validate(record)
    assert len(json.dumps(record, ensure_ascii=False).encode()) <= 3 * 1024


def assert_event(event: dict[str, Any], task: str = "train") -> None:
    """The event is what api/progress.ts accepts."""
    report = {"uid": "u", "attempt": 1, "sequence": 1, "task": task, "event": event}
    _validator("progress").validate(report)
