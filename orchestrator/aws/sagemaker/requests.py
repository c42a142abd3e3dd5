"""Requests to SageMaker, checked while they are planned: before code and data are uploaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.aws import request_rules

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients


def check(clients: Clients, operation: str, request: Mapping[str, Any]) -> None:
    """Check a request against the service model.

    :param operation: as the API names it: ``CreateTrainingJob``.
    :raises UsageError: a value that SageMaker refuses, with the rule; of several the first one.
    """
    request_rules.check(clients.service("sagemaker").meta.service_model.operation_model(operation), request)
