"""A thread that runs short functions at given times."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

_log = logging.getLogger(__name__)


class Scheduler:
    """Runs actions in the order of their times; an action must not block."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        # A tie-breaker: with equal times the heap would compare functions.
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self._thread.start()

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        """Run ``action`` in ``seconds`` from now, at once if that is not positive, on the scheduler's thread."""
        with self._changed:
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._order), action))
            self._changed.notify()

    def close(self) -> None:
        """Drop actions that have not run, and end the thread."""
        with self._changed:
            self._open = False
            self._changed.notify()
        # Bounded, in case the current action hangs.
        self._thread.join(timeout=5)

    def _next(self) -> Callable[[], object] | None:
        with self._changed:
            while self._open:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[2]
                # A new action may be due earlier than the one waited for; ``after`` notifies.
                self._changed.wait(wait)
            return None

    def _run(self) -> None:
        while action := self._next():
            try:
                action()
            except Exception:
                # A failing action must not stop the later ones.
                _log.exception("a scheduled action failed")
