"""What becomes of an instance over time, and the host that follows it.

    pending --> running --> shutting-down --> terminated (forgotten after an hour)
                   |  ^
                   v  |
               stopping --> stopped --> pending ...

An instance's state changes only here, and only with the cloud's lock held. A host is started when its instance comes
to run; it is stopped or destroyed on a worker thread, because that waits for processes to end, and the instance moves
on when both the host is gone and the dwell time is over.

What a scenario does to machines is in ``localcloud.fault_injection.instances``, which is called at
every launch and whenever an instance starts running.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from localcloud.ec2.environment import CloudEnvironment
from localcloud.hosts.interface import HostControl

if TYPE_CHECKING:
    from moto.ec2.models.instances import Instance

    from localcloud.hosts.spec import HostSpec
    from localcloud.scenarios.scenario import Fault

_log = logging.getLogger(__name__)

PENDING, RUNNING, SHUTTING_DOWN, TERMINATED = (0, "pending"), (16, "running"), (32, "shutting-down"), (48, "terminated")
STOPPING, STOPPED = (64, "stopping"), (80, "stopped")

# EC2 lists terminated instances "for a short while (usually less than one hour)".
FORGET_AFTER_S = 3600.0


@dataclass(frozen=True)
class TransitionCause:
    """Why an instance goes down: EC2's StateReason, and its StateTransitionReason."""

    code: str
    message: str
    transition: str = ""


USER_INITIATED = TransitionCause("Client.UserInitiatedShutdown", "User initiated shutdown", "User initiated")
INSTANCE_INITIATED = TransitionCause("Client.InstanceInitiatedShutdown", "Instance initiated shutdown")
LAUNCH_FAILURE = TransitionCause("Server.InternalError", "Internal error on launch", "Server.InternalError")


@dataclass
class TrackedInstance:
    """An instance with what the life cycle has to remember about it.

    Times are those of the cloud's clock.

    :param number: in the order of launches, for scenarios; None for machines that scenarios do not count.
    :param delay: seconds by which it runs later than usual; infinite for never.
    :param doom: why it ends instead of running.
    :param visible_at: when EC2 begins to know it.
    :param impaired: names of the status checks that fail, ``instance`` or ``system``.
    :param notices: paths of the metadata service with what they say.
    :param faults: what else the scenario does to it, by the faults' names.
    """

    instance: Instance
    authorized_keys: tuple[str, ...]
    launched_at: float
    host_number: int | None = None
    generation: int = 0
    has_host: bool = False
    host_lock: threading.Lock = field(default_factory=threading.Lock)
    running_at: float = math.inf
    delay_s: float = 0.0
    fail_cause: TransitionCause | None = None
    visible_at: float = 0.0
    impaired_checks: set[str] = field(default_factory=set)
    notices: dict[str, str] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)


