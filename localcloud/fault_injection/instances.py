"""What a scenario does to machines: drawn once for each at its launch, carried out when its time has come.

Some of it is a property of the machine from its launch on, which the life cycle, EC2's answers and the hosts' side
(``localcloud.fault_injection.hosts``) look at. The rest strikes at a moment.
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
    """Why an instance ends, from EC2's StateReason code."""
    return TransitionCause(code, _MESSAGES.get(code, code.partition(".")[2] or code), code)


class InstanceFaults:
    """Draws machines' fates and carries them out."""

    def __init__(self, lifecycle: Lifecycle, hosts: FaultyHosts, world: CloudEnvironment) -> None:
        self._lifecycle, self._hosts, self._world = lifecycle, hosts, world
        self._scenario_number = 0
        self._started_at = world.clock.now()
        self._awaiting: dict[str, list[Fault]] = {}

    def on_launch(self, machine: TrackedInstance) -> None:
        """Decide what will befall a new machine."""
        machine.host_number = self._world.fault_engine.next_host_number()
        self._apply(machine, self._world.fault_engine.faults_for_instance(subject_of(machine)))

    def on_running(self, machine: TrackedInstance) -> None:
        """Put what follows a machine's coming to run on the clock."""
        for fault in self._awaiting.pop(machine.instance.id, ()):
            self._schedule_fault(machine, fault, fault.when.first if fault.when.form == "after" else 0.0)

    def on_scenario(self) -> None:
        """Another scenario has begun: machines that are there are counted anew, and meet its moments."""
        self._scenario_number += 1
        self._started_at = self._world.clock.now()
        self._awaiting.clear()
        for machine in self._lifecycle.instances.values():
            if machine.instance.state in _ALIVE and machine.host_number is not None:
                machine.host_number = self._world.fault_engine.next_host_number()
                self._apply(machine, self._world.fault_engine.faults_for_instance(subject_of(machine), launched=False))

    def _apply(self, machine: TrackedInstance, faults: list[Fault]) -> None:
        for fault in faults:
            if fault.kind in _MOMENTS:
                self._plan_moment(machine, fault)
            else:
                machine.faults.setdefault(fault.kind, fault)
                _PROPERTIES.get(fault.kind, _handled_by_host)(machine, fault)

    def _plan_moment(self, machine: TrackedInstance, fault: Fault) -> None:
        now, when = self._world.clock.now(), fault.when
        if when.form == "at":
            self._schedule_fault(machine, fault, self._started_at + when.first - now)
        elif when.form == "after" and when.anchor == "launch":
            self._schedule_fault(machine, fault, machine.launched_at + when.first - now)
        elif machine.running_at < math.inf:
            self._schedule_fault(machine, fault, machine.running_at + when.first - now)
        else:
            self._awaiting.setdefault(machine.instance.id, []).append(fault)

    def _schedule_fault(self, machine: TrackedInstance, fault: Fault, seconds: float) -> None:
        act = _MOMENTS[fault.kind]
        self._schedule(
            seconds - (fault["rebalance"] if fault.kind == "spot-interruption" else 0.0),
            machine,
            lambda: act(self, machine, fault),
        )

    def _schedule(self, seconds: float, machine: TrackedInstance, action: Callable[[], None]) -> None:
        """Do something to a machine later, if it is still there and the scenario still the same."""
        day = self._scenario_number

        def run() -> None:
            with self._world.lock:
                if self._scenario_number == day and machine.instance.state in _ALIVE:
                    action()

        self._world.clock.after(seconds, run)

    def _terminate(self, machine: TrackedInstance, fault: Fault) -> None:
        self._lifecycle.terminate(machine.instance, transition_cause(fault["code"]))

    def _impair(self, machine: TrackedInstance, fault: Fault) -> None:
        machine.impaired_checks.add(fault["check"])
        if fault["seconds"]:
            self._schedule(fault["seconds"], machine, lambda: machine.impaired_checks.discard(fault["check"]))

    def _recommend_rebalance(self, machine: TrackedInstance, fault: Fault) -> None:
        """A spot machine's end, from the first sign on."""
        if fault["rebalance"]:
            told = json.dumps({"noticeTime": f"{self._world.clock.utc():{_STAMP}}"})
            machine.notices["events/recommendations/rebalance"] = told
        self._schedule(fault["rebalance"], machine, lambda: self._give_notice(machine, fault))

    def _give_notice(self, machine: TrackedInstance, fault: Fault) -> None:
        end = f"{self._world.clock.utc() + timedelta(seconds=fault['notice']):{_STAMP}}"
        machine.notices["spot/instance-action"] = json.dumps({"action": "terminate", "time": end})
        machine.notices["spot/termination-time"] = end
        ending = transition_cause("Server.SpotInstanceTermination")
        self._schedule(fault["notice"], machine, lambda: self._lifecycle.terminate(machine.instance, ending))

    def _stop_host(self, machine: TrackedInstance, _: Fault) -> None:
        self._submit(machine, self._hosts.stop)

    def _freeze(self, machine: TrackedInstance, fault: Fault) -> None:
        self._submit(machine, self._hosts.freeze)
        if fault["seconds"]:
            self._schedule(fault["seconds"], machine, lambda: self._submit(machine, self._hosts.thaw))

    def _reboot(self, machine: TrackedInstance, _: Fault) -> None:
        self._submit(machine, self._hosts.reboot)

    def _replace_host(self, machine: TrackedInstance, _: Fault) -> None:
        self._submit(machine, self._hosts.replace_host)

    def _submit(self, machine: TrackedInstance, action: Callable[[str], None]) -> None:
        """Do to a host what may take a while."""
        if not machine.has_host:
            return

        def work() -> None:
            with machine.host_lock:
                action(machine.instance.id)

        self._world.clock.submit(work)


def subject_of(machine: TrackedInstance) -> Subject:
    """A machine as scenarios name it."""
    instance = machine.instance
    return Subject(
        region=instance.region_name,
        zone=str(instance.placement.zone),
        subnet=str(instance.subnet_id),
        type=instance.instance_type,
        market=market_of(instance),
        host=machine.host_number,
    )


def _handled_by_host(machine: TrackedInstance, fault: Fault) -> None:
    """The hosts' side sees to it."""


def _hide(machine: TrackedInstance, fault: Fault) -> None:
    machine.visible_at = machine.launched_at + fault["seconds"]


def _hold_back(machine: TrackedInstance, fault: Fault) -> None:
    machine.delay_s = fault["seconds"] or math.inf


def _fail_launch(machine: TrackedInstance, fault: Fault) -> None:
    machine.fail_cause = transition_cause(fault["code"])


def _protect(machine: TrackedInstance, _: Fault) -> None:
    machine.instance.disable_api_termination = True


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
}
