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
from localcloud.ec2.environment import World
from localcloud.ec2.lifecycle import Cause, Lifecycle, Machine
from localcloud.fault_injection.hosts import BadHosts
from localcloud.scenarios.scenario import Fault
from localcloud.scenarios.targets import Subject

_WORDS = {
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


def cause(code: str) -> Cause:
    """Why an instance ends, from EC2's StateReason code."""
    return Cause(code, _WORDS.get(code, code.partition(".")[2] or code), code)


class Fates:
    """Draws machines' fates and carries them out."""

    def __init__(self, lifecycle: Lifecycle, hosts: BadHosts, world: World) -> None:
        self._lifecycle, self._hosts, self._world = lifecycle, hosts, world
        self._day = 0
        self._began = world.clock.now()
        self._awaiting: dict[str, list[Fault]] = {}

    def launched(self, machine: Machine) -> None:
        """Decide what will befall a new machine."""
        machine.number = self._world.weather.next_host()
        self._meet(machine, self._world.weather.fate(subject(machine)))

    def running(self, machine: Machine) -> None:
        """Put what follows a machine's coming to run on the clock."""
        for fault in self._awaiting.pop(machine.instance.id, ()):
            self._later(machine, fault, fault.when.first if fault.when.form == "after" else 0.0)

    def begin(self) -> None:
        """Another scenario has begun: machines that are there are counted anew, and meet its moments."""
        self._day += 1
        self._began = self._world.clock.now()
        self._awaiting.clear()
        for machine in self._lifecycle.machines.values():
            if machine.instance.state in _ALIVE and machine.number is not None:
                machine.number = self._world.weather.next_host()
                self._meet(machine, self._world.weather.fate(subject(machine), launched=False))

    def _meet(self, machine: Machine, faults: list[Fault]) -> None:
        for fault in faults:
            if fault.kind in _MOMENTS:
                self._plan(machine, fault)
            else:
                machine.faults.setdefault(fault.kind, fault)
                _PROPERTIES.get(fault.kind, _nothing)(machine, fault)

    def _plan(self, machine: Machine, fault: Fault) -> None:
        now, when = self._world.clock.now(), fault.when
        if when.form == "at":
            self._later(machine, fault, self._began + when.first - now)
        elif when.form == "after" and when.anchor == "launch":
            self._later(machine, fault, machine.launched_at + when.first - now)
        elif machine.running_at < math.inf:
            self._later(machine, fault, machine.running_at + when.first - now)
        else:
            self._awaiting.setdefault(machine.instance.id, []).append(fault)

    def _later(self, machine: Machine, fault: Fault, seconds: float) -> None:
        act = _MOMENTS[fault.kind]
        self._in(
            seconds - (fault["rebalance"] if fault.kind == "spot-interruption" else 0.0),
            machine,
            lambda: act(self, machine, fault),
        )

    def _in(self, seconds: float, machine: Machine, action: Callable[[], None]) -> None:
        """Do something to a machine later, if it is still there and the scenario still the same."""
        day = self._day

        def run() -> None:
            with self._world.lock:
                if self._day == day and machine.instance.state in _ALIVE:
                    action()

        self._world.clock.after(seconds, run)

    def _die(self, machine: Machine, fault: Fault) -> None:
        self._lifecycle.terminate(machine.instance, cause(fault["code"]))

    def _impair(self, machine: Machine, fault: Fault) -> None:
        machine.impaired.add(fault["check"])
        if fault["seconds"]:
            self._in(fault["seconds"], machine, lambda: machine.impaired.discard(fault["check"]))

    def _recommend(self, machine: Machine, fault: Fault) -> None:
        """A spot machine's end, from the first sign on."""
        if fault["rebalance"]:
            told = json.dumps({"noticeTime": f"{self._world.clock.utc():{_STAMP}}"})
            machine.notices["events/recommendations/rebalance"] = told
        self._in(fault["rebalance"], machine, lambda: self._give_notice(machine, fault))

    def _give_notice(self, machine: Machine, fault: Fault) -> None:
        end = f"{self._world.clock.utc() + timedelta(seconds=fault['notice']):{_STAMP}}"
        machine.notices["spot/instance-action"] = json.dumps({"action": "terminate", "time": end})
        machine.notices["spot/termination-time"] = end
        ending = cause("Server.SpotInstanceTermination")
        self._in(fault["notice"], machine, lambda: self._lifecycle.terminate(machine.instance, ending))

    def _lose(self, machine: Machine, _: Fault) -> None:
        self._do(machine, self._hosts.stop)

    def _freeze(self, machine: Machine, fault: Fault) -> None:
        self._do(machine, self._hosts.freeze)
        if fault["seconds"]:
            self._in(fault["seconds"], machine, lambda: self._do(machine, self._hosts.thaw))

    def _reboot(self, machine: Machine, _: Fault) -> None:
        self._do(machine, self._hosts.reboot)

    def _swap_key(self, machine: Machine, _: Fault) -> None:
        self._do(machine, self._hosts.swap_key)

    def _do(self, machine: Machine, action: Callable[[str], None]) -> None:
        """Do to a host what may take a while."""
        if not machine.has_host:
            return

        def work() -> None:
            with machine.busy:
                action(machine.instance.id)

        self._world.clock.work(work)


def subject(machine: Machine) -> Subject:
    """A machine as scenarios name it."""
    instance = machine.instance
    return Subject(
        region=instance.region_name,
        zone=str(instance.placement.zone),
        subnet=str(instance.subnet_id),
        type=instance.instance_type,
        market=market_of(instance),
        host=machine.number,
    )


def _nothing(machine: Machine, fault: Fault) -> None:
    """The hosts' side sees to it."""


def _hide(machine: Machine, fault: Fault) -> None:
    machine.visible_at = machine.launched_at + fault["seconds"]


def _hold_back(machine: Machine, fault: Fault) -> None:
    machine.delay = fault["seconds"] or math.inf


def _doom(machine: Machine, fault: Fault) -> None:
    machine.doom = cause(fault["code"])


def _protect(machine: Machine, _: Fault) -> None:
    machine.instance.disable_api_termination = True


_PROPERTIES: dict[str, Callable[[Machine, Fault], None]] = {
    "invisible": _hide,
    "stuck-pending": _hold_back,
    "dies-pending": _doom,
    "protected": _protect,
}
_MOMENTS: dict[str, Callable[[Fates, Machine, Fault], None]] = {
    "dies": Fates._die,
    "impaired": Fates._impair,
    "spot-interruption": Fates._recommend,
    "host-lost": Fates._lose,
    "host-frozen": Fates._freeze,
    "host-reboots": Fates._reboot,
    "host-key-swapped": Fates._swap_key,
}
