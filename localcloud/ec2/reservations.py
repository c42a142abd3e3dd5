"""Capacity reservations, which moto lacks: reserved numbers of VMs of one type in one zone, from a start to an end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from moto.ec2.exceptions import EC2ClientError
from moto.moto_api._internal import mock_random

if TYPE_CHECKING:
    from localcloud.ec2.backend import Ec2Region


@dataclass
class CapacityReservation:
    """One capacity reservation.

    :param starts_at: UTC, without a zone, as the cloud's clock.
    :param ends_at: likewise; None without an end.
    """

    id: str
    type: str
    zone: str
    total: int
    starts_at: datetime
    ends_at: datetime | None
    is_cancelled: bool = False
    instance_ids: set[str] = field(default_factory=set)

    def state(self, now: datetime) -> str:
        """Return the state that EC2 shows."""
        if self.is_cancelled:
            return "cancelled"
        if now < self.starts_at:
            return "scheduled"
        return "expired" if self.ends_at is not None and now >= self.ends_at else "active"

    def available(self, ec2: Ec2Region) -> int:
        """Return the number of VMs that it has room for."""
        if self.state(_now(ec2)) != "active":
            return 0
        tracked = (ec2.lifecycle.instances.get(instance_id) for instance_id in self.instance_ids)
        used = [item for item in tracked if item and item.instance.state in ("pending", "running", "stopping")]
        return max(0, self.total - len(used))


def create(ec2: Ec2Region, params: dict[str, Any]) -> dict[str, Any]:
    """Make a reservation, and return it as EC2 shows it."""
    now = _now(ec2)
    reservation = CapacityReservation(
        id=f"cr-{mock_random.get_random_hex(17)}",
        type=params["InstanceType"],
        zone=params.get("AvailabilityZone", f"{ec2.region_name}a"),
        total=int(params["InstanceCount"]),
        starts_at=_time(params.get("StartDate")) or now,
        ends_at=_time(params.get("EndDate")),
    )
    ec2.capacity_reservations[reservation.id] = reservation
    return _shown(ec2, reservation)


def describe(ec2: Ec2Region, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return reservations as EC2 shows them; all without ids."""
    return [_shown(ec2, _known(ec2, item)) for item in ids or list(ec2.capacity_reservations)]


def cancel(ec2: Ec2Region, reservation_id: str) -> None:
    """End a reservation; its VMs go on."""
    _known(ec2, reservation_id).is_cancelled = True


def check(ec2: Ec2Region, params: dict[str, Any]) -> CapacityReservation | None:
    """Check a launch against the reservation that it names, and return that; None without one.

    :raises EC2ClientError: as EC2 refuses it.
    """
    target = params.get("CapacityReservationSpecification", {}).get("CapacityReservationTarget", {})
    if "CapacityReservationId" not in target:
        return None
    named = _known(ec2, target["CapacityReservationId"])
    subnet = ec2.get_subnet(params["SubnetId"]) if params.get("SubnetId") else None
    zone = subnet.availability_zone if subnet else named.zone
    if (params.get("InstanceType"), zone) != (named.type, named.zone):
        message = f"The instance type or the zone does not match the capacity reservation {named.id}."
        raise EC2ClientError("InvalidParameterCombination", message)
    if (state := named.state(_now(ec2))) != "active":
        raise EC2ClientError("InvalidCapacityReservationState", f"The capacity reservation {named.id} is {state}.")
    if named.available(ec2) < int(params.get("MinCount", 1)):
        message = f"The requested reservation {named.id} does not have sufficient capacity."
        raise EC2ClientError("ReservationCapacityExceeded", message)
    return named


def _known(ec2: Ec2Region, reservation_id: str) -> CapacityReservation:
    if reservation_id not in ec2.capacity_reservations:
        message = f"The capacity reservation '{reservation_id}' does not exist"
        raise EC2ClientError("InvalidCapacityReservationId.NotFound", message)
    reservation: CapacityReservation = ec2.capacity_reservations[reservation_id]
    return reservation


def _shown(ec2: Ec2Region, reservation: CapacityReservation) -> dict[str, Any]:
    return {
        "CapacityReservationId": reservation.id,
        "OwnerId": ec2.account_id,
        "InstanceType": reservation.type,
        "InstancePlatform": "Linux/UNIX",
        "AvailabilityZone": reservation.zone,
        "TotalInstanceCount": reservation.total,
        "AvailableInstanceCount": reservation.available(ec2),
        "State": reservation.state(_now(ec2)),
        "StartDate": reservation.starts_at,
        "EndDate": reservation.ends_at,
        "EndDateType": "limited" if reservation.ends_at else "unlimited",
        "InstanceMatchCriteria": "targeted",
        "ReservationType": "default",
        "Tags": [],
    }


def _now(ec2: Ec2Region) -> datetime:
    return ec2.environment.clock.utc().replace(tzinfo=None)


def _time(value: Any) -> datetime | None:
    if not value:
        return None
    parsed = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return parsed.replace(tzinfo=None)
