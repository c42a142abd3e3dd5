"""Lifecycle of instances over time, and of the hosts behind them.

    pending --> running --> shutting-down --> terminated (forgotten after an hour)
                   |  ^
                   v  |
               stopping --> stopped --> pending ...

An instance's state changes only here, and only with the cloud's lock held. A host starts when its instance enters
running. It is stopped or destroyed on a worker thread, because that waits for processes to end; the instance changes
its state when the host is gone and the state's minimum duration is over.

Faults of a scenario are in ``localcloud.fault_injection.instances``, which is called at every launch and whenever an
instance enters running.
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

# EC2 lists terminated instances "for a short while (usually less than one hour)" (user guide).
FORGET_AFTER_S = 3600.0


@dataclass(frozen=True)
class TransitionCause:
    """EC2's StateReason and StateTransitionReason of an instance that goes down."""

    code: str
    message: str
    transition: str = ""


USER_INITIATED = TransitionCause("Client.UserInitiatedShutdown", "User initiated shutdown", "User initiated")
INSTANCE_INITIATED = TransitionCause("Client.InstanceInitiatedShutdown", "Instance initiated shutdown")
LAUNCH_FAILURE = TransitionCause("Server.InternalError", "Internal error on launch", "Server.InternalError")


@dataclass
class TrackedInstance:
    """An instance with the state that the lifecycle keeps about it; times are the cloud's clock.

    :param host_number: number in the order of launches, for scenarios; None for instances that scenarios ignore.
    :param generation: counts state changes, so that actions scheduled for an earlier state are dropped.
    :param host_lock: held while the host is stopped, frozen or otherwise changed.
    :param delay_s: time by which it enters running later than usual; infinite for never.
    :param fail_cause: reason why it terminates instead of running.
    :param visible_at: time from which EC2's API shows it.
    :param impaired_checks: names of the status checks that fail, ``instance`` or ``system``.
    :param notices: extra paths of the metadata service and their content.
    :param faults: other faults of the scenario, by kind.
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
    """State machine of every instance of the cloud.

    :param hosts: starts and stops the hosts.
    :param spec: returns the host that an instance needs.
    """

    def __init__(
        self, hosts: HostControl, spec: Callable[[TrackedInstance], HostSpec], environment: CloudEnvironment
    ) -> None:
        self._hosts, self._spec, self._environment = hosts, spec, environment
        self._closed, self._version = False, 0
        self.instances: dict[str, TrackedInstance] = {}
        #: Called with the id of an instance that has terminated.
        self.on_terminated: Callable[[str], None] = lambda _: None
        #: Called with an instance that was just launched, and with one that has just entered running.
        self.on_launch: Callable[[TrackedInstance], None] = lambda _: None
        self.on_running: Callable[[TrackedInstance], None] = lambda _: None
        #: Each is called with every instance that has changed its state.
        self.on_change: list[Callable[[TrackedInstance], None]] = []

    def register(self, instance: Instance, authorized_keys: tuple[str, ...]) -> None:
        """Track an instance that the API has just created."""
        now = self._environment.clock.now()
        tracked = self.instances[instance.id] = TrackedInstance(instance, authorized_keys, now)
        self.on_launch(tracked)
        self._boot(tracked)

    def start(self, instance: Instance) -> None:
        """Start a stopped instance."""
        self._boot(self.instances[instance.id])

    def stop(self, instance: Instance, cause: TransitionCause = USER_INITIATED) -> None:
        """Stop a running instance: its host ends, its folder stays."""
        tracked = self.instances[instance.id]
        instance.ec2_backend.release_public_addresses(instance)
        self._change_state(tracked, STOPPING, cause)
        self._shut_down_host(tracked, self._hosts.stop, self._stopped, minimum_s=self._environment.durations.stopping_s)

    def terminate(self, instance: Instance, cause: TransitionCause = USER_INITIATED) -> None:
        """Terminate an instance in any state, and destroy its host."""
        tracked = self.instances[instance.id]
        self._change_state(tracked, SHUTTING_DOWN, cause)
        self._shut_down_host(
            tracked, self._hosts.destroy, self._terminated, minimum_s=self._environment.durations.shutting_down_s
        )

    def reboot(self, instance: Instance) -> None:
        """Reboot the host of a running instance, whose state does not change."""
        self._hosts.reboot(instance.id)

    def host_shut_down(self, instance_id: str) -> None:
        """Stop or terminate an instance whose host shut itself down, as set at launch; returns at once."""
        if not self._closed:
            self._environment.clock.submit(lambda: self._apply_shutdown_behavior(instance_id))

    def is_visible(self, instance_id: str) -> bool:
        """Return whether EC2's API shows an instance yet."""
        tracked = self.instances.get(instance_id)
        return tracked is None or tracked.visible_at <= self._environment.clock.now()

    def cache_key(self) -> Hashable:
        """Return a value that changes whenever an instance changes or becomes visible."""
        now = self._environment.clock.now()
        # Called without the lock: list() copies the dictionary in one step.
        hidden = frozenset(
            instance_id for instance_id, tracked in list(self.instances.items()) if tracked.visible_at > now
        )
        return self._version, hidden

    def invalidate(self) -> None:
        """Drop cached answers after a change of instances that the lifecycle did not make."""
        self._version += 1

    def close(self) -> None:
        """Change no state from now on. Clock and hosts are closed by their owners."""
        self._closed = True

    def _apply_shutdown_behavior(self, instance_id: str) -> None:
        with self._environment.lock:
            tracked = self.instances.get(instance_id)
            if tracked is None or tracked.instance.state != "running":
                return
            behavior = tracked.instance.instance_initiated_shutdown_behavior
            # The host is off already; stopping it again does nothing.
            (self.terminate if behavior == "terminate" else self.stop)(tracked.instance, INSTANCE_INITIATED)

    def _boot(self, tracked: TrackedInstance) -> None:
        # contract: launch-time-is-the-last-start
        tracked.instance.launch_time = self._environment.clock.utc()
        tracked.running_at = math.inf
        self._change_state(tracked, PENDING)
        # An infinite delay leaves the instance pending until it is terminated.
        if tracked.delay_s < math.inf:
            self._schedule(tracked, self._environment.durations.pending_s + tracked.delay_s, self.complete_launch)

    def complete_launch(self, tracked: TrackedInstance) -> None:
        """Move a pending instance to running, or terminate it if it is to fail."""
        if tracked.fail_cause is not None:
            self.terminate(tracked.instance, tracked.fail_cause)
            return
        tracked.instance.ec2_backend.assign_public_addresses(tracked.instance)
        try:
            # Returns before SSH is up: EC2, too, calls an instance running while it still boots.
            self._hosts.start(self._spec(tracked))
        except Exception:
            _log.exception("%s: its host did not start", tracked.instance.id)
            self.terminate(tracked.instance, LAUNCH_FAILURE)
            return
        tracked.has_host, tracked.delay_s = True, 0.0
        tracked.running_at = self._environment.clock.now()
        self._change_state(tracked, RUNNING)
        self.on_running(tracked)

    def _stopped(self, tracked: TrackedInstance) -> None:
        _set_state(tracked.instance, STOPPED)
        self._notify(tracked)

    def _terminated(self, tracked: TrackedInstance) -> None:
        instance = tracked.instance
        # moto's terminate overwrites both reasons with its own.
        reason, transition = instance.state_reason, instance._reason
        instance.ec2_backend.release_resources(instance)
        instance.state_reason, instance._reason = reason, transition
        _set_state(instance, TERMINATED)
        # Under the same lock as the state: no terminated instance has valid credentials.
        self.on_terminated(instance.id)
        self._notify(tracked)
        self._schedule(tracked, FORGET_AFTER_S, self._forget)

    def _forget(self, tracked: TrackedInstance) -> None:
        self.invalidate()
        del self.instances[tracked.instance.id]
        tracked.instance.ec2_backend.delete_instance(tracked.instance)

    def _change_state(
        self, tracked: TrackedInstance, state: tuple[int, str], cause: TransitionCause | None = None
    ) -> None:
        # Actions scheduled for the earlier state are void from here on.
        tracked.generation += 1
        _set_state(tracked.instance, state)
        _set_reason(tracked.instance, cause, self._environment.clock.utc())
        self._notify(tracked)

    def _notify(self, tracked: TrackedInstance) -> None:
        self.invalidate()
        for observe in self.on_change:
            observe(tracked)

    def _schedule(self, tracked: TrackedInstance, seconds: float, action: Callable[[TrackedInstance], None]) -> None:
        generation = tracked.generation

        def run() -> None:
            with self._environment.lock:
                # A cloud that is closed must not change moto's backends, which a newer cloud may own.
                if tracked.generation == generation and not self._closed:
                    action(tracked)

        self._environment.clock.after(seconds, run)

    def _shut_down_host(
        self,
        tracked: TrackedInstance,
        end: Callable[[str], None],
        then: Callable[[TrackedInstance], None],
        *,
        minimum_s: float,
    ) -> None:
        """Stop the host on a worker thread, then continue once the state's minimum duration is over."""
        clock = self._environment.clock
        generation, due = tracked.generation, clock.now() + minimum_s

        def shut_down() -> None:
            if tracked.has_host:
                self._end_host(tracked, end)
            with self._environment.lock:
                # Another state change may have come while the host was stopping.
                if tracked.generation == generation:
                    self._schedule(tracked, due - clock.now(), then)

        clock.submit(shut_down)

    def _end_host(self, tracked: TrackedInstance, end: Callable[[str], None]) -> None:
        # TerminateInstances may arrive while the host is still stopping.
        with tracked.host_lock:
            try:
                end(tracked.instance.id)
            except Exception:
                _log.exception("%s: its host did not stop", tracked.instance.id)


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


def summary(tracked: TrackedInstance) -> dict[str, Any]:
    """Return one entry of ``status``, as plain values."""
    instance = tracked.instance
    name = instance.ec2_backend.tags.get(instance.id, {}).get("Name", "")
    facts = {"id": instance.id, "name": name, "type": instance.instance_type, "zone": instance.placement.zone}
    address = instance.public_ip or instance.private_ip or ""
    return {**facts, "state": instance.state, "address": address, "private_address": instance.private_ip or ""}
