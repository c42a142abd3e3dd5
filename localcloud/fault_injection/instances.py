"""Inject faults into instances: chosen at the launch of each instance, carried out when their time has come.

Some faults are properties of an instance from its launch on, which the lifecycle, EC2's answers and the hosts'
wrapper (``localcloud.fault_injection.hosts``) read. The others trigger at a moment.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import timedelta

from localcloud.aws.quotas import market_of
from localcloud.ec2.environment import CloudEnvironment
from localcloud.ec2.lifecycle import Lifecycle, TrackedInstance, TransitionCause
from localcloud.fault_injection.hosts import FaultyHosts
from localcloud.hosts.hostile.behavior import Hostility
from localcloud.scenarios.scenario import Fault
from localcloud.scenarios.targets import Subject

_MESSAGES = {
    "Server.InternalError": "Internal error on launch",
    "Server.InsufficientInstanceCapacity": "Insufficient capacity available to satisfy instance request",
    "Server.ScheduledStop": "Stopped due to a scheduled retirement",
    "Server.SpotInstanceTermination": "Spot instance termination",
    "Client.InternalError": "Client error on launch",
    "Client.InvalidSnapshot.NotFound": "The snapshot ID does not exist",
    "Client.VolumeLimitExceeded": "Volume limit exceeded",
}
_STAMP = "%Y-%m-%dT%H:%M:%SZ"
_ALIVE = ("pending", "running", "stopping", "stopped")


def transition_cause(code: str) -> TransitionCause:
    """Return the cause of an instance's end, from EC2's StateReason code."""
    return TransitionCause(code, _MESSAGES.get(code, code.partition(".")[2] or code), code)


class InstanceFaults:
    """Chooses the faults of instances and carries them out."""

    def __init__(self, lifecycle: Lifecycle, hosts: FaultyHosts, environment: CloudEnvironment) -> None:
        self._lifecycle, self._hosts, self._environment = lifecycle, hosts, environment
        self._scenario_number = 0
        self._started_at = environment.clock.now()
        self._awaiting: dict[str, list[Fault]] = {}

    def on_launch(self, tracked: TrackedInstance) -> None:
        """Choose the faults of a new instance."""
        tracked.host_number = self._environment.fault_engine.next_host_number()
        self._apply(tracked, self._environment.fault_engine.faults_for_instance(subject_of(tracked)))

    def on_running(self, tracked: TrackedInstance) -> None:
        """Schedule the faults that wait for an instance to enter running."""
        for fault in self._awaiting.pop(tracked.instance.id, ()):
            self._schedule_fault(tracked, fault, fault.when.first if fault.when.form == "after" else 0.0)

    def on_scenario(self) -> None:
        """Choose faults for the existing instances after another scenario was loaded; they are counted anew."""
        self._scenario_number += 1
        self._started_at = self._environment.clock.now()
        self._awaiting.clear()
        for tracked in self._lifecycle.instances.values():
            if tracked.instance.state in _ALIVE and tracked.host_number is not None:
                tracked.host_number = self._environment.fault_engine.next_host_number()
                self._apply(
                    tracked, self._environment.fault_engine.faults_for_instance(subject_of(tracked), launched=False)
                )

    def _apply(self, tracked: TrackedInstance, faults: list[Fault]) -> None:
        for fault in faults:
            if fault.kind in _MOMENTS:
                self._plan_moment(tracked, fault)
            else:
                # The first fault of a kind in the file wins.
                tracked.faults.setdefault(fault.kind, fault)
                _PROPERTIES.get(fault.kind, _handled_by_host)(tracked, fault)

    def _plan_moment(self, tracked: TrackedInstance, fault: Fault) -> None:
        now, when = self._environment.clock.now(), fault.when
        if when.form == "at":
            self._schedule_fault(tracked, fault, self._started_at + when.first - now)
        elif when.form == "after" and when.anchor == "launch":
            self._schedule_fault(tracked, fault, tracked.launched_at + when.first - now)
        # The instance is running already: its faults are due relative to that time.
        elif tracked.running_at < math.inf:
            self._schedule_fault(tracked, fault, tracked.running_at + when.first - now)
        else:
            self._awaiting.setdefault(tracked.instance.id, []).append(fault)

    def _schedule_fault(self, tracked: TrackedInstance, fault: Fault, seconds: float) -> None:
        def strike() -> None:
            self._environment.fault_engine.note_moment(fault)
            _MOMENTS[fault.kind](self, tracked, fault)

        early_s = fault["rebalance"] if fault.kind == "spot-interruption" else 0.0
        self._schedule(seconds - early_s, tracked, strike)

    def _schedule(self, seconds: float, tracked: TrackedInstance, action: Callable[[], None]) -> None:
        """Run an action later if the instance and the scenario are still the same."""
        scenario_number = self._scenario_number

        def run() -> None:
            with self._environment.lock:
                # The scenario may have been replaced, or the instance terminated, in the meantime.
                if self._scenario_number == scenario_number and tracked.instance.state in _ALIVE:
                    action()

        self._environment.clock.after(seconds, run)

    def _terminate(self, tracked: TrackedInstance, fault: Fault) -> None:
        self._lifecycle.terminate(tracked.instance, transition_cause(fault["code"]))

    def _impair(self, tracked: TrackedInstance, fault: Fault) -> None:
        tracked.impaired_checks.add(fault["check"])
        if fault["seconds"]:
            self._schedule(fault["seconds"], tracked, lambda: tracked.impaired_checks.discard(fault["check"]))

    def _recommend_rebalance(self, tracked: TrackedInstance, fault: Fault) -> None:
        """Interrupt a spot instance, beginning with the first sign."""
        if fault["rebalance"]:
            recommendation = json.dumps({"noticeTime": f"{self._environment.clock.utc():{_STAMP}}"})
            tracked.notices["events/recommendations/rebalance"] = recommendation
        self._schedule(fault["rebalance"], tracked, lambda: self._give_notice(tracked, fault))

    def _give_notice(self, tracked: TrackedInstance, fault: Fault) -> None:
        end = f"{self._environment.clock.utc() + timedelta(seconds=fault['notice']):{_STAMP}}"
        tracked.notices["spot/instance-action"] = json.dumps({"action": "terminate", "time": end})
        tracked.notices["spot/termination-time"] = end
        cause = transition_cause("Server.SpotInstanceTermination")
        self._schedule(fault["notice"], tracked, lambda: self._lifecycle.terminate(tracked.instance, cause))

    def _stop_host(self, tracked: TrackedInstance, _: Fault) -> None:
        self._submit(tracked, self._hosts.stop)

    def _freeze(self, tracked: TrackedInstance, fault: Fault) -> None:
        self._submit(tracked, self._hosts.freeze)
        if fault["seconds"]:
            self._schedule(fault["seconds"], tracked, lambda: self._submit(tracked, self._hosts.thaw))

    def _reboot(self, tracked: TrackedInstance, _: Fault) -> None:
        self._submit(tracked, self._hosts.reboot)

    def _replace_host(self, tracked: TrackedInstance, _: Fault) -> None:
        self._submit(tracked, self._hosts.replace_host)

    def _make_hostile(self, tracked: TrackedInstance, fault: Fault) -> None:
        hostility = Hostility(fault["how"], fault["commands"])
        self._submit(tracked, lambda instance_id: self._hosts.make_hostile(instance_id, hostility))

    def _break_gpu(self, tracked: TrackedInstance, fault: Fault) -> None:
        (value,) = fault.options.values()
        self._submit(tracked, lambda instance_id: self._hosts.break_gpu(instance_id, f"{fault.kind} {value}"))

    def _submit(self, tracked: TrackedInstance, action: Callable[[str], None]) -> None:
        """Run an operation of a host that may block."""
        if not tracked.has_host:
            return

        def work() -> None:
            # A host that is being stopped must not be frozen or replaced at the same time.
            with tracked.host_lock:
                action(tracked.instance.id)

        self._environment.clock.submit(work)


def subject_of(tracked: TrackedInstance) -> Subject:
    """Return an instance as scenarios name it."""
    instance = tracked.instance
    return Subject(
        region=instance.region_name,
        zone=str(instance.placement.zone),
        subnet=str(instance.subnet_id),
        type=instance.instance_type,
        market=market_of(instance),
        host=tracked.host_number,
    )


def _handled_by_host(tracked: TrackedInstance, fault: Fault) -> None:
    """Do nothing: the hosts' wrapper carries the fault out."""


