"""Derive a random run from its seed: the user's verbs, the faults and the interruptions."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from localcloud.scenarios.scenario import Fault, Scenario, make_fault
from tests.chaos.invariants import OTHER_ARN
from tests.chaos.random_runs import callers, circumstances
from tests.chaos.random_runs.callers import Caller
from tests.chaos.random_runs.circumstances import Circumstances

MOST_FAULTS = 5
ZONES = ("us-west-2a", "us-west-2b", "us-west-2c", "us-west-2d")

CALLS = (
    "GetCallerIdentity",
    "DescribeInstances",
    "DescribeSubnets",
    "DescribeImages",
    "DescribeInstanceTypes",
    "DescribeSecurityGroups",
    "CreateSecurityGroup",
    "AuthorizeSecurityGroupIngress",
    "DescribeKeyPairs",
    "ImportKeyPair",
    "RunInstances",
    "CreateTags",
    "StopInstances",
    "StartInstances",
    "TerminateInstances",
    "DeleteSecurityGroup",
    "DeleteKeyPair",
    "GetParameter",
)
"""API calls around which runs are interrupted."""

_CHANGING = (
    "RunInstances",
    "RunInstances",
    "RunInstances",
    "CreateSecurityGroup",
    "AuthorizeSecurityGroupIngress",
    "ImportKeyPair",
    "CreateTags",
    "StopInstances",
    "StartInstances",
    "TerminateInstances",
    "TerminateInstances",
    "DeleteSecurityGroup",
    "DeleteKeyPair",
)

DRY_RUN_FIRST = ("RunInstances", "CreateSecurityGroup", "ImportKeyPair")
"""Calls whose first request is a dry run."""


@dataclass(frozen=True)
class Step:
    """One verb that the user executes.

    :param verb: launch, status, stop, start, terminate.
    :param count: VMs to launch.
    :param owner: whose VMs to terminate; empty for the user's.
    """

    verb: str
    count: int = 0
    owner: str = ""


@dataclass(frozen=True)
class Interruption:
    """A crash or a Ctrl-C at an API call.

    :param kind: ``crash``, ``moves`` (a crash after which the user continues on another computer), ``ctrl-c`` or
        ``ctrl-c twice``.
    :param phase: ``before`` the request is sent, or ``after`` AWS has carried it out.
    :param action: the API action; empty for any.
    :param number: index of the call among those of the action, from 1.
    """

    kind: str
    phase: str
    action: str
    number: int


@dataclass(frozen=True)
class RunPlan:
    """Everything that follows from a seed.

    :param user_returns: False if the run ends with the first crash.
    :param third_party: resources of another owner in the account, if any.
    """

    seed: int
    steps: tuple[Step, ...]
    faults: tuple[Fault, ...]
    interruptions: tuple[Interruption, ...]
    user_returns: bool
    third_party: Fault | None
    config: tuple[tuple[str, str], ...]
    circumstances: Circumstances
    caller: Caller

    @property
    def scenario(self) -> Scenario:
        """The faults as a scenario of the embedded cloud."""
        third_party = (self.third_party,) if self.third_party else ()
        return Scenario(self.seed, (*third_party, *self.faults, *self.circumstances.faults))

    def describe(self) -> list[str]:
        """Return the plan as text, one line per setting, step, fault and interruption."""
        lines = [f"config {name} = {value}" for name, value in self.config]
        lines += [f"step {step.verb} {step.count or ''}".rstrip() for step in self.steps]
        lines += [f"fault {' '.join(Scenario(faults=(planned,)).text().split()[3:])}" for planned in self.faults]
        lines += [
            f"interruption {planned.kind} {planned.phase} {planned.action or 'any call'} {planned.number}"
            for planned in self.interruptions
        ]
        lines += [*self.circumstances.describe(), *self.caller.describe()]
        return [*lines, "the user returns" if self.user_returns else "the user does not return"]


def generate(seed: int) -> RunPlan:
    """Return the plan of a seed: the text that seeds the generator must not change, nor the order of draws."""
    chance = random.Random(f"life/{seed}")
    user_returns = seed % 2 == 0
    faults, interruptions = _faults(chance, chance.choice((1, 2, 3, 4, 5, 5)), user_returns=user_returns)
    if not user_returns:
        ctrl_c = [planned for planned in interruptions if planned.kind.startswith("ctrl")]
        interruptions = [*ctrl_c[: MOST_FAULTS - 1], _interruption(chance, "crash")]
        faults = faults[: MOST_FAULTS - len(interruptions)]
    steps = _steps(chance)
    caller = callers.draw(seed, len(steps))
    return RunPlan(
        seed,
        steps,
        tuple(faults),
        tuple(interruptions),
        user_returns,
        _third_party(chance, caller),
        _config(chance),
        circumstances.draw(seed, len(steps)),
        caller,
    )


def _steps(chance: random.Random) -> tuple[Step, ...]:
    steps = [Step("launch", chance.randint(1, 4))]
    if chance.random() < 0.5:
        steps.append(Step("status"))
    if chance.random() < 0.35:
        steps.append(Step("launch", chance.randint(1, 3)))
    if chance.random() < 0.35:
        steps += [Step("stop"), Step("start")]
    return (*steps, Step("terminate"))


def _config(chance: random.Random) -> tuple[tuple[str, str], ...]:
    values = {"max_hours": chance.choice(("1", "2", "8"))}
    if chance.random() < 0.4:
        values["max_dollars"] = chance.choice(("1", "2.5"))
    if chance.random() < 0.25:
        values |= {"market": "spot", "spot_fallback": chance.choice(("yes", "no"))}
    if chance.random() < 0.25:
        values["allow_partial"] = "yes"
    if chance.random() < 0.25:
        values["fallback_instance_types"] = "m7i.2xlarge"
    return tuple(values.items())


def _faults(chance: random.Random, count: int, *, user_returns: bool) -> tuple[list[Fault], list[Interruption]]:
    faults: list[Fault] = []
    interruptions: list[Interruption] = []
    for _ in range(count):
        if chance.random() < 0.3:
            kind = chance.choice(("crash", "crash", "moves", "ctrl-c", "ctrl-c", "ctrl-c twice"))
            interruptions.append(_interruption(chance, kind))
        else:
            kinds = (*_KINDS, *_ENDLESS) if user_returns else _KINDS
            faults.append(chance.choice(kinds)(chance))
    return faults, interruptions


def _interruption(chance: random.Random, kind: str) -> Interruption:
    phase = chance.choice(("before", "after"))
    if chance.random() < 0.5:
        return Interruption(kind, phase, "", chance.randint(1, 70))
    action = chance.choice((*CALLS, *_CHANGING))
    return Interruption(kind, phase, action, _nth(chance, action))


def _nth(chance: random.Random, action: str) -> int:
    """Return the index of a call; dry runs are interrupted as well, but rarely."""
    number = chance.choice((1, 1, 1, 2, 3))
    return number + (action in DRY_RUN_FIRST and chance.random() < 0.8)


def _third_party(chance: random.Random, caller: Caller) -> Fault | None:
    if chance.random() < 0.3:
        return None
    tags = {
        "Name": "ml-0",
        "stratus:cluster": "ml",
        "stratus:owner": OTHER_ARN,
        "stratus:hosts": "ml-0..ml-1",
        "stratus:run": "20261119-080000-c011",
        **caller.colleague_tags(),
    }
    if chance.random() < 0.2:
        tags = {"Name": "ml-0"}
    return make_fault(
        "colleague", machines=chance.randint(1, 2), tags=tags, group="stratus-ml-c0113a60", key="stratus-ml-c0113a60"
    )


def _at(chance: random.Random, action: str) -> str:
    return f"at call {_nth(chance, action)}"


def _window(chance: random.Random) -> str:
    begin = chance.choice((0, 0, 10, 60, 200))
    return f"from {begin} s to {begin + chance.choice((20, 60, 120, 300))} s"


def _error(chance: random.Random) -> Fault:
    code = chance.choice(("InternalError", "ServiceUnavailable", "Unavailable", "InternalFailure"))
    action = chance.choice((*CALLS, *_CHANGING))
    return make_fault(
        "error",
        code=code,
        message="An internal error has occurred.",
        status=503 if "U" in code else 500,
        action=action,
        applied=chance.random() < 0.5,
        when=_at(chance, action),
        times=1,
    )


def _errors_for_a_while(chance: random.Random) -> Fault:
    return make_fault(
        "error",
        code="InternalError",
        action=chance.choice((*_CHANGING, "*")),
        applied=chance.random() < 0.5,
        when=_window(chance),
        chance=0.5,
    )


def _dropped(chance: random.Random) -> Fault:
    action = chance.choice((*CALLS, *_CHANGING))
    return make_fault("dropped", action=action, applied=chance.random() < 0.6, when=_at(chance, action), times=1)


def _unreachable(chance: random.Random) -> Fault:
    return make_fault("dropped", action="*", applied=chance.random() < 0.5, when=_window(chance))


def _slow(chance: random.Random) -> Fault:
    seconds = chance.choice((5, 45, 61, 75))
    action = chance.choice((*CALLS, *_CHANGING))
    return make_fault("slow", action=action, seconds=f"{seconds} s", when=_at(chance, action), times=1)


def _throttled(chance: random.Random) -> Fault:
    action = chance.choice(("*", "Describe*", "RunInstances", "TerminateInstances"))
    return make_fault("throttled", action=action, burst=2, rate=chance.choice((0.1, 0.5)), when=_window(chance))


def _expired(chance: random.Random) -> Fault:
    return make_fault("expired-keys", when=_window(chance))


def _invisible(chance: random.Random) -> Fault:
    return make_fault("invisible", seconds=f"{5 * chance.randint(1, 60)} s", where=_host(chance))


def _no_capacity(chance: random.Random) -> Fault:
    where = chance.choice((ZONES[0], f"{ZONES[0]}, {ZONES[1]}", "c7i.*", "spot", "us-west-2"))
    return make_fault("no-capacity", where=where, machines=chance.choice((0, 0, 1, 2)), when=_window(chance))


def _no_addresses(chance: random.Random) -> Fault:
    return make_fault("no-addresses", where=chance.choice(ZONES), free=chance.choice((0, 1)), when=_window(chance))


def _quota(chance: random.Random) -> Fault:
    return make_fault("quota", quota="L-1216C47A", vcpus=chance.choice((0, 8, 16)), when=_window(chance))


def _host(chance: random.Random) -> str:
    return chance.choice(("host 0", "host 1", "hosts 0-3", "hosts 1-2"))


def _dies_pending(chance: random.Random) -> Fault:
    return make_fault("dies-pending", where=_host(chance))


def _dies(chance: random.Random) -> Fault:
    return make_fault("dies", where=_host(chance), when=f"{chance.choice((3, 19, 25, 120))} s after launch")


def _slow_launch(chance: random.Random) -> Fault:
    return make_fault("stuck-pending", where=_host(chance), seconds=f"{chance.choice((30, 250, 400))} s")


def _no_ssh(chance: random.Random) -> Fault:
    return make_fault(chance.choice(("ssh-silent", "ssh-dropped", "ssh-refused")), where=_host(chance))


def _impaired(chance: random.Random) -> Fault:
    return make_fault("impaired", where=_host(chance), when="5 s after launch")


def _spot_reclaim(chance: random.Random) -> Fault:
    return make_fault("spot-interruption", where=_host(chance), when="30 s after launch")


def _group_in_use(chance: random.Random) -> Fault:
    return make_fault("group-in-use", seconds=f"{chance.choice((10, 60))} s")


def _protected(chance: random.Random) -> Fault:
    return make_fault("protected", where="host 0", times=1)


def _never_boots(chance: random.Random) -> Fault:
    return make_fault("boot-hangs", where=_host(chance))


def _never_runs(chance: random.Random) -> Fault:
    return make_fault("stuck-pending", where=_host(chance))


_KINDS: tuple[Callable[[random.Random], Fault], ...] = (
    _error,
    _error,
    _error,
    _errors_for_a_while,
    _dropped,
    _dropped,
    _dropped,
    _unreachable,
    _slow,
    _throttled,
    _expired,
    _invisible,
    _invisible,
    _invisible,
    _no_capacity,
    _no_capacity,
    _no_addresses,
    _quota,
    _dies_pending,
    _dies,
    _slow_launch,
    _no_ssh,
    _impaired,
    _spot_reclaim,
    _group_in_use,
    _protected,
)
# A VM that never boots has no shutdown timer: only a user who returns can terminate it.
_ENDLESS: tuple[Callable[[random.Random], Fault], ...] = (_never_boots, _never_runs)
