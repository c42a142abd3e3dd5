"""Endpoints: their calls, and their life from Creating over InService and Updating to the end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from localcloud.aws.ecr import ACCOUNT
from localcloud.aws.error_responses import ApiError
from localcloud.aws.wsgi import Params
from localcloud.ec2.environment import CloudEnvironment
from localcloud.sagemaker.dispatch import Call, Handler
from localcloud.sagemaker.hosting import rules, servers
from localcloud.sagemaker.hosting.models import CONFIG, MODEL, ModelApi
from localcloud.sagemaker.hosting.quotas import check_instances
from localcloud.sagemaker.hosting.resources import Registry, Resource
from localcloud.sagemaker.hosting.servers import ModelServer, Site, StartFailed
from localcloud.sagemaker.logs import LogStream

ENDPOINT = "endpoint"
LOG_GROUP = "/aws/sagemaker/Endpoints"
BUSY = ("Creating", "Updating", "Deleting")

_log = logging.getLogger(__name__)


@dataclass
class Endpoint(Resource):
    """An endpoint.

    :param config: request that created the configuration in use; kept, because the configuration may be deleted.
    :param counts: instances of each variant.
    :param fleet: server of each variant.
    """

    config: Params = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    fleet: dict[str, ModelServer] = field(default_factory=dict)
    failure: str = ""

    @property
    def is_async(self) -> bool:
        """True for asynchronous inference."""
        return "AsyncInferenceConfig" in self.config

    @property
    def log_group(self) -> str:
        """Name of its log group."""
        return f"{LOG_GROUP}/{self.name}"

    def describe(self) -> dict[str, Any]:
        """Return the fields of DescribeEndpoint."""
        facts: dict[str, Any] = {
            **self.summary(),
            "EndpointConfigName": self.config["EndpointConfigName"],
            "ProductionVariants": [self._variant(variant) for variant in self.config["ProductionVariants"]],
        }
        if self.is_async:
            facts["AsyncInferenceConfig"] = self.config["AsyncInferenceConfig"]
        return {**facts, "FailureReason": self.failure} if self.failure else facts

    def _variant(self, variant: Params) -> dict[str, Any]:
        weight = variant.get("InitialVariantWeight", 1.0)
        facts = {"VariantName": variant["VariantName"], "CurrentWeight": weight, "DesiredWeight": weight}
        if "ServerlessConfig" in variant:
            return {**facts, "CurrentServerlessConfig": variant["ServerlessConfig"]}
        count = self.counts[variant["VariantName"]]
        return {**facts, "CurrentInstanceCount": count, "DesiredInstanceCount": count}

    def summary(self) -> dict[str, Any]:
        """Return the fields that lists have, too."""
        return {
            "EndpointName": self.name,
            "EndpointArn": self.arn,
            "EndpointStatus": self.status,
            "CreationTime": self.created_at,
            "LastModifiedTime": self.modified_at,
        }


class EndpointApi:
    """Endpoints of all regions.

    :param models: models and configurations.
    """

    def __init__(self, environment: CloudEnvironment, models: ModelApi, site: Site) -> None:
        self.environment, self.models, self.site = environment, models, site
        self.endpoints = Registry[Endpoint]("endpoint")

    @property
    def actions(self) -> Mapping[str, Handler]:
        """Handlers by action."""
        return {
            "CreateEndpoint": self.create,
            "DescribeEndpoint": self.describe,
            "ListEndpoints": self.list,
            "UpdateEndpoint": self.update,
            "UpdateEndpointWeightsAndCapacities": self.update_capacities,
            "DeleteEndpoint": self.delete,
        }

    def create(self, call: Call) -> dict[str, Any]:
        """Answer CreateEndpoint."""
        config, now = self._config(call), self.environment.clock.utc()
        endpoint = Endpoint(
            ENDPOINT, call.params["EndpointName"], call.region, call.params, now, now, "Creating", config=config
        )
        endpoint.counts = _counts(config)
        with self.environment.lock:
            if self.endpoints.find(call.region, endpoint.name) is None:
                check_instances(self.environment, call.region, self.endpoints.all(), config)
            self.endpoints.add(endpoint)
        self._in_background(endpoint, config)
        return {"EndpointArn": endpoint.arn}

    def describe(self, call: Call) -> dict[str, Any]:
        """Answer DescribeEndpoint."""
        with self.environment.lock:
            return self._named(call).describe()

    def list(self, call: Call) -> dict[str, Any]:
        """Answer ListEndpoints."""
        with self.environment.lock:
            page: dict[str, Any] = self.endpoints.page(call.region, call.params, "Endpoints", Endpoint.summary)
        return page

    def update(self, call: Call) -> dict[str, Any]:
        """Answer UpdateEndpoint: the new configuration is served before the old one ends."""
        config = self._config(call)
        with self.environment.lock:
            endpoint = self._idle(call)
            if endpoint.status != "InService":
                raise ApiError("ValidationException", f'Cannot update endpoint "{endpoint.arn}" that is not InService.')
            rules.check_switch(endpoint.config, config)
            check_instances(self.environment, call.region, self.endpoints.all(), config)
            self._enter(endpoint, "Updating")
        self._in_background(endpoint, config)
        return {"EndpointArn": endpoint.arn}

    def update_capacities(self, call: Call) -> dict[str, Any]:
        """Answer UpdateEndpointWeightsAndCapacities: numbers of instances."""
        with self.environment.lock:
            endpoint = self._idle(call)
            for variant in call.params["DesiredWeightsAndCapacities"]:
                if variant["VariantName"] not in endpoint.counts:
                    raise ApiError("ValidationException", f"Could not find variant {variant['VariantName']}.")
                endpoint.counts[variant["VariantName"]] = variant.get("DesiredInstanceCount", 1)
        return {"EndpointArn": endpoint.arn}

    def delete(self, call: Call) -> dict[str, Any]:
        """Answer DeleteEndpoint."""
        with self.environment.lock:
            endpoint = self._idle(call)
            self._enter(endpoint, "Deleting")
        threading.Thread(target=self._remove, args=(endpoint,), name=f"delete {endpoint.name}", daemon=True).start()
        return {}

    def close(self) -> None:
        """Forget all endpoints; their containers end with the engine."""
        for endpoint in self.endpoints.all():
            self.endpoints.remove(endpoint)

    def _named(self, call: Call) -> Endpoint:
        return self.endpoints.named(call.region, call.params["EndpointName"], ENDPOINT)

    def _idle(self, call: Call) -> Endpoint:
        endpoint = self._named(call)
        if endpoint.status in BUSY:
            raise ApiError("ValidationException", f'Cannot update in-progress endpoint "{endpoint.arn}".')
        return endpoint

    def _config(self, call: Call) -> Params:
        return self.models.configs.named(call.region, call.params["EndpointConfigName"], CONFIG).request

    def _enter(self, endpoint: Endpoint, status: str, failure: str = "") -> None:
        endpoint.status, endpoint.failure = status, failure
        endpoint.modified_at = self.environment.clock.utc()

    def _in_background(self, endpoint: Endpoint, config: Params) -> None:
        run = threading.Thread(target=self._deploy, args=(endpoint, config), name=endpoint.name, daemon=True)
        run.start()

    def _deploy(self, endpoint: Endpoint, config: Params) -> None:
        """Start the fleet of a configuration, and put it in the place of the present one."""
        failure, fleet = "", {}
        try:
            for variant in config["ProductionVariants"]:
                fleet[variant["VariantName"]] = server = self._server(endpoint, variant)
                server.start(_start_timeout_s(variant))
        except StartFailed as error:
            failure = str(error)
        except Exception:
            _log.exception("endpoint %s", endpoint.name)
            failure = "Request to service failed. If failure persists after retry, contact customer support."
        with self.environment.lock:
            outdated = endpoint.fleet if not failure else fleet
            if not failure:
                endpoint.fleet, endpoint.config, endpoint.counts = fleet, config, _counts(config)
            # A failed update leaves the earlier configuration in service.
            self._enter(endpoint, "InService" if endpoint.fleet else "Failed", failure)
        for server in outdated.values():
            server.stop()

    def _server(self, endpoint: Endpoint, variant: Params) -> ModelServer:
        try:
            model = self.models.models.named(endpoint.region, variant["ModelName"], MODEL).request
        except ApiError as error:
            raise StartFailed(error.message) from error
        name = f"{variant['VariantName']}/i-{len(endpoint.fleet):017x}"
        stream = LogStream(self.environment, endpoint.region, endpoint.log_group, name)
        return ModelServer(self.site, model, endpoint.region, {}, stream.write)

    def _remove(self, endpoint: Endpoint) -> None:
        for server in endpoint.fleet.values():
            server.stop()
        with self.environment.lock:
            self.endpoints.remove(endpoint)


def log_stream_arn(endpoint: Endpoint) -> str:
    """Return the ARN of an endpoint's log group."""
    return f"arn:aws:logs:{endpoint.region}:{ACCOUNT}:log-group:{endpoint.log_group}"


def first_server(endpoint: Endpoint, variant: str = "") -> ModelServer | None:
    """Return the server of a variant, by default of the first; None if it has none."""
    fleet: Sequence[ModelServer] = list(endpoint.fleet.values())
    return endpoint.fleet.get(variant) if variant else next(iter(fleet), None)


def _counts(config: Params) -> dict[str, int]:
    return {item["VariantName"]: item.get("InitialInstanceCount", 0) for item in config["ProductionVariants"]}


def _start_timeout_s(variant: Params) -> float:
    return float(variant.get("ContainerStartupHealthCheckTimeoutInSeconds", servers.DEFAULT_START_TIMEOUT_S))
