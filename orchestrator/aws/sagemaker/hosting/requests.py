"""Requests that create an endpoint: model, configuration, endpoint; the three ways of hosting and their rules.

https://docs.aws.amazon.com/sagemaker/latest/dg/deploy-model-options.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.config import ini
from orchestrator.core.errors import UsageError

REAL_TIME, SERVERLESS, ASYNCHRONOUS = "real-time", "serverless", "asynchronous"
MODES = (REAL_TIME, SERVERLESS, ASYNCHRONOUS)
VARIANT = "AllTraffic"
DEFAULT_TYPE, DEFAULT_MEMORY_MB, DEFAULT_CONCURRENCY = "ml.m5.large", 2048, 5
MEMORY_MB = (1024, 2048, 3072, 4096, 5120, 6144)
MAX_CONCURRENCY = 200
MAX_NAME = 63
NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")


@dataclass(frozen=True)
class Fleet:
    """The capacity of an endpoint; for a change of one, what is empty or 0 stays as it is.

    :param mode: one of :data:`MODES`.
    :param memory_mb: of a serverless endpoint.
    :param concurrency: requests that a serverless endpoint answers at the same time.
    """

    mode: str = REAL_TIME
    instance_type: str = DEFAULT_TYPE
    count: int = 1
    memory_mb: int = DEFAULT_MEMORY_MB
    concurrency: int = DEFAULT_CONCURRENCY

    @property
    def is_serverless(self) -> bool:
        """True if it has no instances of its own."""
        return self.mode == SERVERLESS

    @property
    def variant(self) -> Mapping[str, Any]:
        """Members of the production variant."""
        if self.is_serverless:
            return {"ServerlessConfig": {"MemorySizeInMB": self.memory_mb, "MaxConcurrency": self.concurrency}}
        return {"InstanceType": self.instance_type, "InitialInstanceCount": self.count, "InitialVariantWeight": 1.0}


@dataclass(frozen=True)
class EndpointRequest:
    """Everything that creates an endpoint.

    :param name: of the endpoint.
    :param part: name of its model and its configuration; another one for each update.
    :param model_url: S3 URL of model.tar.gz.
    :param output_url: S3 URL below which an asynchronous endpoint writes answers.
    """

    name: str
    part: str
    image: str
    role_arn: str
    model_url: str
    fleet: Fleet
    tags: Sequence[Mapping[str, str]]
    output_url: str = ""

    @property
    def model(self) -> Mapping[str, Any]:
        """Parameters of CreateModel."""
        container = {"Image": self.image, "ModelDataUrl": self.model_url}
        return {
            "ModelName": self.part,
            "PrimaryContainer": container,
            "ExecutionRoleArn": self.role_arn,
            "Tags": list(self.tags),
        }

    @property
    def config(self) -> Mapping[str, Any]:
        """Parameters of CreateEndpointConfig."""
        variant = {"VariantName": VARIANT, "ModelName": self.part, **self.fleet.variant}
        request = {"EndpointConfigName": self.part, "ProductionVariants": [variant], "Tags": list(self.tags)}
        if self.fleet.mode != ASYNCHRONOUS:
            return request
        output = {"S3OutputPath": f"{self.output_url}/out", "S3FailurePath": f"{self.output_url}/failed"}
        return {**request, "AsyncInferenceConfig": {"OutputConfig": output}}

    @property
    def endpoint(self) -> Mapping[str, Any]:
        """Parameters of CreateEndpoint."""
        return {"EndpointName": self.name, "EndpointConfigName": self.part, "Tags": list(self.tags)}


def check_fleet(fleet: Fleet) -> None:
    """Check the limits of a fleet.

    :raises UsageError: SageMaker would refuse it; the message has the rule.
    """
    if fleet.mode not in MODES:
        begun = next((mode for mode in MODES if fleet.mode and mode.startswith(fleet.mode.lower())), "")
        advice = f" Did you mean {begun}?" if begun else ini.suggest(fleet.mode, MODES)
        raise UsageError(f"{fleet.mode!r} is not a way of hosting.{advice}", fix=f"use {', '.join(MODES)}")
    mistakes = _serverless_mistakes(fleet) if fleet.is_serverless else []
    if fleet.count < 1:
        mistakes.append(f"count = {fleet.count}: an endpoint has at least 1 instance")
    if mistakes:
        raise UsageError("; ".join(mistakes))


def _serverless_mistakes(fleet: Fleet) -> list[str]:
    mistakes = []
    if fleet.memory_mb not in MEMORY_MB:
        sizes = ", ".join(map(str, MEMORY_MB))
        mistakes.append(f"memory_mb = {fleet.memory_mb}: a serverless endpoint has one of {sizes} MB")
    if not 1 <= fleet.concurrency <= MAX_CONCURRENCY:
        rule = f"a serverless endpoint answers 1 to {MAX_CONCURRENCY} requests at the same time"
        mistakes.append(f"concurrency = {fleet.concurrency}: {rule}")
    if fleet.count > 1:
        mistakes.append(f"count = {fleet.count}: a serverless endpoint has no instances of its own")
    if fleet.instance_type not in ("", DEFAULT_TYPE):
        mistakes.append(f"instance_type = {fleet.instance_type}: a serverless endpoint runs on memory_mb alone")
    return mistakes


def check_switch(present: str, fleet: Fleet) -> None:
    """Check that an endpoint can be updated to a fleet.

    :param present: its mode now.
    :raises UsageError: SageMaker allows the change by a new endpoint only.
    """
    if present == fleet.mode or (present == SERVERLESS and fleet.mode == REAL_TIME):
        return
    if fleet.is_serverless:
        raise UsageError(
            "an endpoint with instances cannot become serverless; only the reverse is possible",
            fix="deploy the run under another name, then delete this endpoint",
        )
    raise UsageError(
        f"{'an' if present == ASYNCHRONOUS else 'a'} {present} endpoint cannot become {fleet.mode}",
        fix="deploy the run under another name, then delete this endpoint",
    )


def short_name(text: str) -> str:
    """Return a text as a part of an endpoint's name."""
    return re.sub(r"[^a-zA-Z0-9]+", "-", text).strip("-") or "model"


def check_name(name: str, longest: int) -> None:
    """Check the name of an endpoint.

    :param longest: characters that it may have.
    :raises UsageError: SageMaker would refuse it.
    """
    if len(name) > longest or not NAME.fullmatch(name):
        rule = f"letters, digits and single hyphens between them, at most {longest} characters"
        raise UsageError(f"{name!r} cannot be the name of an endpoint: {rule}")
