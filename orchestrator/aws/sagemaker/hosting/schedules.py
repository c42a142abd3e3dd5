"""The end of an endpoint by a schedule of AWS, with a role that may delete the cluster's endpoints and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from orchestrator.aws import schedules
from orchestrator.aws.managed.resources import ManagedResource
from orchestrator.aws.sagemaker import roles
from orchestrator.aws.sagemaker.training import name_prefix
from orchestrator.core.errors import CloudRefused

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients
    from orchestrator.aws.identity import ClusterId

CALL = "sagemaker:deleteEndpoint"


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


def put(clients: Clients, own: ClusterId, endpoint: str, ends_at: datetime, role_arn: str) -> None:
    """Have AWS delete an endpoint at a time.

    :raises StratusError: AWS refused, or does not answer.
    """
    call = schedules.ScheduledCall(endpoint, CALL, {"EndpointName": endpoint}, ends_at, role_arn)
    schedules.put(clients, own, call)


@dataclass(frozen=True)
class OrphanedEnds:
    """Schedules whose endpoint is gone, as managed resources: they would delete a new endpoint of the same name.

    :param endpoint_exists: returns True if there is an endpoint of a name.
    """

    clients: Clients
    cluster_id: Callable[[], ClusterId]
    endpoint_exists: Callable[[str], bool]
    label: str = "schedule"

    def find(self) -> Sequence[ManagedResource]:
        """Return the cluster's schedules without an endpoint; none if they may not be listed."""
        own = self.cluster_id()
        try:
            listed = schedules.names(self.clients, own, name_prefix(own.cluster))
        except CloudRefused:
            # Without this permission there are none, and they cost nothing.
            return []
        orphans = [name for name in listed if not self.endpoint_exists(name)]
        return [ManagedResource(self.label, name, "left behind", usd_per_hour=Decimal(0)) for name in orphans]

    def end(self, name: str) -> None:
        """Remove a schedule."""
        schedules.remove(self.clients, name)
