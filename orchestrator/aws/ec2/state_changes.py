"""Ending, stopping and starting machines: every one gets its own outcome, and only ours are touched."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orchestrator.aws import client, errors, identity
from orchestrator.aws.ec2 import instances as ec2_instances
from orchestrator.core.clock import Backoff, Clock
from orchestrator.core.errors import LeftRunning
from orchestrator.core.next_step import NextStep

if TYPE_CHECKING:
    from orchestrator.aws.ec2.instances import Instance

VISIBILITY_TIMEOUT_S = 60.0  # how long to ask again for a machine that EC2 does not show yet

_PER_MACHINE = frozenset(
    {
        "InvalidInstanceID.NotFound",
        "InvalidInstanceID.Malformed",
        "OperationNotPermitted",
        "IncorrectInstanceState",
        "UnsupportedOperation",
        "UnauthorizedOperation",
        "InvalidInstanceID",
    }
)
"""Codes that say something about one machine of a call, and fail the call for all of them."""

_GONE = "InvalidInstanceID.NotFound"


@dataclass(frozen=True)
class StateChange:
    """What became of one machine.

    :param state: the state that EC2 now reports; ``gone`` when it knows the machine no more, ``unknown`` when it would
        not say.
    :param error: why nothing was done to it, with a fix where there is one; empty when it was done.
    """

    id: str
    name: str
    state: str
    error: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether it was done."""
        return not self.error


def terminate(
    clients: client.Clients,
    instances: Sequence[Instance],
    *,
    cluster_id: identity.ClusterId,
) -> dict[str, StateChange]:
    """Ask EC2 to end machines; one that cannot be ended does not keep the others alive.

    :param mine: only machines with this cluster's and owner's tags are touched.
    :returns: what became of each, by id. They are not gone yet: see `await_gone`.
    :raises StratusError: AWS refuses the calls as such (credentials, network).
    """
    call = _Call("ending machines", clients.ec2.terminate_instances, "TerminatingInstances", ends=True)
    return _change(clients, call, instances, cluster_id)


def stop(
    clients: client.Clients,
    instances: Sequence[Instance],
    *,
    cluster_id: identity.ClusterId,
) -> dict[str, StateChange]:
    """Ask EC2 to stop machines; their disks stay, and cost. Otherwise as `terminate`."""
    call = _Call("stopping machines", clients.ec2.stop_instances, "StoppingInstances")
    return _change(clients, call, instances, cluster_id)


def start(
    clients: client.Clients,
    instances: Sequence[Instance],
    *,
    cluster_id: identity.ClusterId,
) -> dict[str, StateChange]:
    """Ask EC2 to start stopped machines; their time to live begins anew, and their tags say so.

    Otherwise as `terminate`.
    """
    call = _Call("starting machines", clients.ec2.start_instances, "StartingInstances")
    outcomes = _change(clients, call, instances, cluster_id)
    _renew(clients, [each for each in instances if outcomes[each.id].is_ok])
    return outcomes


def wait_terminated(
    clients: client.Clients,
    instances: Collection[Instance],
    *,
    deadline_s: float = 300.0,
) -> Iterator[Instance]:
    """Yield machines as they are terminated, which is when they stop holding on to their group and disk.

    :raises LeftRunning: at the deadline, with those that are not.
    """
    left, seen = {each.id: each for each in instances}, set[str]()
    for _ in clients.clock.attempts(deadline_s):
        shown = {each.id: each for each in ec2_instances.describe_ids(clients, left)}
        seen |= shown.keys()
        for each in [*left.values()]:
            now = shown.get(each.id)
            if now.state == "terminated" if now else _vanished(each, seen, clients.clock):
                yield now or left[each.id]
                del left[each.id]
            elif now:
                left[each.id] = now
        if not left:
            return
    raise LeftRunning(
        f"{len(left)} machines are not gone after {deadline_s:.0f} s",
        left=[_line(each) for each in left.values()],
        fix=NextStep("TerminateAll") + "  asks again",
    )


def _line(each: Instance) -> str:
    return f"{each.name} ({each.id}, {each.type}, {each.zone}): {each.state}"


def _vanished(each: Instance, seen: Collection[str], clock: Clock) -> bool:
    """Tell a machine that EC2 has forgotten from one too young for EC2 to show it."""
    return each.id in seen or not _young(each, clock)


def _young(each: Instance, clock: Clock) -> bool:
    return (clock.now() - each.launched_at).total_seconds() < ec2_instances.VISIBILITY_LAG_S


