"""JSON files of many rows: one row a line, so that they stay small and can be read and compared."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from ..report import rounded


def rows_document(head: Mapping[str, Any], key: str, rows: Iterable[Any]) -> bytes:
    """A JSON object of `head` and, under `key`, the rows. Raises ValueError on numbers that are not finite."""
    lines = [f" {_compact(name)}: {_compact(value)}," for name, value in head.items()]
    body = ",\n".join(f"  {_compact(row)}" for row in rows)
    table = f" {_compact(key)}: [\n{body}\n ]" if body else f" {_compact(key)}: []"
    return "\n".join(["{", *lines, table, "}", ""]).encode()


def short(values: Iterable[float]) -> list[float]:
    """Numbers of four significant digits, as curves need them."""
    return [rounded(float(value), 4) if math.isfinite(value) else 0.0 for value in values]


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
