"""What a seed decides: what the researcher does, and what goes wrong meanwhile. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from localcloud.scenarios import scenario as scenarios_scenario
from localcloud.scenarios.scenario import Fault

MOST_FAULTS = 5
OTHER_OWNER = "arn:aws:iam::123456789012:user/colleague"
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
"""The API boundaries."""

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


ASKED_FIRST = ("RunInstances", "CreateSecurityGroup", "ImportKeyPair")
"""Calls that come first as a dry run."""


@dataclass(frozen=True)
class Step:
    """One thing that the researcher does.

    :param verb: launch, look, stop, start, terminate.
    :param count: of machines, for a launch.
    """

    verb: str
    count: int = 0


@dataclass(frozen=True)
class Blow:
    """What strikes the laptop at an API boundary.

    :param kind: ``crash``, ``moves`` (it crashes, and its owner goes on at another computer), ``ctrl-c`` or
        ``ctrl-c twice``.
    :param phase: ``before`` the call or ``after`` it, when its answer is on the way.
    :param action: of the call; empty for any.
    :param number: the how-manieth such call, from 1.
    """

    kind: str
    phase: str
    action: str
    number: int


@dataclass(frozen=True)
class Draw:
    """Everything that a seed decides.

    :param returns: whether anybody comes back after the first crash.
    :param colleague: what somebody else has in the same account; None for nobody.
    """

    seed: int
    steps: tuple[Step, ...]
    faults: tuple[Fault, ...]
    blows: tuple[Blow, ...]
    returns: bool
    colleague: Fault | None
    config: tuple[tuple[str, str], ...]

    @property
    def scenario(self) -> scenarios_scenario.Scenario:
        """What the cloud does."""
        colleague = (self.colleague,) if self.colleague else ()
        return scenarios_scenario.Scenario(self.seed, (*colleague, *self.faults))

    def lines(self) -> list[str]:
        """In words, one line each."""
        told = [f"config {name} = {value}" for name, value in self.config]
        told += [f"step {step.verb} {step.count or ''}".rstrip() for step in self.steps]
        told += [
            f"fault {' '.join(scenarios_scenario.Scenario(faults=(each,)).text().split()[3:])}" for each in self.faults
        ]
        told += [f"blow {each.kind} {each.phase} {each.action or 'any call'} {each.number}" for each in self.blows]
        return [*told, "somebody returns" if self.returns else "nobody returns"]


def draw(seed: int) -> Draw:
    """Draw a life."""
    chance = random.Random(f"life/{seed}")
    returns = seed % 2 == 0
    faults, blows = _troubles(chance, chance.choice((1, 2, 3, 4, 5, 5)), returns=returns)
    if not returns:
        kept = [each for each in blows if each.kind.startswith("ctrl")]
        blows = [*kept[: MOST_FAULTS - 1], _blow(chance, "crash")]
        faults = faults[: MOST_FAULTS - len(blows)]
    return Draw(seed, _steps(chance), tuple(faults), tuple(blows), returns, _colleague(chance, seed), _config(chance))


def _steps(chance: random.Random) -> tuple[Step, ...]:
    steps = [Step("launch", chance.randint(1, 4))]
    if chance.random() < 0.5:
        steps.append(Step("look"))
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
        values["siblings"] = "m7i.2xlarge"
    return tuple(values.items())


def _troubles(chance: random.Random, count: int, *, returns: bool) -> tuple[list[Fault], list[Blow]]:
    faults: list[Fault] = []
    blows: list[Blow] = []
    for _ in range(count):
        if chance.random() < 0.3:
            kind = chance.choice(("crash", "crash", "moves", "ctrl-c", "ctrl-c", "ctrl-c twice"))
            blows.append(_blow(chance, kind))
        else:
            kinds = (*_KINDS, *_DEAF) if returns else _KINDS
            faults.append(chance.choice(kinds)(chance))
    return faults, blows


def _blow(chance: random.Random, kind: str) -> Blow:
    phase = chance.choice(("before", "after"))
    if chance.random() < 0.5:
        return Blow(kind, phase, "", chance.randint(1, 70))
    action = chance.choice((*CALLS, *_CHANGING))
    return Blow(kind, phase, action, _nth(chance, action))


def _nth(chance: random.Random, action: str) -> int:
    """Which such call; dry runs are struck as well, but not often."""
    number = chance.choice((1, 1, 1, 2, 3))
    return number + (action in ASKED_FIRST and chance.random() < 0.8)


def _colleague(chance: random.Random, seed: int) -> Fault | None:
    if chance.random() < 0.3:
        return None
    tags = {
        "Name": "ml-0",
        "stratus:cluster": "ml",
        "stratus:owner": OTHER_OWNER,
        "stratus:hosts": "ml-0..ml-1",
        "stratus:run": "20261119-080000-c011",
    }
    if chance.random() < 0.2:
        tags = {"Name": "ml-0"}
    return scenarios_scenario.make_fault(
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
    return scenarios_scenario.make_fault(
        "error",
        code=code,
        message="An internal error has occurred.",
        status=503 if "U" in code else 500,
        action=action,
        applied=chance.random() < 0.5,
        when=_at(chance, action),
        times=1,
    )


def _troubled(chance: random.Random) -> Fault:
    return scenarios_scenario.make_fault(
        "error",
        code="InternalError",
        action=chance.choice((*_CHANGING, "*")),
        applied=chance.random() < 0.5,
        when=_window(chance),
        chance=0.5,
    )


def _dropped(chance: random.Random) -> Fault:
    action = chance.choice((*CALLS, *_CHANGING))
    return scenarios_scenario.make_fault(
        "dropped", action=action, applied=chance.random() < 0.6, when=_at(chance, action), times=1
    )


def _cut_off(chance: random.Random) -> Fault:
    return scenarios_scenario.make_fault("dropped", action="*", applied=chance.random() < 0.5, when=_window(chance))


def _slow(chance: random.Random) -> Fault:
    late = chance.choice((5, 45, 61, 75))
    action = chance.choice((*CALLS, *_CHANGING))
    return scenarios_scenario.make_fault("slow", action=action, seconds=f"{late} s", when=_at(chance, action), times=1)


def _throttled(chance: random.Random) -> Fault:
    action = chance.choice(("*", "Describe*", "RunInstances", "TerminateInstances"))
    return scenarios_scenario.make_fault(
        "throttled", action=action, burst=2, rate=chance.choice((0.1, 0.5)), when=_window(chance)
    )


def _expired(chance: random.Random) -> Fault:
    return scenarios_scenario.make_fault("expired-keys", when=_window(chance))


def _invisible(chance: random.Random) -> Fault:
    return scenarios_scenario.make_fault("invisible", seconds=f"{chance.randint(1, 60)} s", where=_host(chance))


def _no_room(chance: random.Random) -> Fault:
    where = chance.choice((ZONES[0], f"{ZONES[0]}, {ZONES[1]}", "c7i.*", "spot", "us-west-2"))
    return scenarios_scenario.make_fault(
        "no-capacity", where=where, machines=chance.choice((0, 0, 1, 2)), when=_window(chance)
    )


def _full(chance: random.Random) -> Fault:
    return scenarios_scenario.make_fault(
        "no-addresses", where=chance.choice(ZONES), free=chance.choice((0, 1)), when=_window(chance)
    )


def _quota(chance: random.Random) -> Fault:
    return scenarios_scenario.make_fault(
        "quota", quota="L-1216C47A", vcpus=chance.choice((0, 8, 16)), when=_window(chance)
    )


def _host(chance: random.Random) -> str:
    return chance.choice(("host 0", "host 1", "hosts 0-3", "hosts 1-2"))


def _born_dead(chance: random.Random) -> Fault:
    return scenarios_scenario.make_fault("dies-pending", where=_host(chance))


def _dies(chance: random.Random) -> Fault:
    return scenarios_scenario.make_fault(
        "dies", where=_host(chance), when=f"{chance.choice((3, 19, 25, 120))} s after launch"
    )


def _late(chance: random.Random) -> Fault:
    return scenarios_scenario.make_fault(
        "stuck-pending", where=_host(chance), seconds=f"{chance.choice((30, 250, 400))} s"
    )


def _deaf(chance: random.Random) -> Fault:
    return scenarios_scenario.make_fault(
        chance.choice(("ssh-silent", "ssh-dropped", "ssh-refused")), where=_host(chance)
    )


def _impaired(chance: random.Random) -> Fault:
    return scenarios_scenario.make_fault("impaired", where=_host(chance), when="5 s after launch")


def _called_back(chance: random.Random) -> Fault:
    return scenarios_scenario.make_fault("spot-interruption", where=_host(chance), when="30 s after launch")


def _group(chance: random.Random) -> Fault:
    return scenarios_scenario.make_fault("group-in-use", seconds=f"{chance.choice((10, 60))} s")


def _protected(chance: random.Random) -> Fault:
    return scenarios_scenario.make_fault("protected", where="host 0", times=1)


def _never_boots(chance: random.Random) -> Fault:
    return scenarios_scenario.make_fault("boot-hangs", where=_host(chance))


def _never_runs(chance: random.Random) -> Fault:
    return scenarios_scenario.make_fault("stuck-pending", where=_host(chance))


_KINDS: tuple[Callable[[random.Random], Fault], ...] = (
    _error,
    _error,
    _error,
    _troubled,
    _dropped,
    _dropped,
    _dropped,
    _cut_off,
    _slow,
    _throttled,
    _expired,
    _invisible,
    _invisible,
    _invisible,
    _no_room,
    _no_room,
    _full,
    _quota,
    _born_dead,
    _dies,
    _late,
    _deaf,
    _impaired,
    _called_back,
    _group,
    _protected,
)
# A machine that never boots has no timer of its own: only somebody who returns can end it.
_DEAF: tuple[Callable[[random.Random], Fault], ...] = (_never_boots, _never_runs)
