"""Whether machines live, asked for all of them at once while SSH is waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from orchestrator.aws.ec2 import instances
from orchestrator.core.clock import Clock

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients

DESCRIBE_INTERVAL_S = 5.0  # EC2 is asked at most this often; one call answers for all
STATUS_CHECK_INTERVAL_S = 15.0  # status checks change slowly, and cost a call of their own
STATUS_CHECK_DELAY_S = 60.0  # and are passed by then on a healthy machine
IMPAIRED_TIMEOUT_S = 180.0  # a machine impaired for that long is given up


class InstanceHealth:
    """Says why a machine died or is given up; safe to ask from many threads."""

    def __init__(self, clients: Clients, ids: Callable[[], Sequence[str]], clock: Clock) -> None:
        self._clients = clients
        self._ids = ids
        self._clock = clock
        self._lock = threading.Lock()
        self._began = self._asked = self._checked = clock.monotonic()
        self._dead: dict[str, str] = {}
        self._impaired: dict[str, float] = {}

    def __call__(self, identity: str) -> str:
        """Return why the machine of this id will not come up; nothing while it may."""
        with self._lock:
            now = self._clock.monotonic()
            if now - self._asked >= DESCRIBE_INTERVAL_S:
                self._asked = now
                shown = instances.describe_ids(self._clients, self._ids())
                self._dead = {each.id: f"{each.state} {each.reason}".strip() for each in shown if not each.is_alive}
            if now - self._began >= STATUS_CHECK_DELAY_S and now - self._checked >= STATUS_CHECK_INTERVAL_S:
                self._checked = now
                self._check(now)
            return self._dead.get(identity) or self._given_up(identity, now)

    def _check(self, now: float) -> None:
        impaired = instances.find_impaired(self._clients, self._ids())
        self._impaired = {each: self._impaired.get(each, now) for each in impaired}

    def _given_up(self, identity: str, now: float) -> str:
        since = self._impaired.get(identity)
        if since is None or now - since < IMPAIRED_TIMEOUT_S:
            return ""
        return f"running, but its status checks have failed for {now - since:.0f} s"
