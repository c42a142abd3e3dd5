"""Use cases on batch transforms: predictions for every object below an S3 prefix, or for a folder's files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial

from orchestrator.aws.managed import unwatched
from orchestrator.aws.managed.log import ManagedLog
from orchestrator.aws.sagemaker import artifacts, quotas, roles, uses
from orchestrator.aws.sagemaker import requests as api_requests
from orchestrator.aws.sagemaker.hosting import endpoints, requests, transforms
from orchestrator.aws.sagemaker.hosting.requests import EndpointRequest, Fleet
from orchestrator.aws.sagemaker.hosting.transforms import TransformJob, TransformRequest
from orchestrator.aws.sagemaker.logs import LogReader
from orchestrator.aws.sagemaker.training import name_prefix
from orchestrator.aws.sagemaker.uses import Use
from orchestrator.cluster.context import ClusterContext
from orchestrator.core import cost
from orchestrator.core.clock import Backoff
from orchestrator.core.errors import CloudRefused, JobFailed, LeftRunning, StratusError, UsageError, first_line
from orchestrator.core.events import Event
from orchestrator.core.next_step import NextStep
from orchestrator.jobs.managed import time_limit
from orchestrator.jobs.scripts.script_job import JobSource
from orchestrator.services.hosting import payloads
from orchestrator.services.hosting.models import Again, RunModel, RunModels

STOP_TIMEOUT_S = 600.0
BACKOFF = Backoff(first_s=0.1, longest_s=15.0)
TAIL_LINES = 10
AGAIN = partial(NextStep, "BatchTransform")
LINE_TYPES = (payloads.CSV, payloads.JSON_LINES)
"""Types whose lines can be sent in several requests."""


@dataclass(frozen=True)
class TransformChoices:
    """Choices for one batch transform.

    :param source: ``s3://bucket/prefix``.
    :param run: id of a fetched run, or the end of it; empty for the newest.
    :param job: its job; None for the one that the run was started with.
    :param again: the verb as it was typed, for hints.
    :param accept: type of the predictions; empty leaves it to the model.
    """

    source: str
    run: str = ""
    job: JobSource | None = None
    instance_type: str = requests.DEFAULT_TYPE
    count: int = 1
    accept: str = ""
    again: Again = AGAIN


@dataclass(frozen=True)
class TransformPlan:
    """A batch transform before it is created: what, where, and its price.

    :param objects: number of objects that were found; 1,000 may be more.
    :param usd_per_hour: of all instances; None if unknown.
    :param limit_s: it is stopped after so many seconds, by the computer that waits for it.
    """

    request: TransformRequest
    model: RunModel
    objects: int
    usd_per_hour: Decimal | None
    limit_s: float
    price_source: str = ""


@dataclass(frozen=True)
class TransformResult:
    """A finished batch transform.

    :param output_url: S3 prefix of the predictions.
    :param objects: number of objects in it.
    :param seconds: that are billed, for each instance; None if unknown.
    :param cost_usd: None if unknown.
    """

    name: str
    state: str
    output_url: str
    objects: int
    seconds: float | None
    cost_usd: Decimal | None


class TransformService:
    """Batch transforms of one cluster's name and owner."""

    def __init__(self, context: ClusterContext, log: ManagedLog, models: RunModels) -> None:
        self.context, self.clients = context, context.clients
        self.log, self.models = log, models

    def plan(self, choices: TransformChoices) -> TransformPlan:
        """Look up and check what a batch transform needs, and its price; nothing is changed.

        :raises StratusError: it cannot be done so.
        """
        if not choices.source.startswith("s3://") or not artifacts.split_url(choices.source)[0]:
            fix = choices.again(source="s3://BUCKET/PREFIX")
            raise UsageError(f"{choices.source!r} is not an S3 prefix", fix=fix)
        if choices.count < 1:
            raise UsageError(f"count = {choices.count}: a transform has at least 1 instance")
        model = self.models.find(choices.run, choices.job, choices.again)
        source, keys = self._find_objects(choices.source)
        request = self._request(replace(choices, source=source), model, keys)
        api_requests.check(self.clients, "CreateTransformJob", request.as_dict())
        usd_per_hour, price_source = self._price(choices)
        limit_s = time_limit.limit_s(self.context.settings.cluster, usd_per_hour)
        return TransformPlan(request, model, len(keys), usd_per_hour, limit_s, price_source)

    def _find_objects(self, source: str) -> tuple[str, list[str]]:
        """Return the prefix of a request, and the first keys that have it."""
        # A prefix is a beginning of text for SageMaker: data would match data2 as well.
        folder = source.rstrip("/") + "/"
        if keys := artifacts.first_keys(self.clients, folder, 1000):
            return folder, keys
        _, key = artifacts.split_url(source)
        if key in artifacts.first_keys(self.clients, source, 1):
            return source, [key]
        raise UsageError("there are no objects with this prefix", where=source)

    def _request(self, choices: TransformChoices, model: RunModel, keys: list[str]) -> TransformRequest:
        types = {payloads.content_type(key) for key in keys if not key.endswith("/")}
        if len(types) > 1:
            raise UsageError(
                f"the objects are of several types: {', '.join(sorted(types))}",
                where=choices.source,
                fix="a transform sends one type: name a prefix with files of one",
            )
        prefix = name_prefix(self.context.cluster_id.cluster)
        suffix = f"{model.short_id}-{self.context.clock.new_id()[:6]}"
        longest = requests.MAX_NAME - len(prefix) - len(suffix) - 1
        name = f"{prefix}{requests.short_name(model.job.name)[:longest].strip('-')}-{suffix}"
        tags = [{"Key": tag["Key"], "Value": tag["Value"]} for tag in self.context.cluster_id.tags]
        content_type = types.pop() if types else payloads.BYTES
        return TransformRequest(
            name=name,
            model=name,
            input_url=choices.source,
            output_url=model.url(f"transforms/{name}"),
            content_type=content_type,
            instance_type=choices.instance_type,
            count=choices.count,
            split="Line" if content_type in LINE_TYPES else "None",
            accept=choices.accept,
            tags=[*tags, {"Key": "stratus:run", "Value": model.run_id}],
        )

    def _price(self, choices: TransformChoices) -> tuple[Decimal | None, str]:
        uses.check_instance_type(self.clients, choices.instance_type, Use.TRANSFORM)
        prices = self.context.managed_prices
        quota, _ = self.clients.in_parallel(
            partial(quotas.query, self.clients, choices.instance_type, choices.count, Use.TRANSFORM),
            partial(prices.refresh, [choices.instance_type], Use.TRANSFORM),
        )
        quota.check(self.clients.region)
        price = prices.per_hour(choices.instance_type, Use.TRANSFORM)
        return (price.usd * choices.count, price.source) if price else (None, "")

    def run(self, plan: TransformPlan, on_start: Callable[[str], None] = lambda name: None) -> TransformResult:
        """Create a batch transform and wait for its end; its model is deleted then.

        :param on_start: called with its name once it was created.
        :raises JobFailed: it failed; with the last lines of the container's log.
        """
        request, model = plan.request, plan.model
        parts = self._model_request(plan, self.models.upload(model))
        entry = self.log.record_intent("transform", request.name, run=model.run_id)
        try:
            roles.when_assumable(self.context.clock, lambda: endpoints.create_model(self.clients, parts))
            arn = transforms.create(self.clients, request)
        except StratusError:
            if self._undo(request.name):
                self.log.record_ended([entry])
            raise
        self.log.record_created(entry, arn)
        on_start(request.name)
        fix = NextStep("Status") + "  shows it; " + NextStep("TerminateAll") + "  ends it, and all else"
        with unwatched.billed_on(f"the transform job {request.name}", fix):
            job = self._wait(plan)
        self._undo(request.name)
        self.log.record_ended_name(request.name)
        return self._result(plan, job)

    def _model_request(self, plan: TransformPlan, url: str) -> EndpointRequest:
        model, request = plan.model, plan.request
        return EndpointRequest(
            request.name, request.model, model.image, model.role_arn, url, Fleet(), tags=request.tags
        )

    def _undo(self, name: str) -> bool:
        """Stop a transform that may run, and delete its model; False if it may be left."""
        try:
            job = transforms.find(self.clients, name)
            if job is not None and not job.has_ended:
                transforms.stop(self.clients, name)
            endpoints.delete_model(self.clients, name)
        except StratusError as error:
            text = f"{name} may be left: {first_line(error)}"
            self.context.on_event(Event("", "transform", "warning", text=text))
            return False
        return True

    def _wait(self, plan: TransformPlan) -> TransformJob:
        """Wait for the end; what reaches the limit of time is stopped."""
        name = plan.request.name
        self.context.on_event(Event("", "transform", "progress", text=f"{name} is InProgress"))
        if job := self._ended(name, plan.limit_s):
            return job
        text = f"stopping {name}: it reached the limit of time, {plan.limit_s / 3600:.3g} h"
        self.context.on_event(Event("", "transform", "warning", text=text))
        transforms.stop(self.clients, name)
        if job := self._ended(name, STOP_TIMEOUT_S):
            text = f"stopped after {plan.limit_s / 3600:.3g} h: [cluster] max_hours, or what max_dollars pays"
            return replace(job, reason=job.reason or text)
        fix = NextStep("Status") + "  shows it"
        raise LeftRunning(f"{name} has not stopped within {STOP_TIMEOUT_S / 60:.0f} minutes", left=[name], fix=fix)

    def _ended(self, name: str, timeout_s: float) -> TransformJob | None:
        """Return a transform when it has ended; None if it runs after ``timeout_s`` seconds."""
        for _ in self.context.clock.attempts(timeout_s, BACKOFF):
            job = transforms.find(self.clients, name)
            if job is None:
                raise CloudRefused("there is no such transform job any more", where=name, code="ResourceNotFound")
            if job.has_ended:
                return job
        return None

    def _result(self, plan: TransformPlan, job: TransformJob) -> TransformResult:
        if job.status != "Completed":
            tail = self._log_tail(job.name)
            message = f"the transform is {job.status}: {job.reason}".removesuffix(": ")
            raise JobFailed(message, exit_status=None, where=job.name, tail=tail)
        seconds, objects = job.seconds, len(artifacts.first_keys(self.clients, f"{job.output_url}/", 1000))
        usd = None if seconds is None else cost.cost_for(plan.usd_per_hour, seconds)
        return TransformResult(job.name, job.status, f"{job.output_url}/", objects, seconds, usd)

    def _log_tail(self, name: str) -> list[str]:
        try:
            reader = LogReader(self.clients, transforms.LOG_GROUP, f"{name}/")
            return [line for _, line in reader.read()][-TAIL_LINES:]
        # The reason of the failure counts, and is known.
        except StratusError:
            return []
