"""Capacity reservations and capacity blocks: looked up, checked against a launch, and waited for until they start.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/capacity-reservation-overview.html
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from orchestrator.aws import client, errors
from orchestrator.core.clock import Backoff
from orchestrator.core.errors import UsageError

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import CapacityReservationTypeDef

ACTIVE = "active"
WAITING = ("scheduled", "pending", "payment-pending", "assessing", "delayed")
"""States before a reservation is active; from any other there is no way to it."""

LATE_S = 1800.0
"""How much later than announced a reservation may become active before the wait for it ends."""

BLOCK_ENDS_EARLY = timedelta(minutes=30)
"""EC2 terminates the instances of a capacity block so long before its end."""

POLL = Backoff(first_s=5.0, longest_s=60.0)

_UNKNOWN = ("InvalidCapacityReservationId.NotFound", "InvalidCapacityReservationId.Malformed")


@dataclass(frozen=True)
class Reservation:
    """A capacity reservation.

    :param available: number of instances that it has room for.
    :param starts_at: None if it has started, or AWS states no time.
    :param ends_at: None if it has no end.
    :param is_block: True for a capacity block.
    """

    id: str
    type: str
    zone: str
    state: str
    total: int
    available: int
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    is_block: bool = False

    def check(self, instance_type: str, count: int, now: datetime, *, wait_hours: float) -> None:
        """Check that a launch can use it.

        :param wait_hours: longest wait for its start.
        :raises UsageError: it cannot.
        """
        if problem := self._problem(instance_type, count, now, wait_hours):
            fix = "correct [vms] capacity_reservation; without it, a launch takes any capacity"
            raise UsageError(f"capacity reservation {self.id} {problem}", where=self.id, fix=fix)

    def _problem(self, instance_type: str, count: int, now: datetime, wait_hours: float) -> str:
        if self.type != instance_type:
            return f"is for {self.type}, and [cluster] instance_type is {instance_type}"
        if self.state not in (ACTIVE, *WAITING):
            return f"is {self.state}"
        # Before its start none are available.
        room = self.available if self.state == ACTIVE else self.total
        if room < count:
            return f"has room for {room} VMs of {self.total}, not for {count}"
        if self.starts_at and self.starts_at - now > timedelta(hours=wait_hours):
            start = f"{self.starts_at:%Y-%m-%d %H:%M} UTC"
            return f"starts at {start}, later than [vms] reservation_wait_hours = {wait_hours:g}"
        return ""

    def warnings(self, now: datetime, max_hours: float) -> tuple[str, ...]:
        """Return a line if it ends before the VMs do."""
        if self.ends_at is None:
            return ()
        early = BLOCK_ENDS_EARLY if self.is_block else timedelta(0)
        start = max(now, self.starts_at or now)
        if start + timedelta(hours=max_hours) <= self.ends_at - early:
            return ()
        end = "AWS terminates the VMs" if self.is_block else "the VMs lose the reservation"
        return (f"{end} at {self.ends_at - early:%Y-%m-%d %H:%M} UTC, when {self.id} ends, before max_hours",)


def find(clients: client.Clients, reservation_id: str) -> Reservation:
    """Return a capacity reservation.

    :raises UsageError: there is none of this id.
    """
    with clients.translate_errors(f"looking up capacity reservation {reservation_id}"):
        try:
            answer = clients.ec2.describe_capacity_reservations(CapacityReservationIds=[reservation_id])
        except errors.error_types() as error:
            if errors.code_of(error) not in _UNKNOWN:
                raise
            raise _missing(clients, reservation_id) from error
    if not answer["CapacityReservations"]:
        raise _missing(clients, reservation_id)
    return _reservation(answer["CapacityReservations"][0])


def wait_active(clients: client.Clients, reservation: Reservation, report: Callable[[str], None]) -> Reservation:
    """Wait until a reservation is active, and return it as it is then.

    :param report: called with the time that is left.
    :raises UsageError: it did not become active in time, or it ended.
    """
    clock, current = clients.clock, reservation
    starts_at = reservation.starts_at or clock.now()
    timeout_s = max(0.0, (starts_at - clock.now()).total_seconds()) + LATE_S
    for _ in clock.attempts(timeout_s, POLL):
        if current.state not in WAITING:
            break
        left_s = (starts_at - clock.now()).total_seconds()
        report(f"{reservation.id}: {_countdown(left_s)}")
        current = find(clients, reservation.id)
    if current.state != ACTIVE:
        raise UsageError(
            f"capacity reservation {reservation.id} is {current.state}, {LATE_S / 60:.0f} min after its start",
            where=reservation.id,
            fix="launch again when it is active; nothing was launched",
        )
    return current


def _countdown(left_s: float) -> str:
    if left_s <= 0:
        return "due, waiting until it is active"
    minutes = int(left_s // 60)
    return f"starts in {minutes // 60} h {minutes % 60:02} min" if minutes else f"starts in {left_s:.0f} s"


def _missing(clients: client.Clients, reservation_id: str) -> UsageError:
    return UsageError(
        f"there is no capacity reservation {reservation_id} in {clients.region} that this account can use",
        code=_UNKNOWN[0],
        fix="correct [vms] capacity_reservation: every region has its own ids",
    )


def _reservation(response: CapacityReservationTypeDef) -> Reservation:
    return Reservation(
        id=response["CapacityReservationId"],
        type=response["InstanceType"],
        zone=response["AvailabilityZone"],
        state=response["State"],
        total=response.get("TotalInstanceCount", 0),
        available=response.get("AvailableInstanceCount", 0),
        starts_at=response.get("StartDate") if response["State"] in WAITING else None,
        ends_at=response.get("EndDate"),
        is_block=response.get("ReservationType") == "capacity-block",
    )
