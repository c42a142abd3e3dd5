"""Plans of endpoints: checks that cost nothing, and the price."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial

from orchestrator.aws.sagemaker import quotas, uses
from orchestrator.aws.sagemaker import requests as api_requests
from orchestrator.aws.sagemaker.hosting import autoscaling, endpoints, requests
from orchestrator.aws.sagemaker.hosting.endpoints import Endpoint
from orchestrator.aws.sagemaker.hosting.requests import EndpointRequest, Fleet
from orchestrator.aws.sagemaker.training import name_prefix
from orchestrator.aws.sagemaker.uses import Use
from orchestrator.cluster.context import ClusterContext
from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep
from orchestrator.jobs.scripts.script_job import JobSource
from orchestrator.services.hosting.models import RunModel, RunModels

MAX_SCHEDULE_HOURS = 8760


@dataclass(frozen=True)
class DeployChoices:
    """Choices for one endpoint.

    :param run: id of a fetched run, or the end of it; empty for the newest.
    :param job: its job; None for that of the settings.
    :param name: of the endpoint; empty for one from the job and the run.
    :param max_hours: after which AWS deletes it; 0: never.
    """

    run: str = ""
    job: JobSource | None = None
    name: str = ""
    fleet: Fleet = field(default_factory=Fleet)
    max_hours: float = 0.0


@dataclass(frozen=True)
class DeployPlan:
    """An endpoint before it is created, or changed: what, where, and its price.

    :param usd_per_hour: of all instances; None if unknown; 0 for a serverless endpoint, which is billed by requests.
    :param price_source: where the price is from.
    """

    request: EndpointRequest
    model: RunModel
    usd_per_hour: Decimal | None
    price_source: str = ""
    max_hours: float = 0.0


class Planner:
    """Plans of one cluster's endpoints."""

    def __init__(self, context: ClusterContext, models: RunModels) -> None:
        self.context, self.clients, self.models = context, context.clients, models

    def plan(self, choices: DeployChoices) -> DeployPlan:
        """Look up and check what an endpoint needs, and its price; nothing is changed.

        :raises StratusError: the run cannot be deployed so.
        """
        requests.check_fleet(choices.fleet)
        if not 0 <= choices.max_hours <= MAX_SCHEDULE_HOURS:
            raise UsageError(f"max_hours = {choices.max_hours:g}: 0 for never, or up to {MAX_SCHEDULE_HOURS}")
        model = self.models.find(choices.run, choices.job)
        name = self._new_name(choices.name, model)
        if endpoints.find(self.clients, name) is not None:
            fix = NextStep("UpdateEndpoint", name) + "  changes it; another name deploys beside it"
            raise UsageError(f"there is an endpoint {name} already", fix=fix)
        return self._plan(name, model, choices.fleet, choices.max_hours)

    def _plan(self, name: str, model: RunModel, fleet: Fleet, max_hours: float, in_use: int = 0) -> DeployPlan:
        usd_per_hour, source = self._price(fleet, in_use)
        part = f"{name}-{self.context.clock.new_id()[:4]}"
        request = EndpointRequest(
            name=name,
            part=part,
            image=model.image,
            role_arn=model.role_arn,
            model_url=model.url("models/unknown/model.tar.gz"),
            fleet=fleet,
            tags=self._tags(model.run_id),
            output_url=model.url(f"async/{name}"),
        )
        for operation, values in (("CreateModel", request.model), ("CreateEndpointConfig", request.config)):
            api_requests.check(self.clients, operation, values)
        return DeployPlan(request, model, usd_per_hour, source, max_hours)

    def _new_name(self, name: str, model: RunModel) -> str:
        prefix = name_prefix(self.context.cluster_id.cluster)
        # Room for the suffix of the model's name.
        longest = requests.MAX_NAME - len(prefix) - 5
        default = f"{requests.short_name(model.job.name)[: longest - 4].strip('-')}-{model.short_id}"
        full = prefix + (name.removeprefix(prefix) or default)
        requests.check_name(full + "-0000")
        return full

    def _tags(self, run_id: str) -> list[dict[str, str]]:
        own = [{"Key": tag["Key"], "Value": tag["Value"]} for tag in self.context.cluster_id.tags]
        return [*own, {"Key": "stratus:run", "Value": run_id}]

    def _price(self, fleet: Fleet, in_use: int) -> tuple[Decimal | None, str]:
        if fleet.is_serverless:
            return Decimal(0), ""
        uses.check_instance_type(self.clients, fleet.instance_type, Use.HOSTING)
        prices = self.context.managed_prices
        quota, _ = self.clients.in_parallel(
            partial(quotas.query, self.clients, fleet.instance_type, fleet.count, Use.HOSTING, in_use=in_use),
            partial(prices.refresh, [fleet.instance_type], Use.HOSTING),
        )
        quota.check(self.clients.region)
        price = prices.per_hour(fleet.instance_type, Use.HOSTING)
        return (price.usd * fleet.count, price.source) if price else (None, "")

    def plan_update(self, endpoint: Endpoint, choices: DeployChoices) -> DeployPlan:
        """Look up and check a change of an endpoint, and its price; nothing is changed.

        :raises UsageError: SageMaker allows the change by a new endpoint only.
        """
        requests.check_fleet(choices.fleet)
        requests.check_switch(endpoint.mode, choices.fleet)
        if endpoint.status != "InService":
            raise UsageError(f"is {endpoint.status}: only one that is InService can be updated", where=endpoint.name)
        if autoscaling.find(self.clients, endpoint.name) is not None:
            fix = NextStep("ScaleEndpoint", endpoint.name, maximum=0) + "  ends the scaling"
            raise UsageError("scales, and SageMaker does not update it meanwhile", where=endpoint.name, fix=fix)
        # Both fleets run until the new one is in service.
        parts = endpoints.find_parts(self.clients, endpoint.config)
        in_use = endpoint.count if parts.instance_type == choices.fleet.instance_type else 0
        return self._plan(endpoint.name, self.models.find(choices.run, choices.job), choices.fleet, 0.0, in_use)
