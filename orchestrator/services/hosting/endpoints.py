"""Use cases on endpoints: plan, deploy, predict, update, delete and list them."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from orchestrator.aws import schedules
from orchestrator.aws.managed import unwatched
from orchestrator.aws.managed.log import ManagedLog
from orchestrator.aws.sagemaker import roles
from orchestrator.aws.sagemaker.hosting import autoscaling, endpoints, invocations
from orchestrator.aws.sagemaker.hosting import schedules as end_schedules
from orchestrator.aws.sagemaker.hosting.autoscaling import Scaling
from orchestrator.aws.sagemaker.hosting.endpoints import Endpoint
from orchestrator.aws.sagemaker.hosting.invocations import Payload
from orchestrator.aws.sagemaker.hosting.requests import ASYNCHRONOUS, VARIANT, EndpointRequest
from orchestrator.aws.sagemaker.logs import LogReader
from orchestrator.aws.sagemaker.ownership import TagMemo
from orchestrator.aws.sagemaker.training import name_prefix
from orchestrator.aws.sagemaker.uses import Use
from orchestrator.cluster.context import ClusterContext
from orchestrator.core.clock import Backoff
from orchestrator.core.errors import CloudRefused, JobFailed, LeftRunning, StratusError, UsageError, first_line
from orchestrator.core.events import Event, State
from orchestrator.core.journal import JournalEntry
from orchestrator.core.next_step import NextStep
from orchestrator.services.hosting import payloads
from orchestrator.services.hosting.models import RunModels
from orchestrator.services.hosting.planning import DeployChoices, DeployPlan, Planner, ScalingPlan

DEPLOY_TIMEOUT_S, DELETE_TIMEOUT_S, ANSWER_TIMEOUT_S = 1800.0, 600.0, 900.0
"""Longest waits: a container has 8 minutes for its first health check, after its image and model were downloaded."""
BACKOFF = Backoff(first_s=0.1, longest_s=10.0)
TAIL_LINES = 10


@dataclass(frozen=True)
class EndpointStatus:
    """An endpoint of the cluster.

    :param type: instance type; empty if it is serverless.
    :param usd_per_hour: of all instances; None if unknown; 0 for a serverless endpoint, which is billed by requests.
    :param ends_at: when AWS deletes it; None if it does not.
    :param scaling: minimum and maximum of its instances; None if it does not scale.
    :param reason: of a failure, or why AWS does not end it by itself although that was wanted.
    """

    name: str
    mode: str
    state: str
    type: str
    count: int
    usd_per_hour: Decimal | None
    created_at: datetime | None = None
    ends_at: datetime | None = None
    scaling: tuple[int, int] | None = None
    reason: str = ""


@dataclass(frozen=True)
class Prediction:
    """An answer of an endpoint.

    :param value: arrays, lists or text as its type tells; bytes otherwise.
    """

    endpoint: str
    content: Payload
    value: Any


@dataclass(frozen=True)
class EndpointEnd:
    """A deleted endpoint."""

    name: str


class EndpointService:
    """Endpoints of one cluster's name and owner."""

    def __init__(self, context: ClusterContext, log: ManagedLog, models: RunModels) -> None:
        self.context, self.clients = context, context.clients
        self.log, self.models, self.memo = log, models, TagMemo(context.clients)
        self.planner = Planner(context, models)

    def plan(self, choices: DeployChoices) -> DeployPlan:
        """Look up and check what an endpoint needs, and its price; nothing is changed.

        :raises StratusError: the run cannot be deployed so.
        """
        return self.planner.plan(choices)

    # -- deploy

    def deploy(self, plan: DeployPlan) -> EndpointStatus:
        """Create the endpoint of a plan and wait until it is in service; what fails is deleted.

        :raises JobFailed: the model could not be served; with the last lines of its log.
        :raises StratusError: SageMaker refused, or the endpoint is not in service in time.
        """
        request = replace(plan.request, model_url=self.models.upload(plan.model))
        entry = self.log.record_intent("endpoint", request.name, part=request.part, run=plan.model.run_id)
        try:
            self._create_parts(request)
            arn = endpoints.create(self.clients, request)
        except StratusError:
            self._undo(request, entry)
            raise
        self.log.record_created(entry, arn)
        with self._billed_on(request.name):
            self._wait(request.name, "Creating")
            self._check(request, entry)
            problem = self._end_later(request.name, plan.max_hours)
            return replace(self.describe(request.name), reason=problem)

    def _billed_on(self, name: str) -> AbstractContextManager[None]:
        fix = NextStep("Endpoints") + "  shows it; " + NextStep("DeleteEndpoint", name) + "  deletes it"
        return unwatched.billed_on(f"the endpoint {name}", fix)

    def _create_parts(self, request: EndpointRequest) -> None:
        try:
            roles.when_assumable(self.context.clock, lambda: endpoints.create_parts(self.clients, request))
        except CloudRefused as error:
            if "image" in error.message.lower() and not error.fix:
                error.fix = NextStep("PushImage") + "  builds the job's image and pushes it to ECR"
            raise

    def _undo(self, request: EndpointRequest, entry: JournalEntry) -> None:
        """Delete what a failed creation left; the entry stays open if that is not certain."""
        try:
            endpoint = endpoints.find(self.clients, request.name)
            # The answer may have been lost, not the request; another computer may have taken the name.
            if endpoint is not None and endpoint.config == request.part:
                endpoints.delete(self.clients, request.name)
            endpoints.delete_parts(self.clients, request.part, [request.part])
        except StratusError as error:
            self._report(f"{request.name} may be left: {first_line(error)}", "warning")
            return
        self.log.record_ended([entry])

    def _wait(self, name: str, state: str) -> Endpoint | None:
        """Wait until an endpoint leaves a state; its log is not read meanwhile, as it begins with the container."""
        self._report(f"{name} is {state}", "progress")
        endpoint = None
        for _ in self.context.clock.attempts(DEPLOY_TIMEOUT_S, BACKOFF):
            endpoint = endpoints.find(self.clients, name)
            if endpoint is None or not endpoint.is_busy:
                return endpoint
        fix = NextStep("Endpoints") + "  shows it; " + NextStep("DeleteEndpoint", name) + " deletes it"
        raise LeftRunning(f"{name} is not in service after {DEPLOY_TIMEOUT_S:.0f} s", left=[name], fix=fix)

    def _check(self, request: EndpointRequest, entry: JournalEntry) -> None:
        endpoint = endpoints.find(self.clients, request.name)
        if endpoint is not None and endpoint.status != "Failed":
            return
        reason = endpoint.reason if endpoint else "it is gone"
        tail = self._log_tail(request.name)
        self._undo(request, entry)
        message = f"the model cannot be served: {reason}"
        raise JobFailed(message, exit_status=None, where=request.name, tail=tail, fix="It was deleted.")

    def _log_tail(self, name: str) -> list[str]:
        reader = LogReader(self.clients, f"{endpoints.LOG_GROUP}/{name}", f"{VARIANT}/")
        try:
            return [line for _, line in reader.read()][-TAIL_LINES:]
        # The reason of the failure counts, and is known.
        except StratusError:
            return []

    def _end_later(self, name: str, max_hours: float) -> str:
        """Have AWS delete an endpoint after some hours; return why it will not, empty if it will."""
        if not max_hours:
            # One that a deleted endpoint of this name has left would delete this one.
            with suppress(StratusError):
                schedules.remove(self.clients, name)
            return ""
        account, own = self.context.identity.account, self.context.cluster_id
        ends_at = self.context.clock.now() + timedelta(hours=max_hours)
        try:
            role = roles.create(self.clients, end_schedules.role_documents(own, account), own.tags)
            roles.when_assumable(self.context.clock, lambda: end_schedules.put(self.clients, own, name, ends_at, role))
        except StratusError as error:
            return f"AWS does not end it after {max_hours:g} h: {first_line(error)}"
        return ""

    # -- look

    def list(self) -> list[EndpointStatus]:
        """Return the cluster's endpoints, newest first."""
        names = endpoints.names(self.clients, self.memo, self.context.cluster_id)
        described = [endpoint for name in names if (endpoint := endpoints.find(self.clients, name)) is not None]
        return [self._status(endpoint) for endpoint in described]

    def describe(self, name: str) -> EndpointStatus:
        """Return an endpoint.

        :raises UsageError: there is none of this name.
        """
        return self._status(self.find(name))

    def _status(self, endpoint: Endpoint) -> EndpointStatus:
        parts = endpoints.find_parts(self.clients, endpoint.config)
        count = endpoint.count if parts.instance_type else 1
        price = self.context.managed_prices.per_hour(parts.instance_type, Use.HOSTING) if parts.instance_type else None
        usd = price.usd * count if price else None if parts.instance_type else Decimal(0)
        return EndpointStatus(
            endpoint.name,
            endpoint.mode,
            endpoint.status,
            parts.instance_type,
            count,
            usd,
            endpoint.created_at,
            schedules.find(self.clients, endpoint.name),
            autoscaling.find(self.clients, endpoint.name) if parts.instance_type else None,
            endpoint.reason,
        )

    def find(self, name: str = "") -> Endpoint:
        """Return an endpoint of the cluster and owner.

        :param name: its name, with or without its beginning, or the end of it; empty for the only one.
        :raises UsageError: there is none, or several, or it is another owner's.
        """
        own = self.context.cluster_id
        prefix = name_prefix(own.cluster)
        full = prefix + name.removeprefix(prefix)
        if name and (endpoint := endpoints.find(self.clients, full)) is not None:
            if self.memo.owns(own, endpoint.arn, endpoint.created_at):
                return endpoint
            fix = NextStep("Endpoints") + "  lists yours"
            raise UsageError("is the endpoint of another owner or cluster, as its tags say", where=full, fix=fix)
        names = [other for other in endpoints.names(self.clients, self.memo, own) if other.endswith(name)]
        if len(names) == 1 and (endpoint := endpoints.find(self.clients, names[0])) is not None:
            return endpoint
        if names:
            raise UsageError(f"several endpoints: {', '.join(names)}", fix="name one of them")
        text = f"there is no endpoint {name!r}" if name else "there is no endpoint"
        raise UsageError(text, fix=NextStep("Endpoints") + "  lists all; " + NextStep("Deploy") + "  creates one")

    # -- use

    def predict(self, name: str, data: Any, accept: str = "") -> Prediction:
        """Return the predictions of an endpoint for data.

        :param data: a NumPy array, lists, a dictionary, a file's path, or bytes.
        :param accept: type of the answer, such as ``application/json``; empty leaves it to the model.
        :raises StratusError: the model, or SageMaker, refused the request.
        """
        endpoint = self.find(name)
        invocations.check_size(payloads.size(data), endpoint.mode)
        payload = payloads.encode(data)
        if endpoint.status not in ("InService", "Updating"):
            fix = NextStep("Endpoints") + "  shows all"
            raise UsageError(f"is {endpoint.status}, not InService", where=endpoint.name, fix=fix)
        invocations.check_size(len(payload.body), endpoint.mode)
        if endpoint.mode == ASYNCHRONOUS:
            content = self._ask_later(endpoint, payload, accept)
        else:
            content = self._ask(endpoint, payload, accept)
        return Prediction(endpoint.name, content, payloads.decode(content))

    def _ask(self, endpoint: Endpoint, payload: Payload, accept: str) -> Payload:
        try:
            return invocations.invoke(self.clients, endpoint.name, payload, accept)
        except invocations.ModelFailed as error:
            lines = [f"its log is in CloudWatch, group {endpoints.LOG_GROUP}/{endpoint.name}, and ends:"]
            error.fix = "\n    ".join([*lines, *(self._log_tail(endpoint.name) or ["(no lines yet)"])])
            raise

    def _ask_later(self, endpoint: Endpoint, payload: Payload, accept: str) -> Payload:
        output_url = endpoints.find_parts(self.clients, endpoint.config).output_url
        url = f"{output_url.rpartition('/')[0]}/in/{self.context.clock.new_id()}"
        # An object has no type of its own: it is the one that is asked for.
        kind = accept or (payload.content_type if payload.content_type in payloads.READABLE else payloads.JSON)
        urls = invocations.invoke_later(self.clients, endpoint.name, payload, url, kind)
        return Payload(invocations.wait_for_answer(self.clients, endpoint.name, urls, ANSWER_TIMEOUT_S), kind)

    # -- change

    def plan_update(self, name: str, choices: DeployChoices) -> DeployPlan:
        """Look up and check a change of an endpoint, and its price; nothing is changed.

        :raises UsageError: SageMaker allows the change by a new endpoint only.
        """
        return self.planner.plan_update(self.find(name), choices)

    def update(self, plan: DeployPlan) -> EndpointStatus:
        """Change an endpoint and wait until the change is in service; it answers all the time.

        :raises JobFailed: the new model could not be served; the old one still is.
        """
        request = replace(plan.request, model_url=self.models.upload(plan.model))
        previous = self.find(request.name)
        outdated = endpoints.find_parts(self.clients, previous.config)
        try:
            self._create_parts(request)
            endpoints.update(self.clients, request.name, request.part, keeps_count=plan.keeps_count)
        except StratusError:
            endpoints.delete_parts(self.clients, request.part, [request.part])
            raise
        endpoint = self._wait(request.name, "Updating")
        if endpoint is None or endpoint.config != request.part:
            tail = self._log_tail(request.name)
            endpoints.delete_parts(self.clients, request.part, [request.part])
            message = f"the new model cannot be served: {endpoint.reason if endpoint else 'it is gone'}"
            raise JobFailed(message, exit_status=None, where=request.name, tail=tail, fix="The earlier one still is.")
        # Not before: the old configuration must exist during the update.
        endpoints.delete_parts(self.clients, previous.config, outdated.models)
        return self.describe(request.name)

    def plan_scaling(self, name: str, scaling: Scaling) -> ScalingPlan:
        """Check a scaling of an endpoint, and its price; nothing is changed.

        :raises StratusError: SageMaker would refuse it, or the quota is smaller than its maximum.
        """
        return self.planner.plan_scaling(self.find(name), scaling)

    def scale(self, name: str, scaling: Scaling | None) -> EndpointStatus:
        """Scale an endpoint between two numbers of instances, or no more.

        :raises UsageError: SageMaker would refuse the numbers.
        """
        endpoint = self.find(name)
        if scaling is None:
            autoscaling.remove(self.clients, endpoint.name)
        else:
            autoscaling.check(scaling, endpoint.mode)
            autoscaling.put(self.clients, endpoint.name, scaling, mode=endpoint.mode)
        return self.describe(endpoint.name)

    def delete(self, name: str) -> EndpointEnd:
        """Delete an endpoint with its configuration and model, and wait until it is gone.

        :raises LeftRunning: it is still there.
        """
        endpoint, problem = self._find_or_delete(name), ""
        for _ in self.context.clock.attempts(DELETE_TIMEOUT_S, BACKOFF):
            try:
                endpoints.delete(self.clients, endpoint.name)
            except CloudRefused:
                raise
            except StratusError as error:
                # It is being created or updated, and can be deleted only afterwards.
                problem = first_line(error)
                continue
            if endpoints.find(self.clients, endpoint.name) is None:
                self.log.record_ended_name(endpoint.name)
                return EndpointEnd(endpoint.name)
        fix = NextStep("DeleteEndpoint", endpoint.name) + "  tries again"
        left = [problem or f"{endpoint.name} is still being deleted"]
        raise LeftRunning(f"{endpoint.name} is still billed", left=left, fix=fix)

    def _find_or_delete(self, name: str) -> Endpoint:
        """Return an endpoint; one of this computer's journal that may not be seen is deleted all the same."""
        try:
            return self.find(name)
        except CloudRefused:
            full = (prefix := name_prefix(self.context.cluster_id.cluster)) + name.removeprefix(prefix)
            for entry in self.log.open_entries():
                if entry.kind == "endpoint" and entry.facts.get("name") == full:
                    endpoints.delete_unseen(self.clients, full, str(entry.facts.get("part", "")))
                    self._report(f"the deletion of {full} was requested; whether it is gone cannot be seen", "warning")
            raise

    def _report(self, text: str, state: State) -> None:
        self.context.on_event(Event("", "endpoint", state, text=text))