@dataclass(frozen=True)
class _Call:
    """One of EC2's calls that change machines; ``answer`` is where its answer lists them."""

    doing: str
    call: Callable[..., Any]
    answer: str
    ends: bool = False


def _change(
    clients: client.Clients,
    call: _Call,
    instances: Sequence[Instance],
    cluster_id: identity.ClusterId,
) -> dict[str, StateChange]:
    outcomes = {each.id: _foreign(each) for each in instances if not _is_ours(each, cluster_id)}
    todo = {each.id: each for each in instances if each.id not in outcomes}
    for _ in clients.clock.attempts(VISIBILITY_TIMEOUT_S, Backoff(1.0, 5.0)):
        results = dict(_batch(clients, call, list(todo))) if todo else {}
        outcomes |= {each.id: _ended(clients, call, each, results[each.id]) for each in todo.values()}
        # EC2 may deny that a machine of the last minutes exists, and it would then run on.
        todo = {key: each for key, each in todo.items() if _unseen(results[key]) and _young(each, clients.clock)}
        if not todo:
            break
    outcomes |= {each.id: _too_young(each) for each in todo.values()}
    return outcomes


def _is_ours(each: Instance, cluster_id: identity.ClusterId) -> bool:
    return (each.cluster, each.owner) == (cluster_id.cluster, cluster_id.owner)


def _unseen(result: str | Exception) -> bool:
    return isinstance(result, Exception) and errors.code_of(result) == _GONE


def _batch(clients: client.Clients, call: _Call, ids: list[str]) -> Iterator[tuple[str, str | Exception]]:
    """Yield each id with its new state or its own error; ids that spoil a call are taken out of it."""
    try:
        yield from _called(call, ids)
        return
    except errors.error_types() as error:
        if errors.code_of(error) not in _PER_MACHINE:
            raise clients.translate(error, action=call.doing) from error
        failure = error
    named = [each for each in re.findall(r"i-[0-9a-f]+", errors.message_of(failure)) if each in ids]
    if not named and len(ids) > 1:  # the message does not say which: halve until it is plain
        half = len(ids) // 2
        yield from _batch(clients, call, ids[:half])
        yield from _batch(clients, call, ids[half:])
        return
    bad = set(named or ids)
    yield from ((each, failure) for each in sorted(bad))
    if good := [each for each in ids if each not in bad]:
        yield from _batch(clients, call, good)


def _called(call: _Call, ids: list[str]) -> Iterator[tuple[str, str]]:
    changes = call.call(InstanceIds=ids)[call.answer]
    states = {change["InstanceId"]: change["CurrentState"]["Name"] for change in changes}
    return iter([(each, states.get(each, "unknown")) for each in ids])


def _ended(clients: client.Clients, call: _Call, each: Instance, result: str | Exception) -> StateChange:
    if isinstance(result, str):
        return StateChange(each.id, each.name, result)
    if errors.code_of(result) == _GONE:
        return StateChange(each.id, each.name, "gone", "" if call.ends else "EC2 knows it no more")
    error = clients.translate(result, action=call.doing)
    return StateChange(each.id, each.name, each.state, str(error))


def _foreign(each: Instance) -> StateChange:
    return StateChange(each.id, each.name, each.state, "not this cluster's and owner's: left alone")


def _too_young(each: Instance) -> StateChange:
    return StateChange(
        each.id,
        each.name,
        "unknown",
        f"EC2 does not show it, {VISIBILITY_TIMEOUT_S:.0f} s on: it may still run",
    )


def _renew(clients: client.Clients, started: Sequence[Instance]) -> None:
    """Tag machines with the end of their new time to live: one call for all that live equally long."""
    by_hours = defaultdict[float, list[str]](list)
    for each in started:
        by_hours[each.max_hours].append(each.id)
    by_hours.pop(0.0, None)
    with clients.translate_errors("tagging machines with their new end"):
        for hours, ids in by_hours.items():
            end = (clients.clock.now() + timedelta(hours=hours)).isoformat(timespec="seconds")
            clients.ec2.create_tags(Resources=ids, Tags=[{"Key": ec2_instances.TAG_EXPIRES, "Value": end}])


@dataclass(frozen=True)
class InstanceResult:
    """What stop, start or terminate did to one instance.

    :param state: the state it was seen in last.
    :param error: why not, when it was not.
    :param disk_per_hour: USD per hour of its disk, where that stays.
    """

    name: str
    id: str
    state: str
    error: str = ""
    disk_per_hour: Decimal | None = None
