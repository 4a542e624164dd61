"""Fixtures of the import's tests."""

from pathlib import Path

import pytest

from .samples import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A source and a store."""
    return Place(tmp_path)
