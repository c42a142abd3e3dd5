"""Health of instances while SSH is waited for, from calls that cover all of them at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from orchestrator.aws.ec2 import instances

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients

DESCRIBE_INTERVAL_S = 5.0
STATUS_CHECK_INTERVAL_S = 15.0
STATUS_CHECK_DELAY_S = 60.0
"""EC2 runs its status checks every minute: before the first one, there is no result to read."""

IMPAIRED_TIMEOUT_S = 180.0
"""An instance whose status checks fail for this long is given up; shorter impairments pass by themselves."""


class InstanceHealth:
    """Failures of the instances of one launch; safe to use from many threads.

    :param instance_ids: returns the ids to look up: a replacement changes them.
    """

    def __init__(self, clients: Clients, instance_ids: Callable[[], Sequence[str]]) -> None:
        self._clients = clients
        self._instance_ids = instance_ids
        # The threads of all hosts share one lock, so that they share the answer of one call too.
        self._lock = threading.Lock()
        self._began = self._described = self._checked = clients.clock.monotonic()
        self._dead: dict[str, str] = {}
        self._impaired_since: dict[str, float] = {}

    def failure_reason(self, instance_id: str) -> str:
        """Return why an instance will not come up; empty while it still may."""
        with self._lock:
            now = self._clients.clock.monotonic()
            self._refresh(now)
            return self._dead.get(instance_id) or self._impairment(instance_id, now)

    def _refresh(self, now: float) -> None:
        if now - self._described >= DESCRIBE_INTERVAL_S:
            self._described = now
            self._describe()
        if now - self._began >= STATUS_CHECK_DELAY_S and now - self._checked >= STATUS_CHECK_INTERVAL_S:
            self._checked = now
            self._check(now)

    def _describe(self) -> None:
        shown = instances.describe_ids(self._clients, self._instance_ids())
        self._dead = {
            instance.id: f"{instance.state} {instance.reason}".strip() for instance in shown if not instance.is_alive
        }

    def _check(self, now: float) -> None:
        impaired = instances.find_impaired(self._clients, self._instance_ids())
        # An instance that recovers drops out, and its time counts from zero if it fails again.
        self._impaired_since = {instance_id: self._impaired_since.get(instance_id, now) for instance_id in impaired}

    def _impairment(self, instance_id: str, now: float) -> str:
        since = self._impaired_since.get(instance_id)
        if since is None or now - since < IMPAIRED_TIMEOUT_S:
            return ""
        return f"running, but its status checks have failed for {now - since:.0f} s"