def _hide(tracked: TrackedInstance, fault: Fault) -> None:
    tracked.visible_at = tracked.launched_at + fault["seconds"]


def _hold_back(tracked: TrackedInstance, fault: Fault) -> None:
    tracked.delay_s = fault["seconds"] or math.inf


def _fail_launch(tracked: TrackedInstance, fault: Fault) -> None:
    tracked.fail_cause = transition_cause(fault["code"])


def _protect(tracked: TrackedInstance, _: Fault) -> None:
    tracked.instance.disable_api_termination = True


_PROPERTIES: dict[str, Callable[[TrackedInstance, Fault], None]] = {
    "invisible": _hide,
    "stuck-pending": _hold_back,
    "dies-pending": _fail_launch,
    "protected": _protect,
}
_MOMENTS: dict[str, Callable[[InstanceFaults, TrackedInstance, Fault], None]] = {
    "dies": InstanceFaults._terminate,
    "impaired": InstanceFaults._impair,
    "spot-interruption": InstanceFaults._recommend_rebalance,
    "host-lost": InstanceFaults._stop_host,
    "host-frozen": InstanceFaults._freeze,
    "host-reboots": InstanceFaults._reboot,
    "host-key-swapped": InstanceFaults._replace_host,
    "host-hostile": InstanceFaults._make_hostile,
    **dict.fromkeys(("gpu-ecc", "gpu-xid", "gpu-missing"), InstanceFaults._break_gpu),
}