class Lifecycle:
    """Drives every instance of the cloud.

    :param hosts: starts and ends the machines.
    :param spec: says what machine an instance is.
    """

    def __init__(
        self, hosts: HostControl, spec: Callable[[TrackedInstance], HostSpec], world: CloudEnvironment
    ) -> None:
        self._hosts, self._spec, self._world = hosts, spec, world
        self._closed, self._version = False, 0
        self.instances: dict[str, TrackedInstance] = {}
        #: Called with an instance's id when it has ended.
        self.on_terminated: Callable[[str], None] = lambda _: None
        #: Called with a machine that was just launched, and with one that has just come to run.
        self.on_launch: Callable[[TrackedInstance], None] = lambda _: None
        self.on_running: Callable[[TrackedInstance], None] = lambda _: None
        #: Called with every machine whose instance has changed its state.
        self.on_change: Callable[[TrackedInstance], None] = lambda _: None

    def register(self, instance: Instance, authorized_keys: tuple[str, ...]) -> None:
        """Take over an instance that the API has just made."""
        now = self._world.clock.now()
        machine = self.instances[instance.id] = TrackedInstance(instance, authorized_keys, now)
        self.on_launch(machine)
        self._boot(machine)

    def start(self, instance: Instance) -> None:
        """Bring a stopped instance back."""
        self._boot(self.instances[instance.id])

    def stop(self, instance: Instance, cause: TransitionCause = USER_INITIATED) -> None:
        """Stop a running instance: its host ends, its folder stays."""
        machine = self.instances[instance.id]
        self._change_state(machine, STOPPING, cause)
        self._shut_down_host(machine, self._hosts.stop, self._stopped, at_least=self._world.durations.stopping_s)

    def terminate(self, instance: Instance, cause: TransitionCause = USER_INITIATED) -> None:
        """End an instance in any state, and its host with it."""
        machine = self.instances[instance.id]
        self._change_state(machine, SHUTTING_DOWN, cause)
        self._shut_down_host(
            machine, self._hosts.destroy, self._terminated, at_least=self._world.durations.shutting_down_s
        )

    def reboot(self, instance: Instance) -> None:
        """Restart a running instance's host; the instance counts as running throughout."""
        self._hosts.reboot(instance.id)

    def host_shut_down(self, instance_id: str) -> None:
        """`shutdown -h` was typed on a host: stop or terminate, as the instance was told at launch. Returns at once."""
        if not self._closed:
            self._world.clock.submit(lambda: self._apply_shutdown_behavior(instance_id))

    def is_visible(self, instance_id: str) -> bool:
        """Whether EC2 knows an instance yet."""
        machine = self.instances.get(instance_id)
        return machine is None or machine.visible_at <= self._world.clock.now()

    def cache_key(self) -> Hashable:
        """Something that differs whenever any instance does, or is known where it was not."""
        now = self._world.clock.now()
        # Asked without the lock: a list is copied at once.
        hidden = frozenset(name for name, one in list(self.instances.items()) if one.visible_at > now)
        return self._version, hidden

    def invalidate(self) -> None:
        """Something about instances may have changed, other than by the life cycle."""
        self._version += 1

    def close(self) -> None:
        """Change no state any more; clock and hosts are closed by whoever opened them."""
        self._closed = True

    def _apply_shutdown_behavior(self, instance_id: str) -> None:
        with self._world.lock:
            machine = self.instances.get(instance_id)
            if machine is None or machine.instance.state != "running":
                return
            behavior = machine.instance.instance_initiated_shutdown_behavior
            (self.terminate if behavior == "terminate" else self.stop)(machine.instance, INSTANCE_INITIATED)

    def _boot(self, machine: TrackedInstance) -> None:
        # contract: launch-time-is-the-last-start
        machine.instance.launch_time = self._world.clock.utc()
        machine.running_at = math.inf
        self._change_state(machine, PENDING)
        if machine.delay_s < math.inf:
            self._schedule(machine, self._world.durations.pending_s + machine.delay_s, self.complete_launch)

    def complete_launch(self, machine: TrackedInstance) -> None:
        """Have a pending machine run now, or end if it is doomed."""
        if machine.fail_cause is not None:
            self.terminate(machine.instance, machine.fail_cause)
            return
        try:
            self._hosts.start(self._spec(machine))
        except Exception:
            _log.exception("%s: its host did not start", machine.instance.id)
            self.terminate(machine.instance, LAUNCH_FAILURE)
            return
        machine.has_host, machine.delay_s = True, 0.0
        machine.running_at = self._world.clock.now()
        self._change_state(machine, RUNNING)
        self.on_running(machine)

    def _stopped(self, machine: TrackedInstance) -> None:
        _set_state(machine.instance, STOPPED)
        self._notify(machine)

    def _terminated(self, machine: TrackedInstance) -> None:
        instance = machine.instance
        reason, transition = instance.state_reason, instance._reason
        instance.ec2_backend.release_resources(instance)
        instance.state_reason, instance._reason = reason, transition
        _set_state(instance, TERMINATED)
        self.on_terminated(instance.id)
        self._notify(machine)
        self._schedule(machine, FORGET_AFTER_S, self._forget)

    def _forget(self, machine: TrackedInstance) -> None:
        self.invalidate()
        del self.instances[machine.instance.id]
        machine.instance.ec2_backend.delete_instance(machine.instance)

    def _change_state(
        self, machine: TrackedInstance, state: tuple[int, str], cause: TransitionCause | None = None
    ) -> None:
        # Whatever was under way for the earlier state is void from here on.
        machine.generation += 1
        _set_state(machine.instance, state)
        _set_reason(machine.instance, cause, self._world.clock.utc())
        self._notify(machine)

    def _notify(self, machine: TrackedInstance) -> None:
        self.invalidate()
        self.on_change(machine)

    def _schedule(self, machine: TrackedInstance, seconds: float, action: Callable[[TrackedInstance], None]) -> None:
        turn = machine.generation

        def run() -> None:
            with self._world.lock:
                if machine.generation == turn and not self._closed:
                    action(machine)

        self._world.clock.after(seconds, run)

    def _shut_down_host(
        self,
        machine: TrackedInstance,
        end: Callable[[str], None],
        then: Callable[[TrackedInstance], None],
        *,
        at_least: float,
    ) -> None:
        """End the host on a worker, then go on once the dwell time is over too."""
        clock = self._world.clock
        turn, due = machine.generation, clock.now() + at_least

        def work() -> None:
            if machine.has_host:
                self._end_host(machine, end)
            with self._world.lock:
                if machine.generation == turn:
                    self._schedule(machine, due - clock.now(), then)

        clock.submit(work)

    def _end_host(self, machine: TrackedInstance, end: Callable[[str], None]) -> None:
        # A host ends once at a time: terminate may come while it still stops.
        with machine.host_lock:
            try:
                end(machine.instance.id)
            except Exception:
                _log.exception("%s: its host did not end", machine.instance.id)


def _set_state(instance: Instance, state: tuple[int, str]) -> None:
    instance._state.code, instance._state.name = state


def _set_reason(instance: Instance, cause: TransitionCause | None, now: datetime) -> None:
    from moto.ec2.models.instances import StateReason

    if cause is None:
        instance._reason = ""
        instance.state_reason = StateReason("pending", "pending") if instance.state == "pending" else StateReason()
        return
    when = f" ({now:%Y-%m-%d %H:%M:%S} GMT)" if cause.transition == USER_INITIATED.transition else ""
    instance._reason = cause.transition + when
    instance.state_reason = StateReason(f"{cause.code}: {cause.message}", cause.code)


def summary(machine: TrackedInstance) -> dict[str, Any]:
    """One line of ``status``: plain values only."""
    instance = machine.instance
    name = instance.ec2_backend.tags.get(instance.id, {}).get("Name", "")
    facts = {"id": instance.id, "name": name, "type": instance.instance_type, "zone": instance.placement.zone}
    return {**facts, "state": instance.state, "address": instance.private_ip or ""}
