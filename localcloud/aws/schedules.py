"""One-time schedules of EventBridge Scheduler: records of moto that are executed when they are due.

Targets are calls of AWS's APIs (``arn:aws:scheduler:::aws-sdk:sagemaker:deleteEndpoint``), made with the schedule's
role. Schedules that repeat are records only.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs
from zoneinfo import ZoneInfo

from localcloud.aws import roles
from localcloud.aws.ecr import ACCOUNT
from localcloud.aws.error_responses import ApiError
from localcloud.aws.wsgi import REGION, SERVICE, Application, Environ, StartResponse, send_response
from localcloud.core.clock import Clock

_PRINCIPAL = "scheduler.amazonaws.com"
_PATH = re.compile(r"/schedules(?:/([^/]+))?")
_ACTIONS = {"POST": "CreateSchedule", "PUT": "UpdateSchedule", "GET": "GetSchedule", "DELETE": "DeleteSchedule"}
_JSON = ("Content-Type", "application/json")
_AT = re.compile(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)")
_TARGET = re.compile(r"arn:aws:scheduler:::aws-sdk:([a-z0-9-]+):([A-Za-z0-9]+)")
# AWS tries for a day; an endpoint that is being created cannot be deleted for minutes.
_RETRY_S, _ATTEMPTS = 60.0, 60

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScheduledCall:
    """A call that is due.

    :param action: name of the API's action, such as ``DeleteEndpoint``.
    :param credentials: environment variables of the role's session.
    """

    service: str
    action: str
    params: Mapping[str, Any]
    credentials: Mapping[str, str]
    region: str


Permit = Callable[[Environ, str, str], None]
"""Raises an ApiError if policies deny a caller an action on a resource."""
Caller = Callable[[ScheduledCall], None]
"""Makes a call of this cloud's API; raises the client's error."""


class Schedules:
    """Executes schedules.

    :param lock: the cloud's.
    :param call: makes the calls.
    """

    def __init__(self, clock: Clock, lock: threading.RLock, call: Caller) -> None:
        self._clock, self._lock, self._call = clock, lock, call

    def serve(self, inner: Application, permit: Permit) -> Application:
        """Answer the calls for schedules, and pass the others on.

        moto's own check of signatures fails for requests without a body.

        :param permit: raises an ApiError if policies deny an action, or do not let the caller pass a role.
        """

        def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            match = _PATH.fullmatch(environ["PATH_INFO"])
            if environ[SERVICE] != "scheduler" or match is None:
                return inner(environ, start_response)
            is_list = match[1] is None
            action = "ListSchedules" if is_list else _ACTIONS[environ["REQUEST_METHOD"]]
            permit(environ, f"scheduler:{action}", "*")
            body = json.loads(environ["wsgi.input"].getvalue() or b"{}")
            if role_arn := body.get("Target", {}).get("RoleArn"):
                _check_role(role_arn)
                permit(environ, "iam:PassRole", role_arn)
            query = {name: values[0] for name, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
            group = body.get("GroupName") or query.get("groupName") or query.get("ScheduleGroup") or "default"
            with self._lock:
                answer = self._answer(action, environ[REGION], group, match[1] or query.get("NamePrefix", ""), body)
            return send_response(start_response, "200 OK", json.dumps(answer).encode(), _JSON)

        return application

    def _answer(self, action: str, region: str, group: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        schedules = _schedules(region, group)
        if action == "ListSchedules":
            return {"Schedules": [item.to_dict(short=True) for key, item in schedules.items() if key.startswith(name)]}
        if (name in schedules) == (action == "CreateSchedule"):
            raise _conflict(name) if name in schedules else _not_found(name)
        if action == "DeleteSchedule":
            del schedules[name]
            return {}
        if action == "GetSchedule":
            return {key: value for key, value in schedules[name].to_dict().items() if value is not None}
        # A changed schedule is another one, so that what was planned for the old one is void.
        schedules[name] = _record(region, group, name, body)
        self._plan(region, schedules[name])
        return {"ScheduleArn": schedules[name].arn}

    def _plan(self, region: str, schedule: Any) -> None:
        match = _AT.fullmatch(schedule.schedule_expression)
        if match is None:
            return
        local = datetime.fromisoformat(match[1]).replace(tzinfo=ZoneInfo(schedule.schedule_expression_timezone))
        seconds = (local.astimezone(UTC).replace(tzinfo=None) - self._clock.utc()).total_seconds()
        self._clock.after(seconds, lambda: self._run(region, schedule, 1))

    def _run(self, region: str, schedule: Any, attempt: int) -> None:
        with self._lock:
            # It may have been deleted or replaced in the meantime.
            is_current = _schedules(region, schedule.group_name).get(schedule.name) is schedule
            if not is_current or schedule.state != "ENABLED":
                return
        self._clock.submit(lambda: self._execute(region, schedule, attempt))

    def _execute(self, region: str, schedule: Any, attempt: int) -> None:
        try:
            self._call(self._due_call(region, schedule))
        except Exception as error:
            _log.warning("schedule %s, attempt %d: %s", schedule.name, attempt, error)
            if attempt < _ATTEMPTS:
                self._clock.after(_RETRY_S, lambda: self._run(region, schedule, attempt + 1))
            return
        with self._lock:
            if schedule.action_after_completion == "DELETE":
                _schedules(region, schedule.group_name).pop(schedule.name, None)

    def _due_call(self, region: str, schedule: Any) -> ScheduledCall:
        match = _TARGET.fullmatch(schedule.target["Arn"])
        if match is None:
            raise ApiError("NotImplemented", f"This cloud has no targets such as {schedule.target['Arn']}")
        with self._lock:
            keys = roles.credentials(schedule.target["RoleArn"], schedule.name, region)
        params = json.loads(schedule.target.get("Input") or "{}")
        return ScheduledCall(match[1], match[2][:1].upper() + match[2][1:], params, keys, region)


def _check_role(role_arn: str) -> None:
    if not roles.trusts(role_arn, _PRINCIPAL):
        message = "The execution role you provide must allow AWS EventBridge Scheduler to assume the role."
        raise ApiError("ValidationException", message)


def _conflict(name: str) -> ApiError:
    return ApiError("ConflictException", f"Schedule {name} already exists.", 409)


def _not_found(name: str) -> ApiError:
    return ApiError("ResourceNotFoundException", f"Schedule {name} does not exist.", 404)


def _schedules(region: str, group: str) -> dict[str, Any]:
    """Return moto's records of a group by name."""
    from moto.scheduler.models import scheduler_backends

    groups = scheduler_backends[ACCOUNT][region].schedule_groups
    if group not in groups:
        raise ApiError("ResourceNotFoundException", f"Schedule group {group} does not exist.", 404)
    records: dict[str, Any] = groups[group].schedules
    return records


def _record(region: str, group: str, name: str, body: Mapping[str, Any]) -> Any:
    from moto.scheduler.models import Schedule

    return Schedule(
        region=region,
        account_id=ACCOUNT,
        group_name=group,
        name=name,
        description=body.get("Description"),
        schedule_expression=body["ScheduleExpression"],
        schedule_expression_timezone=body.get("ScheduleExpressionTimezone"),
        flexible_time_window=body["FlexibleTimeWindow"],
        target=dict(body["Target"]),
        state=body.get("State"),
        kms_key_arn=body.get("KmsKeyArn"),
        start_date=body.get("StartDate"),
        end_date=body.get("EndDate"),
        action_after_completion=body.get("ActionAfterCompletion"),
    )
