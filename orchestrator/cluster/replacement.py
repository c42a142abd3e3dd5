"""Replacement of an instance that died before SSH was up, or never answered: once, and only after it is terminated."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestrator.aws.ec2 import instances as ec2_instances
from orchestrator.aws.ec2 import state_changes, waiters
from orchestrator.aws.ec2.instances import Instance
from orchestrator.aws.launch.plan import LaunchPlan
from orchestrator.cluster.context import ClusterContext
from orchestrator.cluster.meter import Meter
from orchestrator.core.cost import Amount
from orchestrator.core.errors import ConnectError, LeftRunning, StratusError, first_line
from orchestrator.core.events import Event, State

TERMINATE_TIMEOUT_S = 180.0
"""How long a failed instance may take to terminate before its replacement is given up: both would be billed."""

CONSOLE_LINES = 3

_SAME_ON_ANY_INSTANCE = ("auth", "host-key", "key-file")
_NETWORK_PATH = ("dropped", "no-route")
_USER_INITIATED = ("UserInitiated", "User initiated")
"""EC2 words the reason differently in its code and in its message."""


@dataclass
class Replacer:
    """Replaces instances of one launch; safe to use from many threads, one replacement at a time.

    :param instances: the launch's instances by name; a replacement takes the place of the instance it replaces.
    :param launch_one: launches one instance by a plan.
    """

    context: ClusterContext
    plan: LaunchPlan
    instances: dict[str, Instance]
    launch_one: Callable[[LaunchPlan], Instance]
    _attempted: set[str] = field(default_factory=set)
    _spent: dict[str, Amount] = field(default_factory=dict)
    _is_stopped: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def replace(self, name: str, error: Exception, *, others_ready: bool) -> Instance | None:
        """Return the instance that replaces a failed one; None if it is not replaced.

        :param error: why it failed.
        :param others_ready: True if another instance of the launch answers SSH.
        :raises LeftRunning: the outcome of the launch request is unknown.
        """
        with self._lock:
            if name in self._attempted or self._is_stopped:
                return None
            self._attempted.add(name)
            return self._replace(name, error, others_ready)

    def stop(self) -> None:
        """Start no replacement from now on, and wait for one in progress: a Ctrl-C must not leave it behind."""
        self._is_stopped = True
        with self._lock:
            pass

    def _replace(self, name: str, error: Exception, others_ready: bool) -> Instance | None:
        try:
            obstacle = self._terminate(self.instances[name], error, others_ready)
            if not obstacle:
                return self._launch(name)
        except LeftRunning:
            raise
        except StratusError as failure:
            obstacle = first_line(failure)
        self._report(name, "warning", f"not replaced: {obstacle}")
        return None

    def _terminate(self, failed: Instance, error: Exception, others_ready: bool) -> str:
        """Terminate an instance in order to replace it; return what prevents the replacement, or nothing."""
        clients = self.context.clients
        shown = next(iter(ec2_instances.describe_ids(clients, [failed.id])), failed)
        if obstacle := why_not_replaceable(error, shown, others_ready=others_ready):
            return obstacle
        self._report(failed.name, "start", first_line(error))
        self._report_console(shown)
        change = state_changes.terminate(clients, [failed], ownership=self.context.ownership)[failed.id]
        if not change.is_ok:
            return change.error.splitlines()[0]
        # As it was before: its change of state hides how long it was running.
        billed = ec2_instances.with_known_tags(shown, failed)
        self._spent |= Meter(self.context).costs([billed], billed.ended_at or self.context.clock.now())
        for _ in waiters.wait_terminated(clients, [failed], deadline_s=TERMINATE_TIMEOUT_S):
            pass
        return ""

    def _launch(self, name: str) -> Instance:
        failed = self.instances[name]
        spent = self._spent[failed.id]
        try:
            # What the failed instance cost counts against the launch's budget, and in the receipt.
            replacement = self.launch_one(self.plan.for_replacement(name, spent))
        except LeftRunning:
            raise  # the replacement may exist, with that cost in its tags
        except StratusError:
            Meter(self.context).record_ended(self._spent, [failed])
            raise
        self.instances[name] = replacement
        self._report(name, "done", f"{replacement.id} replaces {failed.id}")
        return replacement

    def _report(self, name: str, state: State, text: str) -> None:
        self.context.on_event(Event(name, "replace", state, text=text))

    def _report_console(self, failed: Instance) -> None:
        """Report the end of the console output of an instance that runs, and still does not answer."""
        if failed.state != "running":
            return
        try:
            output = ec2_instances.console_output(self.context.clients, failed.id)
        except StratusError:  # helps to find the cause; the replacement does not depend on it
            return
        for line in output.strip().splitlines()[-CONSOLE_LINES:]:
            # Without a host: the display replaces the last line of a host, but keeps those of the cluster.
            self.context.on_event(Event("", "console", "progress", text=f"{failed.name}: {line.strip()}"))


def why_not_replaceable(error: Exception, instance: Instance, *, others_ready: bool) -> str:
    """Return why a failed instance is not replaced; empty if it is.

    :param instance: as EC2 shows it now.
    :param others_ready: True if another instance of the launch answers SSH.
    """
    if instance.state in ec2_instances.TERMINATING:
        by_user = any(text in instance.reason for text in _USER_INITIATED)
        return "it was terminated on request" if by_user else ""
    kind = error.kind if isinstance(error, ConnectError) else ""
    if kind in _SAME_ON_ANY_INSTANCE:
        return "another VM would fail in the same way"
    if kind in _NETWORK_PATH and not others_ready:
        return "no VM of this launch was reached, which points to the network in between"
    return ""
