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

from localcloud.ec2.environment import World
from localcloud.hosts.interface import HostControl

if TYPE_CHECKING:
    from moto.ec2.models.instances import Instance

    from localcloud.hosts.spec import MachineSpec
    from localcloud.scenarios.scenario import Fault

_log = logging.getLogger(__name__)

PENDING, RUNNING, SHUTTING_DOWN, TERMINATED = (0, "pending"), (16, "running"), (32, "shutting-down"), (48, "terminated")
STOPPING, STOPPED = (64, "stopping"), (80, "stopped")

# EC2 lists terminated instances "for a short while (usually less than one hour)".
FORGET_AFTER = 3600.0


@dataclass(frozen=True)
class Cause:
    """Why an instance goes down: EC2's StateReason, and its StateTransitionReason."""

    code: str
    message: str
    transition: str = ""


BY_USER = Cause("Client.UserInitiatedShutdown", "User initiated shutdown", "User initiated")
BY_HOST = Cause("Client.InstanceInitiatedShutdown", "Instance initiated shutdown")
BY_FAILURE = Cause("Server.InternalError", "Internal error on launch", "Server.InternalError")


@dataclass
class Machine:
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
    number: int | None = None
    turn: int = 0
    has_host: bool = False
    busy: threading.Lock = field(default_factory=threading.Lock)
    running_at: float = math.inf
    delay: float = 0.0
    doom: Cause | None = None
    visible_at: float = 0.0
    impaired: set[str] = field(default_factory=set)
    notices: dict[str, str] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)


