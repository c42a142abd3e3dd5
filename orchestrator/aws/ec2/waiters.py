"""Waiters: poll instances until they reach a state, with one call per poll for all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from orchestrator.aws import client
from orchestrator.aws.ec2 import instances as ec2_instances
from orchestrator.aws.ec2.instances import Instance
from orchestrator.core.errors import HostError, HostsFailed, LeftRunning
from orchestrator.core.next_step import NextStep


def wait_for_state(
    clients: client.Clients,
    ids: Collection[str],
    *,
    state: str = "running",
    deadline_s: float = 300.0,
    on_lost: Callable[[str, HostError], None] = lambda name, error: None,
    on_waiting: Callable[[Instance], None] = lambda instance: None,
) -> Iterator[Instance]:
    """Yield every instance once, as it reaches a state.

    :param state: ``running`` or ``stopped``.
    :param deadline_s: seconds after which the remaining instances count as failed.
    :param on_lost: called with name and error as soon as an instance is known not to reach the state.
    :param on_waiting: called with every instance that is shown in another state.
    :raises HostsFailed: at the end, with every instance that did not reach the state.
    """
    pending, failed, seen = set(ids), dict[str, Exception](), dict[str, Instance]()
    for waited_s in clients.clock.attempts(deadline_s):
        for instance in ec2_instances.describe_ids(clients, pending):
            before, seen[instance.id] = seen.get(instance.id), instance
            if instance.state == state:
                pending.discard(instance.id)
                yield instance
            elif _is_lost(instance, state, before):
                pending.discard(instance.id)
                error = failed[instance.name] = HostError(_other_state(instance), where=instance.name)
                on_lost(instance.name, error)
            else:
                on_waiting(instance)
        if not pending:
            break
        elapsed_s = waited_s
    # The generator ends before it raises: callers have seen every instance that did reach the state.
    for instance_id in sorted(pending):
        name = seen[instance_id].name if instance_id in seen else instance_id
        failed[name] = HostError(_too_slow(seen.get(instance_id), state, elapsed_s), where=name)
    if failed:
        raise HostsFailed(f"{len(failed)} of {len(ids)} VMs did not reach state {state}", failed)


def _is_lost(instance: Instance, state: str, before: Instance | None) -> bool:
    """Return True if an instance cannot reach a state any more.

    An instance that was just started may still be shown as stopped: that counts only once it was shown as pending.
    """
    if state == "running" and before is not None and before.state == "pending":
        return instance.state in (*ec2_instances.TERMINATING, "stopping", "stopped")
    return instance.state in ec2_instances.TERMINATING


def _other_state(instance: Instance) -> str:
    return f"is {instance.state} instead" + (f": {instance.reason}" if instance.reason else "")


def _too_slow(instance: Instance | None, state: str, waited_s: float) -> str:
    if instance is None:
        return f"EC2 has not shown it for {waited_s:.0f} s"
    reason = f": {instance.reason}" if instance.reason else ""
    return f"still {instance.state} after {waited_s:.0f} s, not {state}{reason}"


def wait_terminated(
    clients: client.Clients, instances: Collection[Instance], *, deadline_s: float = 300.0
) -> Iterator[Instance]:
    """Yield instances as they are terminated; only then are their security group and disk released.

    :raises LeftRunning: at the deadline, with the instances that are not terminated.
    """
    left, seen = {instance.id: instance for instance in instances}, set[str]()
    for _ in clients.clock.attempts(deadline_s):
        shown = {instance.id: instance for instance in ec2_instances.describe_ids(clients, left)}
        seen |= shown.keys()
        for known in [*left.values()]:
            instance = shown.get(known.id)
            if instance.state == "terminated" if instance else _is_gone(clients, known, seen):
                yield instance or left[known.id]
                del left[known.id]
            elif instance:
                left[known.id] = instance
        if not left:
            return
    raise LeftRunning(
        f"{len(left)} VMs are not terminated after {deadline_s:.0f} s",
        left=[_line(instance) for instance in left.values()],
        fix=NextStep("TerminateAll") + "  asks again",
    )


def _is_gone(clients: client.Clients, instance: Instance, seen: Collection[str]) -> bool:
    """Return True for an instance that EC2 has removed, False for one that it may not show yet."""
    return instance.id in seen or not instance.may_be_hidden(clients.clock.now())


def _line(instance: Instance) -> str:
    return f"{instance.name} ({instance.id}, {instance.type}, {instance.zone}): {instance.state}"
