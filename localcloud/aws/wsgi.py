"""Chain of WSGI wrappers that a request passes before moto answers it, one concern each.

``localcloud.assembly.cloud`` stacks them. A wrapper takes the application below it and is an application itself. Fault
injection adds wrappers of its own, in ``localcloud.fault_injection.api_calls``.
"""

from __future__ import annotations

import io
import json
import logging
import re
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

from localcloud.aws import error_responses
from localcloud.aws.error_responses import ApiError
from localcloud.core import urls
from localcloud.core.clock import Clock

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

Params = dict[str, Any]
# Takes an action, its parameters and a region; returns the fields of the answer, or raises an ApiError.
Service = Callable[[str, Params, str], dict[str, Any]]

_log = logging.getLogger(__name__)
_SCOPE = re.compile(r"Credential=([^/]+)/\d+/([^/]*)/([^/]+)/")

# SageMaker's runtime has paths in the place of actions.
_INVOCATION = re.compile(r"/endpoints/[^/]+/(async-)?invocations")

# Services that have methods and paths in the place of actions: EFS and EventBridge Scheduler.
_REST_SERVICES = ("elasticfilesystem", "scheduler")
_CREATE_OR_LIST = {"POST": "Create{}", "GET": "Describe{}s"}
_REST_ACTIONS: tuple[tuple[re.Pattern[str], str, Mapping[str, str]], ...] = (
    (re.compile(r"/2015-02-01/file-systems/?"), "FileSystem", _CREATE_OR_LIST),
    (re.compile(r"/2015-02-01/file-systems/[^/]+"), "FileSystem", {"DELETE": "Delete{}", "PUT": "Update{}"}),
    (re.compile(r"/2015-02-01/mount-targets/?"), "MountTarget", _CREATE_OR_LIST),
    (re.compile(r"/2015-02-01/mount-targets/[^/]+"), "MountTarget", {"DELETE": "Delete{}"}),
    (re.compile(r"/schedules/?"), "Schedule", {"GET": "List{}s"}),
    (
        re.compile(r"/schedules/[^/]+"),
        "Schedule",
        {"POST": "Create{}", "PUT": "Update{}", "GET": "Get{}", "DELETE": "Delete{}"},
    ),
)

# Set by ``buffer_body`` on every request for the inner wrappers: action, service, region and access key of the
# signature; empty without a signature.
ACTION, SERVICE, REGION, KEY = "localcloud.action", "localcloud.service", "localcloud.region", "localcloud.key"

# EC2 calls whose answers depend on the resources only, and may be cached until these change.
_CACHEABLE = frozenset(
    f"Describe{noun}" for noun in ("Images", "InstanceTypeOfferings", "InstanceTypes", "Instances", "Subnets", "Vpcs")
)

# Access key of the calls with which a cloud warms itself up.
WARM_UP = "WARM"
# On requests that the cloud itself sends for a client's job, such as the download of its data.
PLATFORM_HEADER = "X-Localcloud-Platform"
_PLATFORM = "HTTP_" + PLATFORM_HEADER.upper().replace("-", "_")


@dataclass(frozen=True)
class Page:
    """The response of one of the cloud's own pages."""

    body: bytes
    status: str = "200 OK"
    content_type: str = "application/json"


def is_api_call(environ: Environ) -> bool:
    """Return whether a request is an API call of a client: neither a page of the cloud nor a call of its own."""
    return not environ["PATH_INFO"].startswith("/_") and environ[KEY] != WARM_UP and _PLATFORM not in environ


def mark_as_platform(request: Any, **_: Any) -> None:
    """Mark a request of the cloud itself; a handler of botocore's event before-sign."""
    request.headers[PLATFORM_HEADER] = "1"


def log_calls(inner: Application, clock: Clock) -> Application:
    """Log one line per API call: service, action, status and duration."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        started_at, status_code = clock.now(), ["-"]

        def capture(status: str, *rest: Any) -> Any:
            status_code[0] = status.split()[0]
            return start_response(status, *rest)

        response = inner(environ, capture)
        if not environ["PATH_INFO"].startswith(urls.METADATA):
            elapsed_ms = (clock.now() - started_at) * 1000
            _log.info("%s %s %s %.0f ms", environ.get(SERVICE) or "-", environ.get(ACTION), status_code[0], elapsed_ms)
        return response

    return application


def buffer_body(inner: Application) -> Application:
    """Read a request's body before any lock is taken, so that a slow sender delays no other request."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        length = environ.get("CONTENT_LENGTH")
        # The header is removed because the body is read here: moto would look for chunks in it.
        chunked = environ.pop("HTTP_TRANSFER_ENCODING", "").lower() == "chunked"
        body = environ["wsgi.input"].read() if chunked else environ["wsgi.input"].read(int(length or 0))
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
        annotate_call(environ, body)
        return inner(environ, start_response)

    return application


def annotate_call(environ: Environ, body: bytes) -> None:
    """Store action, service, region and access key of a request in ``environ``."""
    # A presigned URL has the scope among its parameters.
    signed = environ.get("HTTP_AUTHORIZATION") or unquote(environ.get("QUERY_STRING", ""))
    scope = _SCOPE.search(signed)
    environ[KEY], environ[REGION], service = scope.groups() if scope else ("", "", "")
    environ[SERVICE] = service.lower()
    environ[ACTION] = _action(environ, body)


