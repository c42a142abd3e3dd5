"""The end of an endpoint by a schedule of AWS, which works although this computer is off.

A one-time schedule of EventBridge Scheduler calls DeleteEndpoint, with a role that may do nothing else, and for the
cluster's endpoints only. https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-targets-universal.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from orchestrator.aws import errors
from orchestrator.aws.sagemaker import roles
from orchestrator.core.errors import StratusError

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients
    from orchestrator.aws.identity import ClusterId

TARGET = "arn:aws:scheduler:::aws-sdk:sagemaker:deleteEndpoint"
_TIME = "%Y-%m-%dT%H:%M:%S"


def role_documents(own: ClusterId, account: str) -> roles.RoleDocuments:
    """Return the role with which schedules delete the endpoints of a cluster."""
    condition = {"StringEquals": {"aws:SourceAccount": account}}
    trust = _document({"Principal": {"Service": "scheduler.amazonaws.com"}, "Action": "sts:AssumeRole"}, condition)
    resource = f"arn:aws:sagemaker:{own.region}:{account}:endpoint/stratus-{own.cluster}-*".lower()
    permissions = _document({"Action": "sagemaker:DeleteEndpoint", "Resource": resource}, {})
    return roles.RoleDocuments(f"stratus-scheduler-{own.cluster}-{own.region}", trust, permissions)


def _document(statement: Mapping[str, object], condition: Mapping[str, object]) -> roles.Document:
    conditions = {"Condition": condition} if condition else {}
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement, **conditions}]}


def put(clients: Clients, endpoint: str, ends_at: datetime, role_arn: str) -> None:
    """Have AWS delete an endpoint at a time.

    :raises StratusError: AWS refused, or does not answer.
    """
    request = {
        "Name": endpoint,
        "ScheduleExpression": f"at({ends_at.astimezone(UTC).strftime(_TIME)})",
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "ActionAfterCompletion": "DELETE",
        "Target": {"Arn": TARGET, "RoleArn": role_arn, "Input": json.dumps({"EndpointName": endpoint})},
    }
    with clients.translate_errors(f"scheduling the end of {endpoint}"):
        clients.service("scheduler").create_schedule(**request)


def find(clients: Clients, endpoint: str) -> datetime | None:
    """Return when AWS deletes an endpoint; None if it does not, or if that is unknown."""
    try:
        response = clients.service("scheduler", attempts=1).get_schedule(Name=endpoint)
    # For a display only: the permission may be missing.
    except errors.error_types():
        return None
    with suppress(ValueError):
        text = response["ScheduleExpression"].removeprefix("at(").removesuffix(")")
        return datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    return None


def remove(clients: Clients, endpoint: str) -> None:
    """Remove the schedule of an endpoint; one that does not exist is no error."""
    with suppress(StratusError), clients.translate_errors(f"removing the schedule of {endpoint}"):
        clients.service("scheduler", attempts=2).delete_schedule(Name=endpoint)
