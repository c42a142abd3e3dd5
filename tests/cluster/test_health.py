"""When a machine is given up while SSH is waited for: it died, or its status checks have failed for minutes."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.cluster.health import IMPAIRED_TIMEOUT_S, STATUS_CHECK_DELAY_S, InstanceHealth
from tests.support.aws.wire import Request, Time, Wire, clients, described

GOOD, ILL = "i-00000000000000001", "i-00000000000000002"


@dataclass
class Sky:
    """What EC2 says: states of machines, and whose checks fail."""

    states: dict[str, str]
    system: set[str] = field(default_factory=set)
    instance: set[str] = field(default_factory=set)

    def __call__(self, request: Request) -> tuple[int, str]:
        if request.action == "DescribeInstances":
            return described(self.states)
        found = self.system if request.arguments["Filter.1.Name"].startswith("system") else self.instance
        items = "".join(f"<item><instanceId>{each}</instanceId></item>" for each in sorted(found))
        name = "DescribeInstanceStatusResponse"
        return 200, f"<{name}><instanceStatusSet>{items}</instanceStatusSet></{name}>"


def at_work(sky: Sky) -> tuple[InstanceHealth, Time, Wire]:
    wire, time = Wire(sky), Time()
    return InstanceHealth(clients(wire, time), lambda: [GOOD, ILL]), time, wire


def given_up_after(vitals: InstanceHealth, time: Time, seconds: float) -> float:
    """Ask every 5 s, and return when the ill one was given up; -1 if never. The good one never is."""
    began = time.seconds
    while time.seconds - began < seconds:
        assert vitals.failure_reason(GOOD) == ""
        if vitals.failure_reason(ILL):
            return time.seconds
        time.clock.sleep(5.0)
    return -1.0


def test_a_machine_is_given_up_once_its_checks_have_failed_for_three_minutes() -> None:
    for kind in ("system", "instance"):
        vitals, time, _ = at_work(Sky({GOOD: "running", ILL: "running"}, **{kind: {ILL}}))
        when = given_up_after(vitals, time, 600)

        assert STATUS_CHECK_DELAY_S + IMPAIRED_TIMEOUT_S <= when <= STATUS_CHECK_DELAY_S + IMPAIRED_TIMEOUT_S + 20
        assert "running, but its status checks have failed for 18" in vitals.failure_reason(ILL)


def test_checks_that_pass_again_begin_the_count_anew() -> None:
    sky = Sky({GOOD: "running", ILL: "running"}, instance={ILL})
    vitals, time, _ = at_work(sky)
    assert given_up_after(vitals, time, 200) == -1

    sky.instance = set()
    assert given_up_after(vitals, time, 60) == -1
    sky.instance = {ILL}
    well_until = time.seconds
    assert given_up_after(vitals, time, 600) >= well_until + IMPAIRED_TIMEOUT_S


def test_a_machine_that_died_is_told_within_seconds_with_its_state() -> None:
    sky = Sky({GOOD: "running", ILL: "running"})
    vitals, time, _ = at_work(sky)
    assert given_up_after(vitals, time, 20) == -1
    sky.states[ILL] = "terminated"

    assert given_up_after(vitals, time, 20) <= 25
    assert vitals.failure_reason(ILL).startswith("terminated")


def test_one_call_answers_for_all_machines_and_no_more_than_one_in_five_seconds() -> None:
    vitals, time, wire = at_work(Sky({GOOD: "running", ILL: "running"}))
    for _ in range(500):
        vitals.failure_reason(GOOD)
        vitals.failure_reason(ILL)
        time.clock.sleep(0.1)

    assert len(wire.requests) <= 50 / 5 + 1
