"""What EC2 shows of what there is: not at once, and with status checks that take their time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from moto.ec2.exceptions import EC2ClientError, InvalidInstanceIdError
from moto.ec2.models import EC2Backend
from moto.ec2.utils import filter_reservations

from localcloud.ec2.environment import CloudEnvironment
from localcloud.ec2.lifecycle import Lifecycle, TrackedInstance

if TYPE_CHECKING:
    from moto.ec2.models.instances import Instance, Reservation


@dataclass(frozen=True)
class InstanceStatus:
    """An instance's line in DescribeInstanceStatus."""

    instance_id: str
    availability_zone: str | None
    instance_state: Any
    instance_status: dict[str, Any]
    system_status: dict[str, Any]

    def matches(self, filter_name: str, values: Iterable[str]) -> bool:
        """Whether a filter lets it pass.

        :raises EC2ClientError: there is no such filter.
        """
        known = {
            "availability-zone": self.availability_zone or "",
            "instance-state-code": str(self.instance_state.code),
            "instance-state-name": self.instance_state.name,
            "instance-status.status": self.instance_status["Status"],
            "instance-status.reachability": _reachability(self.instance_status),
            "system-status.status": self.system_status["Status"],
            "system-status.reachability": _reachability(self.system_status),
        }
        if filter_name not in known:
            raise EC2ClientError("InvalidParameterValue", f"The filter '{filter_name}' is invalid")
        return any(fnmatchcase(known[filter_name], value) for value in values)


def _reachability(check: dict[str, Any]) -> str:
    return next((str(detail["Status"]) for detail in check.get("Details", ())), "")


class Views(EC2Backend):
    """EC2 as asked through its API; what moto asks of itself sees everything.

    Contract: new-instances-appear-late, tags-appear-with-their-instance, status-checks-take-time.
    """

    lifecycle: Lifecycle
    environment: CloudEnvironment

    def describe_instances(self, filters: Any = None) -> list[Reservation]:
        """What is known already; the rest is just not there."""
        seen = [self._seen(reservation) for reservation in self.all_reservations()]
        found = [reservation for reservation in seen if reservation.instances]
        return filter_reservations(found, filters) if filters else found

    def get_reservations_by_instance_ids(self, instance_ids: list[str], filters: Any = None) -> list[Reservation]:
        """Those asked for; all or, when one is not known, none."""
        self.known(instance_ids)
        wanted = set(instance_ids)
        found = []
        for reservation in self.all_reservations():
            reservation.instances = [one for one in reservation.instances if one.id in wanted]
            found += [reservation] if reservation.instances else []
        return filter_reservations(found, filters) if filters else found

    def known(self, instance_ids: Iterable[str]) -> list[Instance]:
        """The instances of these ids, each once.

        :raises InvalidInstanceIdError: naming those that are not known, or not yet.
        """
        there = {one.id: one for one in self.all_instances() if self.lifecycle.is_visible(one.id)}
        ids = list(dict.fromkeys(instance_ids))
        if missing := [one for one in ids if one not in there]:
            raise InvalidInstanceIdError(missing)
        return [there[one] for one in ids]

    def describe_instance_status(self, instance_ids: list[str], include_all_instances: bool, filters: Any) -> Any:
        """Status checks: they begin when an instance runs, and are ok after a while."""
        instances = self.known(instance_ids) if instance_ids else self.all_instances()
        shown = [one for one in instances if include_all_instances or one.state == "running"]
        told = [self._status(one) for one in shown if self.lifecycle.is_visible(one.id)]
        return [status for status in told if all(status.matches(each["name"], each["values"]) for each in filters)]

    def describe_instance_attribute(self, instance_id: str, attribute: str) -> Any:
        """As moto, for what is known."""
        self.known([instance_id])
        return super().describe_instance_attribute(instance_id, attribute)

    def modify_instance_attribute(self, instance_id: str, key: str, value: Any) -> Any:
        """As moto, for what is known."""
        self.known([instance_id])
        return super().modify_instance_attribute(instance_id, key, value)

    def describe_tags(self, filters: Any = None) -> list[dict[str, str]]:
        """Tags of what is known."""
        return [tag for tag in super().describe_tags(filters) if self.lifecycle.is_visible(tag["resource_id"])]

    def create_tags(self, resource_ids: list[str], tags: dict[str, str]) -> bool:
        """As moto, for what is known."""
        if hidden := [one for one in resource_ids if not self.lifecycle.is_visible(one)]:
            raise InvalidInstanceIdError(hidden)
        return bool(super().create_tags(resource_ids, tags))

    def _seen(self, reservation: Reservation) -> Reservation:
        # A copy already, as ``all_reservations`` makes them.
        reservation.instances = [one for one in reservation.instances if self.lifecycle.is_visible(one.id)]
        return reservation

    def _status(self, instance: Instance) -> InstanceStatus:
        machine = self.lifecycle.instances[instance.id]
        checks = [self._check(machine, name) for name in ("instance", "system")]
        return InstanceStatus(instance.id, instance.placement.zone, instance.instance_state, *checks)

    def _check(self, machine: TrackedInstance, name: str) -> dict[str, Any]:
        if machine.instance.state != "running":
            return {"Status": "not-applicable"}
        if name in machine.impaired_checks:
            return {"Status": "impaired", "Details": [{"Name": "reachability", "Status": "failed"}]}
        ready = self.environment.clock.now() - machine.running_at >= self.environment.durations.checks_s
        details = [{"Name": "reachability", "Status": "passed" if ready else "initializing"}]
        return {"Status": "ok" if ready else "initializing", "Details": details}