def _action(environ: Environ, body: bytes) -> str:
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return str(target).rpartition(".")[2]
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        # User data makes a body long; the action is at its beginning.
        return parse_qs(body[:200].decode("latin-1")).get("Action", ["-"])[0]
    if match := _INVOCATION.fullmatch(environ["PATH_INFO"]):
        return "InvokeEndpointAsync" if match[1] else "InvokeEndpoint"
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    if environ[SERVICE] in _REST_SERVICES:
        return _rest_action(method, path)
    return f"{method} {path}"


def _rest_action(method: str, path: str) -> str:
    for pattern, noun, verbs in _REST_ACTIONS:
        if method in verbs and pattern.fullmatch(path):
            return verbs[method].format(noun)
    return f"{method} {path}"


def render_errors(inner: Application) -> Application:
    """Answer errors in the format of their service; what moto lacks or fails at becomes an error, and is logged."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return inner(environ, start_response)
        except ApiError as error:
            return _send_error(environ, start_response, error)
        except NotImplementedError as error:
            # Not status 500, on which AWS libraries would retry in vain.
            _log.warning("%s: %s", environ.get(ACTION), error)
            return _send_error(environ, start_response, ApiError("NotImplemented", str(error)))
        except Exception as error:
            _log.exception("%s failed", environ.get(ACTION))
            return _send_error(
                environ, start_response, ApiError("InternalError", f"{type(error).__name__}: see the log")
            )

    return application


def _send_error(environ: Environ, start_response: StartResponse, error: ApiError) -> Iterable[bytes]:
    response = error_responses.render(environ[SERVICE], error)
    # A body in the answer to HEAD would be read as the next response on the connection.
    body = b"" if environ["REQUEST_METHOD"] == "HEAD" else response.body
    return send_response(start_response, response.status, body, ("Content-Type", response.content_type))


def serve_pages(inner: Application, pages: Mapping[str, Callable[[Environ], Page]]) -> Application:
    """Answer the paths of the cloud's own pages."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        page = pages.get(environ["PATH_INFO"])
        if page is None:
            return inner(environ, start_response)
        response = page(environ)
        return send_response(start_response, response.status, response.body, ("Content-Type", response.content_type))

    return application


def serve_json(inner: Application, services: Mapping[str, Service], permit: Callable[[Environ], None]) -> Application:
    """Answer JSON services and single calls (``ecr/GetAuthorizationToken``) that moto lacks.

    :param permit: raises an ApiError if policies deny the call.
    """

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        service = services.get(environ[SERVICE]) or services.get(f"{environ[SERVICE]}/{environ[ACTION]}")
        if service is None:
            return inner(environ, start_response)
        permit(environ)
        params = json.loads(environ["wsgi.input"].read() or b"{}")
        answer = service(environ[ACTION], params, environ[REGION])
        return send_response(
            start_response, "200 OK", json.dumps(answer).encode(), ("Content-Type", "application/x-amz-json-1.1")
        )

    return application


def cache_answers(inner: Application, state: Callable[[], Hashable], changed: Callable[[], None]) -> Application:
    """Answer repeated EC2 queries from a cache for as long as nothing has changed, because waiting clients poll.

    :param state: returns a value that differs whenever answers may.
    :param changed: called after every call that may have changed something.
    """
    cache, lock = _AnswerCache(), threading.Lock()

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        # Any other call may change EC2's resources, and is not cached.
        if environ[SERVICE] != "ec2" or environ[ACTION] not in _CACHEABLE:
            return _call_and_notify(inner, environ, start_response, changed)
        version, key = state(), (environ[REGION], environ[KEY], environ["wsgi.input"].getvalue())
        with lock:
            answer = cache.at(version).get(key)
        if answer is None:
            head: list[Any] = []
            answer = head, list(inner(environ, lambda *fields: head.extend(fields)))
            with lock:
                cache.at(version)[key] = answer
        start_response(*answer[0])
        return answer[1]

    return application


class _AnswerCache:
    """Answers given in the current state; a new state drops them."""

    def __init__(self) -> None:
        self._state: Hashable = None
        self._answers: dict[tuple[Hashable, ...], tuple[list[Any], list[bytes]]] = {}

    def at(self, state: Hashable) -> dict[tuple[Hashable, ...], tuple[list[Any], list[bytes]]]:
        if state != self._state:
            self._state, self._answers = state, {}
        return self._answers


def _call_and_notify(
    inner: Application, environ: Environ, start_response: StartResponse, changed: Callable[[], None]
) -> Iterable[bytes]:
    try:
        return list(inner(environ, start_response))
    finally:
        if not environ[ACTION].startswith(("Describe", "Get", "List")):
            changed()


def serialize(inner: Application, lock: threading.RLock) -> Application:
    """Pass one request at a time to moto, whose backends are plain dictionaries.

    S3 has a lock of its own, so that a large object does not hold up EC2.
    """
    storage = threading.RLock()

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        # Requests without a signature are presigned or anonymous requests to S3.
        with storage if environ[SERVICE] in ("", "s3") else lock:
            response = inner(environ, start_response)
            return list(response)

    return application


def send_response(
    start_response: StartResponse, status: str, body: bytes, *headers: tuple[str, str]
) -> Iterable[bytes]:
    """Send a response with a Content-Length header."""
    start_response(status, [*headers, ("Content-Length", str(len(body)))])
    return [body]
