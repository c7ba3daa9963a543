"""What holds for all tests."""

from __future__ import annotations

import gc


def pytest_collection_finish() -> None:
    """Let the garbage collector look no more at what was imported and collected.

    Hundreds of tests collect garbage, and the thousands of tests themselves would make that slow.
    """
    gc.collect()
    gc.freeze()
