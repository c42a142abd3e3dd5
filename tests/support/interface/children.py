"""Programs on a pseudo-terminal."""

from __future__ import annotations

import signal
from typing import Any

from tests.support.waiting import wait_until


def end(child: Any) -> None:
    """Kill a child of pexpect, however long that takes: its own ``close`` gives up after half a second."""
    if child.isalive():
        child.kill(signal.SIGKILL)
    wait_until(lambda: not child.isalive())
    child.close()