class Lifecycle:
    """Drives every instance of the cloud.

    :param hosts: starts and ends the machines.
    :param spec: says what machine an instance is.
    """

    def __init__(self, hosts: HostControl, spec: Callable[[Machine], MachineSpec], world: World) -> None:
        self._hosts, self._spec, self._world = hosts, spec, world
        self._closed, self._version = False, 0
        self.machines: dict[str, Machine] = {}
        #: Called with an instance's id when it has ended.
        self.on_end: Callable[[str], None] = lambda _: None
        #: Called with a machine that was just launched, and with one that has just come to run.
        self.on_launch: Callable[[Machine], None] = lambda _: None
        self.on_running: Callable[[Machine], None] = lambda _: None
        #: Called with every machine whose instance has changed its state.
        self.on_change: Callable[[Machine], None] = lambda _: None

    def launched(self, instance: Instance, authorized_keys: tuple[str, ...]) -> None:
        """Take over an instance that the API has just made."""
        now = self._world.clock.now()
        machine = self.machines[instance.id] = Machine(instance, authorized_keys, now)
        self.on_launch(machine)
        self._boot(machine)

    def start(self, instance: Instance) -> None:
        """Bring a stopped instance back."""
        self._boot(self.machines[instance.id])

    def stop(self, instance: Instance, cause: Cause = BY_USER) -> None:
        """Stop a running instance: its host ends, its folder stays."""
        machine = self.machines[instance.id]
        self._enter(machine, STOPPING, cause)
        self._wind_down(machine, self._hosts.stop, self._stopped, at_least=self._world.dwell.stopping)

    def terminate(self, instance: Instance, cause: Cause = BY_USER) -> None:
        """End an instance in any state, and its host with it."""
        machine = self.machines[instance.id]
        self._enter(machine, SHUTTING_DOWN, cause)
        self._wind_down(machine, self._hosts.destroy, self._terminated, at_least=self._world.dwell.shutting_down)

    def reboot(self, instance: Instance) -> None:
        """Restart a running instance's host; the instance counts as running throughout."""
        self._hosts.reboot(instance.id)

    def shut_down_from_within(self, instance_id: str) -> None:
        """`shutdown -h` was typed on a host: stop or terminate, as the instance was told at launch. Returns at once."""
        if not self._closed:
            self._world.clock.work(lambda: self._shut_down(instance_id))

    def sees(self, instance_id: str) -> bool:
        """Whether EC2 knows an instance yet."""
        machine = self.machines.get(instance_id)
        return machine is None or machine.visible_at <= self._world.clock.now()

    def state(self) -> Hashable:
        """Something that differs whenever any instance does, or is known where it was not."""
        now = self._world.clock.now()
        # Asked without the lock: a list is copied at once.
        hidden = frozenset(name for name, one in list(self.machines.items()) if one.visible_at > now)
        return self._version, hidden

    def touch(self) -> None:
        """Something about instances may have changed, other than by the life cycle."""
        self._version += 1

    def close(self) -> None:
        """Change no state any more; clock and hosts are closed by whoever opened them."""
        self._closed = True

    def _shut_down(self, instance_id: str) -> None:
        with self._world.lock:
            machine = self.machines.get(instance_id)
            if machine is None or machine.instance.state != "running":
                return
            behavior = machine.instance.instance_initiated_shutdown_behavior
            (self.terminate if behavior == "terminate" else self.stop)(machine.instance, BY_HOST)

    def _boot(self, machine: Machine) -> None:
        # contract: launch-time-is-the-last-start
        machine.instance.launch_time = self._world.clock.utc()
        machine.running_at = math.inf
        self._enter(machine, PENDING)
        if machine.delay < math.inf:
            self._later(machine, self._world.dwell.pending + machine.delay, self.run)

    def run(self, machine: Machine) -> None:
        """Have a pending machine run now, or end if it is doomed."""
        if machine.doom is not None:
            self.terminate(machine.instance, machine.doom)
            return
        try:
            self._hosts.start(self._spec(machine))
        except Exception:
            _log.exception("%s: its host did not start", machine.instance.id)
            self.terminate(machine.instance, BY_FAILURE)
            return
        machine.has_host, machine.delay = True, 0.0
        machine.running_at = self._world.clock.now()
        self._enter(machine, RUNNING)
        self.on_running(machine)

    def _stopped(self, machine: Machine) -> None:
        _set_state(machine.instance, STOPPED)
        self._tell(machine)

    def _terminated(self, machine: Machine) -> None:
        instance = machine.instance
        reason, transition = instance.state_reason, instance._reason
        instance.ec2_backend.retire(instance)
        instance.state_reason, instance._reason = reason, transition
        _set_state(instance, TERMINATED)
        self.on_end(instance.id)
        self._tell(machine)
        self._later(machine, FORGET_AFTER, self._forget)

    def _forget(self, machine: Machine) -> None:
        self.touch()
        del self.machines[machine.instance.id]
        machine.instance.ec2_backend.forget(machine.instance)

    def _enter(self, machine: Machine, state: tuple[int, str], cause: Cause | None = None) -> None:
        # Whatever was under way for the earlier state is void from here on.
        machine.turn += 1
        _set_state(machine.instance, state)
        _set_reason(machine.instance, cause, self._world.clock.utc())
        self._tell(machine)

    def _tell(self, machine: Machine) -> None:
        self.touch()
        self.on_change(machine)

    def _later(self, machine: Machine, seconds: float, action: Callable[[Machine], None]) -> None:
        turn = machine.turn

        def run() -> None:
            with self._world.lock:
                if machine.turn == turn and not self._closed:
                    action(machine)

        self._world.clock.after(seconds, run)

    def _wind_down(
        self, machine: Machine, end: Callable[[str], None], then: Callable[[Machine], None], *, at_least: float
    ) -> None:
        """End the host on a worker, then go on once the dwell time is over too."""
        clock = self._world.clock
        turn, due = machine.turn, clock.now() + at_least

        def work() -> None:
            if machine.has_host:
                self._end_host(machine, end)
            with self._world.lock:
                if machine.turn == turn:
                    self._later(machine, due - clock.now(), then)

        clock.work(work)

    def _end_host(self, machine: Machine, end: Callable[[str], None]) -> None:
        # A host ends once at a time: terminate may come while it still stops.
        with machine.busy:
            try:
                end(machine.instance.id)
            except Exception:
                _log.exception("%s: its host did not end", machine.instance.id)


def _set_state(instance: Instance, state: tuple[int, str]) -> None:
    instance._state.code, instance._state.name = state


def _set_reason(instance: Instance, cause: Cause | None, now: datetime) -> None:
    from moto.ec2.models.instances import StateReason

    if cause is None:
        instance._reason = ""
        instance.state_reason = StateReason("pending", "pending") if instance.state == "pending" else StateReason()
        return
    when = f" ({now:%Y-%m-%d %H:%M:%S} GMT)" if cause.transition == BY_USER.transition else ""
    instance._reason = cause.transition + when
    instance.state_reason = StateReason(f"{cause.code}: {cause.message}", cause.code)


def summary(machine: Machine) -> dict[str, Any]:
    """One line of ``status``: plain values only."""
    instance = machine.instance
    name = instance.ec2_backend.tags.get(instance.id, {}).get("Name", "")
    facts = {"id": instance.id, "name": name, "type": instance.instance_type, "zone": instance.placement.zone}
    return {**facts, "state": instance.state, "address": instance.private_ip or ""}
