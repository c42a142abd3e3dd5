"""The last known state of the cluster, kept fresh in the background, so that the prompt never waits for the network."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.core.errors import StratusError

if TYPE_CHECKING:
    from orchestrator.cluster.status import ClusterStatus


class Pulse:
    """Asks for the status in a thread of its own, one question at a time.

    :param ask: asks the cloud; may take seconds and may raise.
    :param changed: called after every answer, from that thread.
    """

    def __init__(self, ask: Callable[[], ClusterStatus], changed: Callable[[Pulse], None]) -> None:
        self.status: ClusterStatus | None = None
        self.error: Exception | None = None
        self._ask = ask
        self._changed = changed
        self._lock = threading.Lock()
        self._answered = threading.Event()
        self._thread: threading.Thread | None = None
        self._again = False
        self._at = float("-inf")

    def take(self, status: ClusterStatus) -> None:
        """Note a status that somebody else asked for."""
        self.status, self.error, self._at = status, None, time.monotonic()

    @property
    def age(self) -> float:
        """Seconds since the last answer."""
        return time.monotonic() - self._at

    def refresh(self, *, wait: float = 0.0) -> bool:
        """Ask anew; when a question is under way already, once more after it.

        :param wait: seconds to wait for the answer.
        :return: whether it came.
        """
        with self._lock:
            self._answered.clear()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="pulse", daemon=True)
                self._thread.start()
            else:
                self._again = True
        return self._answered.wait(wait) if wait else False

    def _work(self) -> None:
        while True:
            self._once()
            with self._lock:
                if not self._again:
                    self._thread = None
                    self._answered.set()
                    break
                self._again = False
        self._changed(self)

    def _once(self) -> None:
        try:
            self.take(self._ask())
        except StratusError as error:
            self.error, self._at = error, time.monotonic()
        except Exception as error:
            # A prompt must live through anything; a verb would say more.
            self.error, self._at = StratusError(f"{type(error).__name__}: {error}"), time.monotonic()
