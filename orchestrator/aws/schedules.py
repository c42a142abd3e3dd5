"""One-time schedules of EventBridge Scheduler: a call of AWS's API at a time, also if this computer is off.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from orchestrator.aws import errors

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients
    from orchestrator.aws.identity import ClusterId

_TIME = "%Y-%m-%dT%H:%M:%S"
_TARGET = "arn:aws:scheduler:::aws-sdk:{call}"


@dataclass(frozen=True)
class ScheduledCall:
    """A call that AWS makes once.

    :param name: of the schedule.
    :param call: service and action: ``sagemaker:deleteEndpoint``.
    :param parameters: of the call.
    :param role_arn: whose permissions the call has.
    """

    name: str
    call: str
    parameters: Mapping[str, object]
    at: datetime
    role_arn: str


def description(own: ClusterId) -> str:
    """Return the description of a cluster's schedules: schedules have no tags of their own."""
    return f"Stratus, cluster {own.cluster}: {own.resource_name}"


def put(clients: Clients, own: ClusterId, scheduled: ScheduledCall) -> None:
    """Create a schedule, in the place of one of the same name.

    :raises StratusError: AWS refused, or does not answer.
    """
    request = {
        "Name": scheduled.name,
        "Description": description(own),
        "ScheduleExpression": f"at({scheduled.at.astimezone(UTC).strftime(_TIME)})",
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": "DELETE",
        "Target": {
            "Arn": _TARGET.format(call=scheduled.call),
            "RoleArn": scheduled.role_arn,
            "Input": json.dumps(scheduled.parameters),
        },
    }
    client = clients.service("scheduler")
    with clients.translate_errors(f"scheduling the end of {scheduled.name}"):
        try:
            client.create_schedule(**request)
        except errors.error_types() as error:
            if errors.code_of(error) != "ConflictException":
                raise
            client.delete_schedule(Name=scheduled.name)
            client.create_schedule(**request)


def find(clients: Clients, name: str) -> datetime | None:
    """Return when a schedule makes its call; None without one, or if that is unknown."""
    try:
        response = clients.service("scheduler", attempts=1).get_schedule(Name=name)
    # For a display only: the permission may be missing.
    except errors.error_types():
        return None
    with suppress(ValueError):
        text = response["ScheduleExpression"].removeprefix("at(").removesuffix(")")
        return datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    return None


def names(clients: Clients, own: ClusterId, prefix: str) -> list[str]:
    """Return the names of the schedules of a cluster and owner.

    :raises StratusError: AWS refused, or does not answer.
    """
    client = clients.service("scheduler", attempts=2)
    with clients.translate_errors("listing schedules"):
        pages = client.get_paginator("list_schedules").paginate(GroupName="default", NamePrefix=prefix)
        listed = [item["Name"] for page in pages for item in page["Schedules"]]
        return [name for name in listed if client.get_schedule(Name=name).get("Description") == description(own)]


def remove(clients: Clients, name: str) -> None:
    """Remove a schedule; one that does not exist is no error.

    :raises StratusError: AWS refused, or does not answer.
    """
    with clients.translate_errors(f"removing the schedule of {name}"):
        try:
            clients.service("scheduler", attempts=2).delete_schedule(Name=name)
        except errors.error_types() as error:
            if errors.code_of(error) != "ResourceNotFoundException":
                raise
