"""Dispatch of SageMaker's calls: a table of actions that are answered here; all others are moto's.

Every request is checked against botocore's service model first, whether this cloud or moto answers it. Calls of the
runtime service, which signs as ``sagemaker``, too, are told apart by their path.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from localcloud.aws import wsgi
from localcloud.aws.ecr import ACCOUNT
from localcloud.aws.error_responses import ApiError, error_code
from localcloud.aws.wsgi import Application, Environ, Params, StartResponse
from localcloud.sagemaker import validation

_RUNTIME_PATH = "/endpoints/"
_JSON = "application/x-amz-json-1.1"


@dataclass(frozen=True)
class Call:
    """One call of SageMaker's API, valid by the service model.

    :param forward: sends the call to moto, unchanged because moto checks its signature, and returns the answer; raises
        an ApiError with moto's code and message.
    """

    action: str
    params: Params
    region: str
    forward: Callable[[], dict[str, Any]]


Handler = Callable[[Call], dict[str, Any]]
"""Answers one call; raises an ApiError. Datetimes in the answer are UTC without a time zone."""


@dataclass
class SageMaker:
    """The parts of SageMaker that this cloud answers itself.

    :param actions: handlers by action.
    :param runtime: answers the runtime service's requests, whose bodies and headers are free; None leaves them to moto.
    """

    actions: dict[str, Handler] = field(default_factory=dict)
    runtime: Application | None = None

    def add(self, actions: Mapping[str, Handler]) -> None:
        """Add handlers; an action has one."""
        if taken := self.actions.keys() & actions.keys():
            raise ValueError(f"more than one handler of {', '.join(sorted(taken))}")
        self.actions.update(actions)


def serve(
    inner: Application, sagemaker: SageMaker, check_permission: Callable[[Environ, str, str], None]
) -> Application:
    """Answer SageMaker's calls, and pass the others on.

    :param check_permission: raises an ApiError if policies deny the caller a permission on a resource.
    """

    def permit(environ: Environ, params: Params) -> None:
        action = environ[wsgi.ACTION]
        check_permission(environ, f"sagemaker:{action}", _resource(action, params, environ[wsgi.REGION]))

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ[wsgi.SERVICE] != "sagemaker":
            return inner(environ, start_response)
        if environ["PATH_INFO"].startswith(_RUNTIME_PATH) and sagemaker.runtime is not None:
            permit(environ, {"EndpointName": environ["PATH_INFO"].split("/")[2]})
            return sagemaker.runtime(environ, start_response)
        params = _params(environ)
        validation.check(environ[wsgi.ACTION], params)
        handler = sagemaker.actions.get(environ[wsgi.ACTION])
        if handler is None:
            return inner(environ, start_response)
        permit(environ, params)
        for role_arn in _roles(params):
            check_permission(environ, "iam:PassRole", role_arn)
        call = Call(environ[wsgi.ACTION], params, environ[wsgi.REGION], lambda: _forward(inner, environ))
        body = json.dumps(handler(call), default=_timestamp).encode()
        return wsgi.send_response(start_response, "200 OK", body, ("Content-Type", _JSON))

    return application


def _resource(action: str, params: Params, region: str) -> str:
    """Return the ARN of what a call is about, with which policies compare it; ``*`` if it names nothing."""
    if arn := params.get("ResourceArn"):
        return str(arn)
    noun = re.sub("^(Create|Describe|Delete|Stop|Update|Invoke)|(WeightsAndCapacities|Async)$", "", action)
    name = params.get(f"{noun}Name")
    # SageMaker's ARNs are in lower case: training-job/name.
    kind = re.sub("(?<!^)(?=[A-Z])", "-", noun).lower()
    return f"arn:aws:sagemaker:{region}:{ACCOUNT}:{kind}/{name}".lower() if name else "*"


def _roles(params: Params) -> list[str]:
    """Return the roles that a request hands to SageMaker."""
    places = (params, params.get("TrainingJobDefinition", {}))
    arns = (place.get(name) for place in places for name in ("RoleArn", "ExecutionRoleArn"))
    return [str(arn) for arn in arns if arn]


def _params(environ: Environ) -> Params:
    try:
        params = json.loads(environ["wsgi.input"].getvalue() or b"{}")
    except ValueError as error:
        raise ApiError("SerializationException", "Could not parse the body of the request") from error
    if not isinstance(params, dict):
        raise ApiError("SerializationException", "Start of structure or map found where not expected.")
    return params


def _forward(inner: Application, environ: Environ) -> dict[str, Any]:
    request, head = {**environ, "wsgi.input": io.BytesIO(environ["wsgi.input"].getvalue())}, list[str]()
    body = b"".join(inner(request, lambda status, *_: head.append(status)))
    status = int(head[0].split()[0])
    if status >= 300:
        text = body.decode("utf-8", "replace")
        message = re.search(r'"[mM]essage": ?"([^"]*)"', text) or re.search(r"<Message>([^<]*)</Message>", text)
        code = error_code(body) or "InternalFailure"
        raise ApiError(code, message[1] if message else code, status)
    fields: dict[str, Any] = json.loads(body or b"{}")
    return fields


def _timestamp(value: object) -> float:
    """Return a time as the JSON protocol sends it."""
    if not isinstance(value, datetime):
        raise TypeError(f"{type(value)} in an answer")
    return round(value.replace(tzinfo=UTC).timestamp(), 3)
