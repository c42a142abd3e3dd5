"""Endpoints: their calls, and their life from Creating over InService and Updating to the end."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from localcloud.aws.ecr import ACCOUNT
from localcloud.aws.error_responses import ApiError
from localcloud.aws.wsgi import Params
from localcloud.ec2.environment import CloudEnvironment
from localcloud.sagemaker.dispatch import Call, Handler
from localcloud.sagemaker.hosting import fleets, rules
from localcloud.sagemaker.hosting.fleets import Fleet
from localcloud.sagemaker.hosting.interface import Server, Site, StartFailed
from localcloud.sagemaker.hosting.models import CONFIG, MODEL, ModelApi
from localcloud.sagemaker.hosting.quotas import check_config, check_instances
from localcloud.sagemaker.hosting.resources import Registry, Resource
from localcloud.sagemaker.logs import LogStream

ENDPOINT = "endpoint"
LOG_GROUP = "/aws/sagemaker/Endpoints"
BUSY = ("Creating", "Updating", "Deleting")

# Requests whose times are kept for the metrics of autoscaling.
_INVOCATIONS = 100_000

_log = logging.getLogger(__name__)


@dataclass
class Endpoint(Resource):
    """An endpoint.

    :param config: request that created the configuration in use; kept, because the configuration may be deleted.
    :param wanted: instances of each variant that were asked for last.
    :param fleet: containers of each variant.
    :param invocations: times of the last requests on the cloud's clock, and their variants.
    """

    config: Params = field(default_factory=dict)
    wanted: dict[str, int] = field(default_factory=dict)
    fleet: Fleet = field(default_factory=dict)
    failure: str = ""
    invocations: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=_INVOCATIONS))

    @property
    def instances(self) -> Counter[str]:
        """Instances of each type, those that are being started included."""
        present = fleets.counts(self.fleet)
        counts = Counter[str]()
        for variant in self.config["ProductionVariants"]:
            name = variant["VariantName"]
            counts[variant.get("InstanceType", "")] += max(present.get(name, 0), self.wanted.get(name, 0))
        return counts

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
        name = variant["VariantName"]
        count = self.fleet[name].count if name in self.fleet else 0
        return {**facts, "CurrentInstanceCount": count, "DesiredInstanceCount": self.wanted.get(name, count)}

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
        #: Called after the instances of an endpoint have changed.
        self.on_resize: Callable[[Endpoint], None] = lambda _: None
        #: Returns True for an endpoint whose instances are scaled automatically.
        self.is_scaled: Callable[[Endpoint], bool] = lambda _: False

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
        endpoint.wanted = _counts(config)
        with self.environment.lock:
            if self.endpoints.find(call.region, endpoint.name) is None:
                check_config(self.environment, call.region, self.endpoints.all(), config)
            self.endpoints.add(endpoint)
        self.site.begin(lambda: self._deploy(endpoint, config), endpoint.name)
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
            rules.check_switch(endpoint.config, config, is_scaled=self.is_scaled(endpoint))
            if call.params.get("RetainAllVariantProperties"):
                config = _with_counts(config, fleets.counts(endpoint.fleet))
            check_config(self.environment, call.region, self.endpoints.all(), config)
            self._enter(endpoint, "Updating")
        self.site.begin(lambda: self._deploy(endpoint, config), endpoint.name)
        return {"EndpointArn": endpoint.arn}

    def update_capacities(self, call: Call) -> dict[str, Any]:
        """Answer UpdateEndpointWeightsAndCapacities: numbers of instances."""
        with self.environment.lock:
            endpoint, wanted = self._idle(call), {}
            for variant in call.params["DesiredWeightsAndCapacities"]:
                present = endpoint.fleet.get(variant["VariantName"])
                if present is None:
                    raise ApiError("ValidationException", f"Could not find variant {variant['VariantName']}.")
                if "DesiredInstanceCount" not in variant:
                    continue
                if present.is_serverless:
                    raise ApiError("ValidationException", "Serverless variants have no DesiredInstanceCount.")
                wanted[variant["VariantName"]] = variant["DesiredInstanceCount"]
        self.resize(endpoint, wanted)
        return {"EndpointArn": endpoint.arn}

    def resize(self, endpoint: Endpoint, wanted: Mapping[str, int]) -> bool:
        """Change numbers of instances, beside the caller; return False if the endpoint is not in service.

        :param wanted: instances by the variant's name.
        """
        with self.environment.lock:
            if endpoint.status != "InService":
                return False
            counts = fleets.counts(endpoint.fleet)
            changed = {name: count for name, count in wanted.items() if counts[name] != count}
            if not changed:
                return True
            self._check_quota(endpoint, changed)
            endpoint.wanted = {**counts, **changed}
            self._enter(endpoint, "Updating")
        self.site.begin(lambda: self._resize(endpoint, changed), endpoint.name)
        return True

    def _check_quota(self, endpoint: Endpoint, wanted: Mapping[str, int]) -> None:
        counts = fleets.counts(endpoint.fleet)
        for variant in endpoint.config["ProductionVariants"]:
            name = variant["VariantName"]
            more = wanted.get(name, counts[name]) - counts[name]
            if more > 0:
                check_instances(self.environment, endpoint.region, self.endpoints.all(), variant["InstanceType"], more)

    def _resize(self, endpoint: Endpoint, wanted: Mapping[str, int]) -> None:
        failure, surplus = "", []
        try:
            for params in endpoint.config["ProductionVariants"]:
                variant, count = endpoint.fleet[params["VariantName"]], wanted.get(params["VariantName"])
                if count is None:
                    continue
                numbers = range(len(variant.servers), count)
                added = fleets.start_servers(params, numbers, self._create(endpoint)) if numbers else []
                surplus += variant.servers[count:]
                variant.servers = [*variant.servers[:count], *added]
        except StartFailed as error:
            failure = str(error)
        with self.environment.lock:
            endpoint.wanted = fleets.counts(endpoint.fleet)
            self._enter(endpoint, "InService", failure)
        fleets.stop_servers(surplus)
        self.on_resize(endpoint)

    def delete(self, call: Call) -> dict[str, Any]:
        """Answer DeleteEndpoint."""
        with self.environment.lock:
            endpoint = self._idle(call)
            self._enter(endpoint, "Deleting")
        self.site.begin(lambda: self._remove(endpoint), f"delete {endpoint.name}")
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

    def _deploy(self, endpoint: Endpoint, config: Params) -> None:
        """Start the fleet of a configuration, and put it in the place of the present one."""
        failure, fleet = "", Fleet()
        try:
            fleet = fleets.start(config, self._create(endpoint))
        except StartFailed as error:
            failure = str(error)
        except Exception:
            _log.exception("endpoint %s", endpoint.name)
            failure = "Request to service failed. If failure persists after retry, contact customer support."
        outdated: Fleet = {}
        with self.environment.lock:
            if not failure:
                outdated, endpoint.fleet, endpoint.config = endpoint.fleet, fleet, config
            endpoint.wanted = fleets.counts(endpoint.fleet)
            # A failed update leaves the earlier configuration in service.
            self._enter(endpoint, "InService" if endpoint.fleet else "Failed", failure)
        fleets.stop(outdated.values())

    def _create(self, endpoint: Endpoint) -> Callable[[Params, int], Server]:
        def create(variant: Params, number: int) -> Server:
            try:
                model = self.models.models.named(endpoint.region, variant["ModelName"], MODEL).request
            except ApiError as error:
                raise StartFailed(error.message) from error
            name = f"{variant['VariantName']}/i-{number:017x}"
            stream = LogStream(self.environment, endpoint.region, endpoint.log_group, name)
            return self.site.server(model, endpoint.region, {}, stream.write)

        return create

    def _remove(self, endpoint: Endpoint) -> None:
        fleets.stop(endpoint.fleet.values())
        with self.environment.lock:
            self.endpoints.remove(endpoint)


def log_stream_arn(endpoint: Endpoint) -> str:
    """Return the ARN of an endpoint's log group."""
    return f"arn:aws:logs:{endpoint.region}:{ACCOUNT}:log-group:{endpoint.log_group}"


def _with_counts(config: Params, counts: Mapping[str, int]) -> Params:
    """Return a configuration with other numbers of instances, where it has instances."""
    variants = [
        {**variant, "InitialInstanceCount": counts[variant["VariantName"]]}
        if counts.get(variant["VariantName"]) and "InitialInstanceCount" in variant
        else variant
        for variant in config["ProductionVariants"]
    ]
    return {**config, "ProductionVariants": variants}


def _counts(config: Params) -> dict[str, int]:
    return {item["VariantName"]: item.get("InitialInstanceCount", 0) for item in config["ProductionVariants"]}
