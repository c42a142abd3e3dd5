"""Stop and start the instances of a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator.aws.ec2 import host_names, instance_tags, state_changes, waiters
from orchestrator.aws.ec2.instances import Instance
from orchestrator.aws.ec2.state_changes import InstanceResult, StateChange
from orchestrator.cluster import lifetime
from orchestrator.cluster.inventory import Inventory
from orchestrator.cluster.readiness import ReadyHost, wait_until_ready
from orchestrator.core.errors import StratusError, first_line
from orchestrator.core.events import Event
from orchestrator.hosts import parallel


def stop(inventory: Inventory) -> tuple[InstanceResult, ...]:
    """Stop the running instances; their disks stay and are billed. Those that are stopped already are in the result."""
    context, instances = inventory.context, inventory.instances()
    running = [instance for instance in instances if instance.state in ("pending", "running")]
    changes = state_changes.stop(context.clients, running, ownership=context.ownership)
    # A stopped instance gives up its public address: a command over a kept connection would hang until its timeout.
    for instance in running:
        context.ssh.disconnect(inventory.host(instance))
    disks = {instance.id: inventory.disk_usd_per_hour(instance) for instance in instances}
    results = [*_wait_for_state(inventory, running, changes, "stopped"), *_in_state(instances, ("stopping", "stopped"))]
    return tuple(replace(result, disk_usd_per_hour=disks[result.id]) for result in _by_name(results))


def start(inventory: Inventory) -> tuple[InstanceResult, ...]:
    """Start the stopped instances and wait until they answer SSH; one that does not has that as its error.

    Those that are running already are in the result.

    :raises UsageError: ``max_dollars`` is spent.
    """
    results, ready = _start(inventory)
    errors = ready.errors if ready else {}
    return tuple(replace(result, error=result.error or str(errors.get(result.name, ""))) for result in results)


def _start(inventory: Inventory) -> tuple[tuple[InstanceResult, ...], parallel.Outcomes[ReadyHost[None]] | None]:
    context, instances = inventory.context, inventory.instances()
    stopped = [instance for instance in instances if instance.state == "stopped"]
    lifetime.check_budget(inventory, stopped)
    _tag_past_use(inventory, stopped)
    changes = state_changes.start(context.clients, stopped, ownership=context.ownership)
    started = [instance for instance in stopped if changes[instance.id].is_ok]
    ready = wait_until_ready(inventory, started, lambda host: None) if started else None
    # Once SSH is up: the instances compute their shutdown themselves while they boot.
    expiries = lifetime.tag_expiry_after_start(inventory, ready.succeeded) if ready and ready.succeeded else {}
    results = [*_wait_for_state(inventory, stopped, changes, "running"), *_in_state(instances, ("pending", "running"))]
    results = [replace(result, expires_at=expiries.get(result.id, result.expires_at)) for result in results]
    return _by_name(results), ready


def _in_state(instances: Sequence[Instance], states: Sequence[str]) -> list[InstanceResult]:
    return [
        InstanceResult(item.name, item.id, item.state, is_unchanged=True, expires_at=item.expires_at)
        for item in instances
        if item.state in states
    ]


def _by_name(results: Sequence[InstanceResult]) -> tuple[InstanceResult, ...]:
    return tuple(sorted(results, key=lambda result: host_names.sort_key(result.name)))


def _tag_past_use(inventory: Inventory, stopped: Sequence[Instance]) -> None:
    """Tag instances with the time billed so far: EC2 forgets it when they start."""
    context, now = inventory.context, inventory.context.clock.now()
    values = {instance.id: inventory.meter.past_use(instance, now).tag_value for instance in stopped}
    try:
        instance_tags.tag_past_use(context.clients, values)
    except StratusError as error:
        # IAM policies of earlier versions do not allow the tag; the start must not fail for it.
        text = f"the cost before this start will be known as a range only: {first_line(error)}"
        context.on_event(Event("", "cost", "warning", text=text))


def _wait_for_state(
    inventory: Inventory, instances: Sequence[Instance], changes: Mapping[str, StateChange], state: str
) -> tuple[InstanceResult, ...]:
    """Wait until instances are in a state, and return for each the one that it was seen in last."""
    context = inventory.context
    states: dict[str, str] = {}
    failures: Mapping[str, Exception] = {}
    changed = [instance for instance in instances if changes[instance.id].is_ok]
    try:
        ids = [instance.id for instance in changed]
        for instance in waiters.wait_for_state(context.clients, ids, state=state):
            states[instance.id] = instance.state
            context.on_event(Event(instance.name, state, "done"))
    except StratusError as error:
        # An error of the call, not of single instances, leaves the state of all others unknown.
        unknown = {instance.name: error for instance in changed if instance.id not in states}
        failures = getattr(error, "errors", unknown)
    return tuple(_result(instance, changes[instance.id], states, failures) for instance in instances)


def _result(
    instance: Instance, change: StateChange, states: Mapping[str, str], failures: Mapping[str, Exception]
) -> InstanceResult:
    error = change.error or str(failures.get(instance.name, ""))
    return InstanceResult(instance.name, instance.id, states.get(instance.id, change.state), error)
