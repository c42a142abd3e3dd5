"""Terminate, stop and start instances: one outcome per instance, and only instances of the cluster are changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orchestrator.aws import client, errors
from orchestrator.aws.ec2 import instance_tags
from orchestrator.core.clock import Backoff

if TYPE_CHECKING:
    from orchestrator.aws.ec2.instances import Instance
    from orchestrator.aws.ec2.ownership import Ownership

VISIBILITY_TIMEOUT_S = 60.0  # how long to retry for an instance that EC2 does not show yet

_GONE = "InvalidInstanceID.NotFound"
_PER_INSTANCE = frozenset(
    {
        _GONE,
        "InvalidInstanceID.Malformed",
        "OperationNotPermitted",
        "IncorrectInstanceState",
        "UnsupportedOperation",
        "UnauthorizedOperation",
        "InvalidInstanceID",
    }
)
"""Error codes about one instance of a call; EC2 then changes none of them."""


@dataclass(frozen=True)
class StateChange:
    """Outcome of one instance.

    :param state: current state as EC2 reports it; ``gone`` if EC2 has removed the instance, ``unknown`` if EC2 does not
        show it.
    :param error: why it was not changed, with a fix where there is one; empty if it was changed.
    """

    id: str
    name: str
    state: str
    error: str = ""

    @property
    def is_ok(self) -> bool:
        """True if it was changed."""
        return not self.error


def terminate(
    clients: client.Clients, instances: Sequence[Instance], *, ownership: Ownership
) -> dict[str, StateChange]:
    """Terminate instances; one that cannot be terminated does not keep the others running.

    :param ownership: all other instances are not touched.
    :returns: outcome by instance id. They still shut down then: see :func:`waiters.wait_terminated`.
    :raises StratusError: AWS refuses the calls as such (credentials, network).
    """
    call = _Call("terminating VMs", clients.ec2.terminate_instances, "TerminatingInstances", accepts_gone=True)
    return _change(clients, call, instances, ownership)


def stop(clients: client.Clients, instances: Sequence[Instance], *, ownership: Ownership) -> dict[str, StateChange]:
    """Stop instances; their disks remain, and are billed. Otherwise as :func:`terminate`."""
    call = _Call("stopping VMs", clients.ec2.stop_instances, "StoppingInstances")
    return _change(clients, call, instances, ownership)


def start(clients: client.Clients, instances: Sequence[Instance], *, ownership: Ownership) -> dict[str, StateChange]:
    """Start stopped instances, and tag them with the new time of their automatic shutdown.

    Otherwise as :func:`terminate`.
    """
    call = _Call("starting VMs", clients.ec2.start_instances, "StartingInstances")
    outcomes = _change(clients, call, instances, ownership)
    _tag_expiry(clients, [instance for instance in instances if outcomes[instance.id].is_ok])
    return outcomes


@dataclass(frozen=True)
class _Call:
    """One of EC2's calls that change the state of instances.

    :param action: begins the message of its errors.
    :param key: of the list of state changes in its response.
    :param accepts_gone: True if an instance that no longer exists counts as changed.
    """

    action: str
    call: Callable[..., Any]
    key: str
    accepts_gone: bool = False


def _change(
    clients: client.Clients, call: _Call, instances: Sequence[Instance], ownership: Ownership
) -> dict[str, StateChange]:
    outcomes = {instance.id: _foreign(instance) for instance in instances if not ownership.includes(instance)}
    pending = {instance.id: instance for instance in instances if instance.id not in outcomes}
    for _ in clients.clock.attempts(VISIBILITY_TIMEOUT_S, Backoff(1.0, 5.0)):
        results = dict(_batch(clients, call, list(pending))) if pending else {}
        outcomes |= {
            instance.id: _outcome(clients, call, instance, results[instance.id]) for instance in pending.values()
        }
        # EC2 may answer "not found" for an instance of the last minutes, which would then keep running.
        pending = {
            instance_id: instance
            for instance_id, instance in pending.items()
            if _is_gone(results[instance_id]) and instance.may_be_hidden(clients.clock.now())
        }
        if not pending:
            break
    outcomes |= {instance.id: _hidden(instance) for instance in pending.values()}
    return outcomes


def _is_gone(result: str | Exception) -> bool:
    return isinstance(result, Exception) and errors.code_of(result) == _GONE


def _batch(clients: client.Clients, call: _Call, ids: list[str]) -> Iterator[tuple[str, str | Exception]]:
    """Yield each id with its new state or its own error; ids that fail the whole call are removed from it."""
    try:
        yield from _states(call, ids)
        return
    except errors.error_types() as error:
        if errors.code_of(error) not in _PER_INSTANCE:
            raise clients.translate(error, action=call.action) from error
        failure = error
    # The message names one or more of the bad ids, not always all of them.
    named = [match for match in re.findall(r"i-[0-9a-f]+", errors.message_of(failure)) if match in ids]
    if not named and len(ids) > 1:  # the message names no instance: find it by bisection
        half = len(ids) // 2
        yield from _batch(clients, call, ids[:half])
        yield from _batch(clients, call, ids[half:])
        return
    bad = set(named or ids)
    yield from ((instance_id, failure) for instance_id in sorted(bad))
    if good := [instance_id for instance_id in ids if instance_id not in bad]:
        yield from _batch(clients, call, good)


def _states(call: _Call, ids: list[str]) -> Iterator[tuple[str, str]]:
    changes = call.call(InstanceIds=ids)[call.key]
    states = {change["InstanceId"]: change["CurrentState"]["Name"] for change in changes}
    return iter([(instance_id, states.get(instance_id, "unknown")) for instance_id in ids])


def _outcome(clients: client.Clients, call: _Call, instance: Instance, result: str | Exception) -> StateChange:
    if isinstance(result, str):
        return StateChange(instance.id, instance.name, result)
    if _is_gone(result):
        return StateChange(instance.id, instance.name, "gone", "" if call.accepts_gone else "it no longer exists")
    error = clients.translate(result, action=call.action)
    return StateChange(instance.id, instance.name, instance.state, str(error))


def _foreign(instance: Instance) -> StateChange:
    return StateChange(instance.id, instance.name, instance.state, "not of this cluster and owner: not touched")


def _hidden(instance: Instance) -> StateChange:
    error = f"EC2 has not shown it for {VISIBILITY_TIMEOUT_S:.0f} s: it may still run"
    return StateChange(instance.id, instance.name, "unknown", error)


def _tag_expiry(clients: client.Clients, started: Sequence[Instance]) -> None:
    """Tag started instances with the time of their automatic shutdown: ``max_hours`` from now, or as extended before.

    Without ``max_hours`` the time is not known, and there is no tag.
    """
    now = clients.clock.now()
    ends = {
        instance.id: max(now + timedelta(hours=instance.max_hours), instance.expires_at or now)
        for instance in started
        if instance.max_hours
    }
    instance_tags.tag_expiry(clients, ends)


@dataclass(frozen=True)
class InstanceResult:
    """Result of stop, start or terminate for one instance.

    :param state: the last known state.
    :param error: why it failed; empty if it did not.
    :param disk_per_hour: USD per hour of a disk that remains; None if there is none, or its price is unknown.
    :param is_unchanged: True if it was in this state before.
    :param expires_at: time of its automatic shutdown, of one that was started; None if it is not known.
    """

    name: str
    id: str
    state: str
    error: str = ""
    disk_usd_per_hour: Decimal | None = None
    is_unchanged: bool = False
    expires_at: datetime | None = None
