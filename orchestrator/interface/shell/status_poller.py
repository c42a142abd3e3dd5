"""The last known state of the cluster, refreshed in the background, so that the prompt never waits for the network."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.core.clock import Clock
from orchestrator.core.errors import StratusError

if TYPE_CHECKING:
    from orchestrator.cluster.status import ClusterStatus


class StatusPoller:
    """Requests the status in a thread of its own, one request at a time.

    :param request: requests the status; may take seconds and may raise.
    :param on_answer: called after every answer, from that thread.
    """

    def __init__(
        self, request: Callable[[], ClusterStatus], on_answer: Callable[[StatusPoller], None], clock: Clock
    ) -> None:
        self.status: ClusterStatus | None = None
        self.error: StratusError | None = None
        self._request = request
        self._on_answer = on_answer
        self._now = clock.monotonic
        self._lock = threading.Lock()
        self._answered = threading.Event()
        self._thread: threading.Thread | None = None
        self._again = False
        self._answered_at = float("-inf")

    def accept(self, status: ClusterStatus) -> None:
        """Record a status that a verb has requested."""
        self.status, self.error, self._answered_at = status, None, self._now()

    @property
    def age_s(self) -> float:
        """Seconds since the last answer."""
        return self._now() - self._answered_at

    def refresh(self, *, wait_s: float = 0.0) -> bool:
        """Request the status; when a request is under way already, once more after it.

        :param wait_s: seconds to wait for the answer.
        :return: True if it came in that time.
        """
        with self._lock:
            # Under the lock, so that the end of an earlier request cannot count as this one's answer.
            self._answered.clear()
            if self._thread is None:
                # A daemon: a request that hangs must not keep the program from ending.
                self._thread = threading.Thread(target=self._work, name="status", daemon=True)
                self._thread.start()
            else:
                # The request under way may have been answered before the change that this refresh is for.
                self._again = True
        return self._answered.wait(wait_s) if wait_s else False

    def _work(self) -> None:
        while True:
            self._poll()
            with self._lock:
                if not self._again:
                    self._thread = None
                    self._answered.set()
                    break
                self._again = False
        # Without the lock: it prints and draws, and may itself ask for a refresh.
        self._on_answer(self)

    def _poll(self) -> None:
        try:
            self.accept(self._request())
        except StratusError as error:
            self.error, self._answered_at = error, self._now()
        except Exception as error:
            # The prompt survives every error here; a verb would report this one with its traceback.
            self.error, self._answered_at = StratusError(f"{type(error).__name__}: {error}"), self._now()
