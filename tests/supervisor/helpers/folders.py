"""Folders for sockets, whose paths may have 107 bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Make a folder with a short path, since that of a socket may have 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="") as folder:
        yield Path(folder)
