"""Endpoints: created, described, listed, updated and deleted with their configurations and models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orchestrator.aws import errors, schedules
from orchestrator.aws.managed.resources import ManagedResource
from orchestrator.aws.sagemaker.hosting import autoscaling
from orchestrator.aws.sagemaker.hosting.requests import ASYNCHRONOUS, REAL_TIME, SERVERLESS, EndpointRequest
from orchestrator.aws.sagemaker.ownership import TagMemo
from orchestrator.aws.sagemaker.training import name_prefix
from orchestrator.core.errors import StratusError

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients
    from orchestrator.aws.identity import ClusterId

BUSY = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
LOG_GROUP = "/aws/sagemaker/Endpoints"


@dataclass(frozen=True)
class Endpoint:
    """An endpoint as SageMaker describes it.

    :param status: Creating, InService, Updating, Failed, Deleting ...
    :param mode: real-time, serverless or asynchronous.
    :param reason: of a failure; empty without one.
    :param memory_mb: of a serverless endpoint; 0 for others.
    :param concurrency: of a serverless endpoint; 0 for others.
    """

    name: str
    arn: str
    status: str
    config: str
    mode: str
    count: int
    created_at: datetime
    reason: str = ""
    memory_mb: int = 0
    concurrency: int = 0

    @property
    def is_busy(self) -> bool:
        """True while it is being changed."""
        return self.status in BUSY


@dataclass(frozen=True)
class Parts:
    """Configuration of an endpoint.

    :param models: names of its models.
    :param instance_type: empty if it is serverless.
    :param arn: of the configuration; empty if it does not exist.
    """

    models: tuple[str, ...] = ()
    instance_type: str = ""
    output_url: str = ""
    arn: str = ""


def create_parts(clients: Clients, request: EndpointRequest) -> None:
    """Create model and configuration.

    :raises StratusError: SageMaker refused, or does not answer; what was created may remain.
    """
    create_model(clients, request)
    with clients.translate_errors(f"creating the endpoint configuration {request.part}"):
        clients.service("sagemaker").create_endpoint_config(**request.config)


def create_model(clients: Clients, request: EndpointRequest) -> None:
    """Create the model alone.

    :raises StratusError: SageMaker refused, or does not answer.
    """
    with clients.translate_errors(f"creating the model {request.part}"):
        clients.service("sagemaker").create_model(**request.model)


def create(clients: Clients, request: EndpointRequest) -> str:
    """Create an endpoint of a configuration and return its ARN.

    :raises StratusError: SageMaker refused, or does not answer.
    """
    with clients.translate_errors(f"creating the endpoint {request.name}"):
        return str(clients.service("sagemaker").create_endpoint(**request.endpoint)["EndpointArn"])


def update(clients: Clients, name: str, config: str, *, keeps_count: bool = False) -> None:
    """Put a configuration in the place of an endpoint's own; the old one serves until the new one does.

    :param keeps_count: the number of instances stays as its scaling has it.
    :raises StratusError: SageMaker refused, or does not answer.
    """
    with clients.translate_errors(f"updating the endpoint {name}"):
        clients.service("sagemaker").update_endpoint(
            EndpointName=name, EndpointConfigName=config, RetainAllVariantProperties=keeps_count
        )


def find(clients: Clients, name: str) -> Endpoint | None:
    """Return an endpoint; None if there is none of this name.

    :raises StratusError: SageMaker refused, or does not answer.
    """
    sagemaker = clients.service("sagemaker")
    response = _described(clients, f"the endpoint {name}", lambda: sagemaker.describe_endpoint(EndpointName=name))
    return None if response is None else _endpoint(response)


def find_parts(clients: Clients, config: str) -> Parts:
    """Return what a configuration has; nothing if it does not exist.

    :raises StratusError: SageMaker refused, or does not answer.
    """
    sagemaker = clients.service("sagemaker")
    noun = f"the endpoint configuration {config}"
    response = _described(clients, noun, lambda: sagemaker.describe_endpoint_config(EndpointConfigName=config))
    if response is None:
        return Parts()
    variants = response["ProductionVariants"]
    output = response.get("AsyncInferenceConfig", {}).get("OutputConfig", {}).get("S3OutputPath", "")
    models = tuple(variant["ModelName"] for variant in variants if "ModelName" in variant)
    return Parts(models, variants[0].get("InstanceType", ""), output, response["EndpointConfigArn"])


def _described(clients: Clients, noun: str, describe: Callable[[], Any]) -> Mapping[str, Any] | None:
    with clients.translate_errors(f"looking up {noun}"):
        try:
            response: Mapping[str, Any] = describe()
        except errors.error_types() as error:
            if is_missing(error):
                return None
            raise
    return response


def is_missing(error: Exception) -> bool:
    """Return True for the error on an endpoint, a configuration or a model that does not exist."""
    return errors.code_of(error) == "ValidationException" and "could not find" in errors.message_of(error).lower()


def names(clients: Clients, memo: TagMemo, own: ClusterId) -> list[str]:
    """Return the names of the endpoints of a cluster and owner, newest first.

    :raises StratusError: SageMaker refused, or does not answer.
    """
    prefix = name_prefix(own.cluster)
    with clients.translate_errors("listing endpoints"):
        pages = clients.service("sagemaker").get_paginator("list_endpoints").paginate(NameContains=prefix)
        summaries = [item for page in pages for item in page["Endpoints"]]
    return [item["EndpointName"] for item in memo.own(own, summaries, "Endpoint")]


def delete(clients: Clients, name: str) -> None:
    """Request the deletion of an endpoint, with its schedule, scaling, configuration and model.

    :raises StratusError: SageMaker refused, or does not answer: one that is being changed cannot be deleted yet.
    """
    endpoint = find(clients, name)
    if endpoint is None or endpoint.status == "Deleting":
        return
    if endpoint.is_busy:
        raise StratusError(f"is {endpoint.status}, and SageMaker deletes it only afterwards", where=name)
    parts = find_parts(clients, endpoint.config)
    sagemaker = clients.service("sagemaker")
    # First of all: it is what is billed.
    _delete(clients, f"the endpoint {name}", lambda: sagemaker.delete_endpoint(EndpointName=name))
    delete_parts(clients, endpoint.config, parts.models)
    # One that is left is found again, and removed, by TerminateAll.
    with suppress(StratusError):
        schedules.remove(clients, name)
    if parts.instance_type:
        # Without its endpoint a target costs nothing.
        with suppress(StratusError):
            if autoscaling.remove(clients, name) and endpoint.mode == ASYNCHRONOUS:
                autoscaling.remove_alarm(clients, name)


def delete_unseen(clients: Clients, name: str, config: str) -> None:
    """Request the deletion of an endpoint that may not be described, with its configuration and model.

    :raises StratusError: SageMaker refused, or does not answer.
    """
    sagemaker = clients.service("sagemaker")
    _delete(clients, f"the endpoint {name}", lambda: sagemaker.delete_endpoint(EndpointName=name))
    if config:
        delete_parts(clients, config, [config])


def delete_parts(clients: Clients, config: str, models: Sequence[str]) -> None:
    """Delete a configuration and its models; those that do not exist are no error.

    :raises StratusError: SageMaker refused, or does not answer.
    """
    sagemaker = clients.service("sagemaker")
    noun = f"the endpoint configuration {config}"
    _delete(clients, noun, lambda: sagemaker.delete_endpoint_config(EndpointConfigName=config))
    for model in models:
        delete_model(clients, model)


def delete_model(clients: Clients, model: str) -> None:
    """Delete a model; one that does not exist is no error.

    :raises StratusError: SageMaker refused, or does not answer.
    """
    sagemaker = clients.service("sagemaker")
    _delete(clients, f"the model {model}", lambda: sagemaker.delete_model(ModelName=model))


def _delete(clients: Clients, noun: str, delete: Callable[[], Any]) -> None:
    with clients.translate_errors(f"deleting {noun}"):
        try:
            delete()
        except errors.error_types() as error:
            if not is_missing(error):
                raise


def _endpoint(response: Mapping[str, Any]) -> Endpoint:
    variants = response.get("ProductionVariants") or [{}]
    serverless = variants[0].get("CurrentServerlessConfig") or {}
    mode = SERVERLESS if serverless else REAL_TIME
    return Endpoint(
        name=response["EndpointName"],
        arn=response["EndpointArn"],
        status=response["EndpointStatus"],
        config=response.get("EndpointConfigName", ""),
        mode=ASYNCHRONOUS if response.get("AsyncInferenceConfig") else mode,
        # While it is created there are none yet; scaled to 0 there are none at all.
        count=sum(max(item.get("CurrentInstanceCount", 0), item.get("DesiredInstanceCount", 0)) for item in variants),
        created_at=response["CreationTime"],
        reason=response.get("FailureReason", ""),
        memory_mb=serverless.get("MemorySizeInMB", 0),
        concurrency=serverless.get("MaxConcurrency", 0),
    )


@dataclass(frozen=True)
class Endpoints:
    """The cluster's endpoints, as managed resources.

    :param usd_per_hour: returns the price of one instance of a type; None if unknown.
    """

    clients: Clients
    cluster_id: Callable[[], ClusterId]
    usd_per_hour: Callable[[str], Decimal | None]
    memo: TagMemo
    label: str = "endpoint"

    def find(self) -> Sequence[ManagedResource]:
        """Return the cluster's endpoints; one that failed counts until it is deleted."""
        listed = names(self.clients, self.memo, self.cluster_id())
        endpoints = [endpoint for endpoint in (find(self.clients, name) for name in listed) if endpoint is not None]
        return [self._resource(endpoint) for endpoint in endpoints]

    def _resource(self, endpoint: Endpoint) -> ManagedResource:
        instance_type, ends_at = "", None
        # Only for a display: a missing permission must not hide the endpoint.
        with suppress(StratusError):
            instance_type = find_parts(self.clients, endpoint.config).instance_type
            ends_at = schedules.find(self.clients, endpoint.name)
        return ManagedResource(
            kind=self.label,
            name=endpoint.name,
            state=endpoint.status,
            type=instance_type or endpoint.mode,
            count=endpoint.count if instance_type else 1,
            usd_per_hour=self._price(endpoint, instance_type),
            created_at=endpoint.created_at,
            ends_at=ends_at,
        )

    def _price(self, endpoint: Endpoint, instance_type: str) -> Decimal | None:
        if endpoint.mode == SERVERLESS:
            # Billed by requests: nothing while there are none.
            return Decimal(0)
        price = self.usd_per_hour(instance_type) if instance_type else None
        return None if price is None else price * endpoint.count

    def end(self, name: str) -> None:
        """Delete an endpoint."""
        delete(self.clients, name)
