"""Rules for what EC2's API shows: new instances appear late, and status checks take time to pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from moto.ec2.exceptions import EC2ClientError, InvalidInstanceIdError

from localcloud.ec2.environment import CloudEnvironment
from localcloud.ec2.lifecycle import Lifecycle, TrackedInstance

if TYPE_CHECKING:
    from moto.ec2.models.instances import Instance, Reservation


@dataclass(frozen=True)
class InstanceStatus:
    """One entry of DescribeInstanceStatus, with the attributes that moto's template reads."""

    instance_id: str
    availability_zone: str | None
    instance_state: Any
    instance_status: dict[str, Any]
    system_status: dict[str, Any]

    def matches(self, filter_name: str, values: Iterable[str]) -> bool:
        """Return whether one of a filter's values matches.

        :raises EC2ClientError: EC2 has no filter of that name.
        """
        attributes = {
            "availability-zone": self.availability_zone or "",
            "instance-state-code": str(self.instance_state.code),
            "instance-state-name": self.instance_state.name,
            "instance-status.status": self.instance_status["Status"],
            "instance-status.reachability": _reachability(self.instance_status),
            "system-status.status": self.system_status["Status"],
            "system-status.reachability": _reachability(self.system_status),
        }
        if filter_name not in attributes:
            raise EC2ClientError("InvalidParameterValue", f"The filter '{filter_name}' is invalid")
        return any(fnmatchcase(attributes[filter_name], value) for value in values)


def _reachability(check: dict[str, Any]) -> str:
    return next((str(detail["Status"]) for detail in check.get("Details", ())), "")


class Visibility:
    """Filters for what the API may show of the instances of one region.

    Contract: new-instances-appear-late, tags-appear-with-their-instance, status-checks-take-time.
    """

    def __init__(self, lifecycle: Lifecycle, environment: CloudEnvironment) -> None:
        self._lifecycle, self._environment = lifecycle, environment

    def is_visible(self, resource_id: str) -> bool:
        """Return whether the API shows a resource; resources that are not instances are always shown."""
        return self._lifecycle.is_visible(resource_id)

    def reservations(self, reservations: Iterable[Reservation], ids: Iterable[str] | None = None) -> list[Reservation]:
        """Return the reservations with their visible instances only; empty ones are left out.

        :param reservations: copies, as moto's ``all_reservations`` makes them: they are changed here.
        :param ids: of the instances to keep; None keeps all visible ones.
        """
        wanted = None if ids is None else set(ids)
        visible = []
        for reservation in reservations:
            shown = [instance for instance in reservation.instances if self.is_visible(instance.id)]
            reservation.instances = [instance for instance in shown if wanted is None or instance.id in wanted]
            visible += [reservation] if reservation.instances else []
        return visible

    def select(self, instances: Iterable[Instance], ids: Iterable[str]) -> list[Instance]:
        """Return the visible instances with these ids, each once, in the order of ``ids``.

        :raises InvalidInstanceIdError: naming those that do not exist or are not visible yet.
        """
        visible = {instance.id: instance for instance in instances if self.is_visible(instance.id)}
        # An id may be given twice; its instance is returned once.
        unique_ids = list(dict.fromkeys(ids))
        if missing := [instance_id for instance_id in unique_ids if instance_id not in visible]:
            raise InvalidInstanceIdError(missing)
        return [visible[instance_id] for instance_id in unique_ids]

    def require_visible(self, resource_ids: Iterable[str]) -> None:
        """Check that no resource is an instance that is not visible yet.

        :raises InvalidInstanceIdError: naming those that are not.
        """
        if hidden := [resource_id for resource_id in resource_ids if not self.is_visible(resource_id)]:
            raise InvalidInstanceIdError(hidden)

    def status(self, instance: Instance) -> InstanceStatus:
        """Return an instance's entry in DescribeInstanceStatus."""
        tracked = self._lifecycle.instances[instance.id]
        checks = [self._check(tracked, name) for name in ("instance", "system")]
        return InstanceStatus(instance.id, instance.placement.zone, instance.instance_state, *checks)

    def _check(self, tracked: TrackedInstance, name: str) -> dict[str, Any]:
        if tracked.instance.state != "running":
            return {"Status": "not-applicable"}
        if name in tracked.impaired_checks:
            return {"Status": "impaired", "Details": [{"Name": "reachability", "Status": "failed"}]}
        running_s = self._environment.clock.now() - tracked.running_at
        is_ready = running_s >= self._environment.durations.checks_s
        details = [{"Name": "reachability", "Status": "passed" if is_ready else "initializing"}]
        return {"Status": "ok" if is_ready else "initializing", "Details": details}
