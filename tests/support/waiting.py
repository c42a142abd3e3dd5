"""Wait for a condition in tests."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], *, timeout_s: float = 60.0, pause_s: float = 0.01) -> None:
    """Wait until ``condition()`` is true; fail the test when the time is up."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(pause_s)
