"""A machine that died on the way up, or never answered, is replaced: once, and only after it is gone for certain."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.aws.ec2 import instances, state_changes, waiters
from orchestrator.core.clock import Clock
from orchestrator.core.errors import ConnectError, LeftRunning, StratusError
from orchestrator.core.events import Event, EventHandler

if TYPE_CHECKING:
    from orchestrator.aws import client
    from orchestrator.aws.ec2.instances import Instance
    from orchestrator.aws.launch.plan import LaunchPlan

TERMINATE_TIMEOUT_S = 180.0  # for how long a machine may take to go down before nothing comes in its place
CONSOLE_LINES = 3
_OURS_TO_MEND = ("auth", "host-key", "key-file")  # another machine would not answer differently
_PATH = ("dropped", "no-route")  # about the way there, unless others of the launch are reached that way
_ENDED_BY_HAND = "UserInitiated"


@dataclass
class Replacer:
    """Replaces machines of one launch; safe to call from many threads, which then wait for one another.

    :param machines: the launch's machines by name.
    :param again: launches one machine by a plan; its errors are ours to tell.
    """

    clients: client.Clients
    plan: LaunchPlan
    instances: dict[str, Instance]
    launch_one: Callable[[LaunchPlan], Instance]
    tell: EventHandler
    clock: Clock
    attempted: set[str] = field(default_factory=set)
    stopped: bool = False
    _one: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, name: str, error: Exception, others_up: bool) -> Instance | None:
        """Return the machine that takes a failed one's place; None when there is none, and the error stands.

        :param others_up: whether other machines of the launch answered.
        :raises LeftRunning: nobody can say whether there is one.
        """
        with self._one:
            if name in self.attempted or self.stopped:
                return None
            self.attempted.add(name)
            try:
                why_not = self._terminate(self.instances[name], error, others_up)
                if not why_not:
                    return self._launch(name)
            except LeftRunning:
                raise
            except StratusError as second:
                why_not = str(second).splitlines()[0]
            self.tell(Event(name, "replace", "warning", text=f"not replaced: {why_not}"))
            return None

    def stop(self) -> None:
        """Replace nothing from now on; a replacement under way is waited for."""
        self.stopped = True
        with self._one:
            pass

    def _terminate(self, machine: Instance, error: Exception, others_up: bool) -> str:
        """End a machine that is worth replacing, and return why nothing may take its place, if so."""
        shown = next(iter(instances.describe_ids(self.clients, [machine.id])), machine)
        why_not = why_not_replaceable(error, shown, others_up)
        if why_not:
            return why_not
        self.tell(Event(machine.name, "replace", "start", text=str(error).splitlines()[0]))
        self._report_console(shown)
        ended = state_changes.terminate(self.clients, [machine], cluster_id=self.plan.cluster_id)[machine.id]
        if not ended.is_ok:
            return ended.error.splitlines()[0]
        for _ in waiters.wait_terminated(self.clients, [machine], deadline_s=TERMINATE_TIMEOUT_S):
            pass
        return ""

    def _launch(self, name: str) -> Instance:
        before = self.instances[name]
        hours = (self.clock.now() - before.launched_at).total_seconds() / 3600
        plan = self.plan.for_replacement(name, hours)
        found = self.instances[name] = self.launch_one(plan)
        self.tell(Event(name, "replace", "done", text=f"{found.id} in place of {before.id}"))
        return found

    def _report_console(self, machine: Instance) -> None:
        if machine.state != "running":
            return
        try:
            lines = instances.console_output(self.clients, machine.id).strip().splitlines()[-CONSOLE_LINES:]
        except StratusError:  # a courtesy only
            return
        for line in lines:
            # About no host in particular, so that it is printed wherever output goes, and stays.
            self.tell(Event("", "console", "progress", text=f"{machine.name}: {line.strip()}"))


def why_not_replaceable(error: Exception, machine: Instance, others_up: bool) -> str:
    """Say why a machine that failed is not replaced; nothing when it is to be.

    :param machine: as EC2 shows it now.
    :param others_up: whether other machines of the launch answered.
    """
    if machine.state in instances.TERMINATING:
        by_hand = _ENDED_BY_HAND in machine.reason or "User initiated" in machine.reason
        return "somebody ended it" if by_hand else ""
    kind = error.kind if isinstance(error, ConnectError) else ""
    if kind in _OURS_TO_MEND:
        return "another one would answer the same"
    if kind in _PATH and not others_up:
        return "no machine of this launch was reached, so the way there is to be mended first"
    return ""
