"""Plans of endpoints: checks that cost nothing, and the price."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial

from orchestrator.aws.sagemaker import ownership, quotas, uses
from orchestrator.aws.sagemaker import requests as api_requests
from orchestrator.aws.sagemaker.hosting import autoscaling, endpoints, requests
from orchestrator.aws.sagemaker.hosting.autoscaling import Scaling
from orchestrator.aws.sagemaker.hosting.endpoints import Endpoint, Parts
from orchestrator.aws.sagemaker.hosting.requests import EndpointRequest, Fleet
from orchestrator.aws.sagemaker.training import name_prefix
from orchestrator.aws.sagemaker.uses import Use
from orchestrator.cluster.context import ClusterContext
from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep
from orchestrator.jobs.scripts.script_job import JobSource
from orchestrator.services.hosting.models import Again, RunModel, RunModels

MAX_SCHEDULE_HOURS = 8760
RUN_TAG = "stratus:run"
AGAIN = partial(NextStep, "Deploy")


@dataclass(frozen=True)
class DeployChoices:
    """Choices for one endpoint.

    :param run: id of a fetched run, or the end of it; empty for the newest.
    :param job: its job; None for the one that the run was started with.
    :param again: the verb as it was typed, for hints.
    :param name: of the endpoint; empty for one from the job and the run.
    :param max_hours: after which AWS deletes it; 0: never.
    """

    run: str = ""
    job: JobSource | None = None
    name: str = ""
    fleet: Fleet = field(default_factory=Fleet)
    max_hours: float = 0.0
    again: Again = AGAIN


@dataclass(frozen=True)
class DeployPlan:
    """An endpoint before it is created, or changed: what, where, and its price.

    :param usd_per_hour: of all instances; None if unknown; 0 for a serverless endpoint, which is billed by requests.
    :param price_source: where the price is from.
    :param is_change: of an endpoint that exists; its schedule stays as it is.
    :param keeps_count: of a change: the number of instances stays as its scaling has it.
    """

    request: EndpointRequest
    model: RunModel
    usd_per_hour: Decimal | None
    price_source: str = ""
    max_hours: float = 0.0
    is_change: bool = False
    keeps_count: bool = False


@dataclass(frozen=True)
class ScalingPlan:
    """A scaling of an endpoint before it is set, and its price.

    :param usd_per_hour: of one instance; None if unknown.
    """

    name: str
    mode: str
    type: str
    scaling: Scaling
    usd_per_hour: Decimal | None
    price_source: str = ""


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
            text = f"max_hours = {choices.max_hours:g}: 0 for never, or up to {MAX_SCHEDULE_HOURS}"
            raise UsageError(text, fix=choices.again(max_hours=8))
        model = self.models.find(choices.run, choices.job, choices.again)
        name = self._new_name(choices.name, model)
        if endpoints.find(self.clients, name) is not None:
            job = {"job": model.job.named} if choices.job is not None else {}
            fix = NextStep("UpdateEndpoint", name, model.run_id, **job) + "  changes it; another name deploys beside it"
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
        parts = {"CreateModel": request.model, "CreateEndpointConfig": request.config}
        for operation, values in {**parts, "CreateEndpoint": request.endpoint}.items():
            api_requests.check(self.clients, operation, values)
        return DeployPlan(request, model, usd_per_hour, source, max_hours)

    def _new_name(self, name: str, model: RunModel) -> str:
        prefix = name_prefix(self.context.cluster_id.cluster)
        # Room for the suffix of the model's name.
        longest = requests.MAX_NAME - len(prefix) - 5
        default = f"{requests.short_name(model.job.name)[: longest - 4].strip('-')}-{model.short_id}"
        short = name.removeprefix(prefix) or default
        requests.check_name(short, longest)
        return prefix + short

    def _tags(self, run_id: str) -> list[dict[str, str]]:
        own = [{"Key": tag["Key"], "Value": tag["Value"]} for tag in self.context.cluster_id.tags]
        return [*own, {"Key": RUN_TAG, "Value": run_id}]

    def _price(self, fleet: Fleet, in_use: int, at_once: int = 0) -> tuple[Decimal | None, str]:
        """Check type and quota of a fleet; return the price of ``at_once`` instances, by default of all."""
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
        return (price.usd * (at_once or fleet.count), price.source) if price else (None, "")

    def plan_scaling(self, endpoint: Endpoint, scaling: Scaling) -> ScalingPlan:
        """Check a scaling of an endpoint, and its price; nothing is changed.

        :raises StratusError: SageMaker would refuse it, or the quota is smaller than its maximum.
        """
        autoscaling.check(scaling, endpoint.mode)
        if endpoint.status not in ("InService", "Updating"):
            fix = NextStep("Endpoints") + "  shows all"
            raise UsageError(f"is {endpoint.status}, not InService", where=endpoint.name, fix=fix)
        instance_type = endpoints.find_parts(self.clients, endpoint.config).instance_type
        added = max(scaling.maximum - endpoint.count, 0)
        usd, source = self._price(Fleet(endpoint.mode, instance_type, added), endpoint.count, at_once=1)
        return ScalingPlan(endpoint.name, endpoint.mode, instance_type, scaling, usd, source)

    def plan_update(self, endpoint: Endpoint, choices: DeployChoices) -> DeployPlan:
        """Look up and check a change of an endpoint, and its price; nothing is changed.

        :raises UsageError: SageMaker allows the change by a new endpoint only.
        """
        parts = endpoints.find_parts(self.clients, endpoint.config)
        fleet = _completed(choices.fleet, endpoint, parts)
        requests.check_fleet(fleet)
        requests.check_switch(endpoint.mode, fleet)
        if fleet.is_serverless and choices.fleet.instance_type:
            text = f"instance_type = {fleet.instance_type}: a serverless endpoint runs on memory_mb alone"
            raise UsageError(text, where=endpoint.name, fix=choices.again(mode=requests.REAL_TIME))
        if endpoint.status != "InService":
            raise UsageError(f"is {endpoint.status}: only one that is InService can be updated", where=endpoint.name)
        is_scaled = bool(parts.instance_type) and autoscaling.find(self.clients, endpoint.name) is not None
        if is_scaled and (fleet.instance_type, fleet.count) != (parts.instance_type, max(endpoint.count, 1)):
            fix = NextStep("ScaleEndpoint", endpoint.name, maximum=0) + "  ends the scaling"
            text = "is scaled: AWS then changes neither its type nor, but for the scaling, its number of instances"
            raise UsageError(text, where=endpoint.name, fix=fix)
        # Both fleets run until the new one is in service.
        in_use = endpoint.count if parts.instance_type == fleet.instance_type else 0
        of_job = "" if choices.run else self._served_job(endpoint, parts)
        model = self.models.find(choices.run, choices.job, choices.again, of_job=of_job)
        plan = self._plan(endpoint.name, model, fleet, 0.0, in_use)
        return replace(plan, is_change=True, keeps_count=is_scaled)

    def _served_job(self, endpoint: Endpoint, parts: Parts) -> str:
        """Return the name of the job that an endpoint serves, by the run in the tags of its configuration."""
        tags = {tag["Key"]: tag["Value"] for tag in ownership.tags(self.clients, parts.arn)} if parts.arn else {}
        run_id = tags.get(RUN_TAG, "")
        if job := self.models.job_of(run_id):
            return job
        text = f"serves run {run_id or 'unknown'}, of which this computer has no record: name the run to serve"
        raise UsageError(text, where=endpoint.name, fix=NextStep("Runs") + "  lists yours")


def _completed(fleet: Fleet, endpoint: Endpoint, parts: Parts) -> Fleet:
    """Return a fleet with what an endpoint has already in the place of what was not chosen."""
    present = Fleet(
        endpoint.mode,
        parts.instance_type or requests.DEFAULT_TYPE,
        max(endpoint.count, 1),
        endpoint.memory_mb or requests.DEFAULT_MEMORY_MB,
        endpoint.concurrency or requests.DEFAULT_CONCURRENCY,
    )
    return Fleet(
        fleet.mode or present.mode,
        fleet.instance_type or present.instance_type,
        fleet.count or present.count,
        fleet.memory_mb or present.memory_mb,
        fleet.concurrency or present.concurrency,
    )
