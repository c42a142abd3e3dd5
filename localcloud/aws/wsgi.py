"""The chain that a request passes before moto answers it: small WSGI wrappers, one concern each.

``cloud.chain`` stacks them. A wrapper takes the application below it and is itself one; what befalls requests on
purpose is in ``localcloud.fault_injection.api_calls``.
"""

from __future__ import annotations

import io
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from localcloud.aws import error_responses
from localcloud.aws.error_responses import ApiError
from localcloud.core import urls

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

Params = dict[str, Any]
# Takes an action, its parameters and a region; returns the answer's fields, or raises a Refusal.
Service = Callable[[str, Params, str], dict[str, Any]]

_log = logging.getLogger(__name__)
_SCOPE = re.compile(r"Credential=([^/]+)/\d+/([^/]*)/([^/]+)/")

# Set by ``read_whole`` on every request, for the wrappers further in: what is asked of which service, in which region
# and signed with which access key; empty without a signature.
ACTION, SERVICE, REGION, KEY = "localcloud.action", "localcloud.service", "localcloud.region", "localcloud.key"

# Answers of EC2's that depend on what there is, and on nothing else.
_CACHEABLE = frozenset(
    f"Describe{what}" for what in ("Images", "InstanceTypeOfferings", "InstanceTypes", "Instances", "Subnets", "Vpcs")
)

# The access key of the calls that a cloud makes to itself.
WARM_UP = "WARM"


@dataclass(frozen=True)
class Page:
    """The answer to a request for one of this cloud's own pages."""

    body: bytes
    status: str = "200 OK"
    content_type: str = "application/json"


def is_api_call(environ: Environ) -> bool:
    """Whether a request is one to the API, and neither to pages of this cloud's own nor its own first call."""
    return not environ["PATH_INFO"].startswith("/_") and environ[KEY] != WARM_UP


def log_calls(below: Application) -> Application:
    """Write one line per API call: what was asked, the answer's status, and how long it took."""

    def application(environ: Environ, respond: StartResponse) -> Iterable[bytes]:
        began, seen = time.monotonic(), ["-"]

        def note(status: str, *rest: Any) -> Any:
            seen[0] = status.split()[0]
            return respond(status, *rest)

        answer = below(environ, note)
        if not environ["PATH_INFO"].startswith(urls.METADATA):
            took = (time.monotonic() - began) * 1000
            _log.info("%s %s %s %.0f ms", environ.get(SERVICE) or "-", environ.get(ACTION), seen[0], took)
        return answer

    return application


def buffer_body(below: Application) -> Application:
    """Read a request's body before any lock is taken, so that a slow sender delays nobody else."""

    def application(environ: Environ, respond: StartResponse) -> Iterable[bytes]:
        length = environ.get("CONTENT_LENGTH")
        chunked = environ.pop("HTTP_TRANSFER_ENCODING", "").lower() == "chunked"
        body = environ["wsgi.input"].read() if chunked else environ["wsgi.input"].read(int(length or 0))
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
        annotate_call(environ, body)
        return below(environ, respond)

    return application


def annotate_call(environ: Environ, body: bytes) -> None:
    """Say in ``environ`` what is asked, of which service and region, and signed with which key."""
    scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    environ[KEY], environ[REGION], service = scope.groups() if scope else ("", "", "")
    environ[SERVICE] = service.lower()
    environ[ACTION] = _action(environ, body)


def _action(environ: Environ, body: bytes) -> str:
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return str(target).rpartition(".")[2]
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        # User data makes a body long; the action stands in front.
        return parse_qs(body[:200].decode("latin-1")).get("Action", ["-"])[0]
    return f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"


def render_errors(below: Application) -> Application:
    """Answer refusals in the form of their service; what moto cannot do or breaks on becomes one, and is logged."""

    def application(environ: Environ, respond: StartResponse) -> Iterable[bytes]:
        try:
            return below(environ, respond)
        except ApiError as refusal:
            return _send_error(environ, respond, refusal)
        except NotImplementedError as error:
            # Not 500: asking again would not help, and AWS libraries would.
            _log.warning("%s: %s", environ.get(ACTION), error)
            return _send_error(environ, respond, ApiError("NotImplemented", str(error)))
        except Exception as error:
            _log.exception("%s failed", environ.get(ACTION))
            return _send_error(environ, respond, ApiError("InternalError", f"{type(error).__name__}: see the log"))

    return application


def _send_error(environ: Environ, respond: StartResponse, refusal: ApiError) -> Iterable[bytes]:
    reply = error_responses.render(environ[SERVICE], refusal)
    body = b"" if environ["REQUEST_METHOD"] == "HEAD" else reply.body
    return send_response(respond, reply.status, body, ("Content-Type", reply.content_type))


def serve_pages(below: Application, pages: Mapping[str, Callable[[Environ], Page]]) -> Application:
    """Answer some paths with what a function makes of the request."""

    def application(environ: Environ, respond: StartResponse) -> Iterable[bytes]:
        page = pages.get(environ["PATH_INFO"])
        if page is None:
            return below(environ, respond)
        answer = page(environ)
        return send_response(respond, answer.status, answer.body, ("Content-Type", answer.content_type))

    return application


def serve_json(below: Application, services: Mapping[str, Service], permit: Callable[[Environ], None]) -> Application:
    """Answer services, and single calls (``ecr/GetAuthorizationToken``), that speak JSON and are not moto's.

    :param permit: refuses whom policies do.
    """

    def application(environ: Environ, respond: StartResponse) -> Iterable[bytes]:
        service = services.get(environ[SERVICE]) or services.get(f"{environ[SERVICE]}/{environ[ACTION]}")
        if service is None:
            return below(environ, respond)
        permit(environ)
        question = json.loads(environ["wsgi.input"].read() or b"{}")
        answer = service(environ[ACTION], question, environ[REGION])
        return send_response(
            respond, "200 OK", json.dumps(answer).encode(), ("Content-Type", "application/x-amz-json-1.1")
        )

    return application


def cache_answers(below: Application, state: Callable[[], Hashable], changed: Callable[[], None]) -> Application:
    """Give the same answer to the same question for as long as nothing has changed: whoever waits asks often.

    :param state: differs whenever answers may.
    :param changed: told after every call that may have changed something.
    """
    known, lock = _AnswerCache(), threading.Lock()

    def application(environ: Environ, respond: StartResponse) -> Iterable[bytes]:
        if environ[SERVICE] != "ec2" or environ[ACTION] not in _CACHEABLE:
            return _call_and_notify(below, environ, respond, changed)
        now, question = state(), (environ[REGION], environ[KEY], environ["wsgi.input"].getvalue())
        with lock:
            said = known.at(now).get(question)
        if said is None:
            told: list[Any] = []
            said = told, list(below(environ, lambda *facts: told.extend(facts)))
            with lock:
                known.at(now)[question] = said
        respond(*said[0])
        return said[1]

    return application


class _AnswerCache:
    """What was answered in one state; in another, nothing."""

    def __init__(self) -> None:
        self._state: Hashable = None
        self._answers: dict[tuple[Hashable, ...], tuple[list[Any], list[bytes]]] = {}

    def at(self, state: Hashable) -> dict[tuple[Hashable, ...], tuple[list[Any], list[bytes]]]:
        if state != self._state:
            self._state, self._answers = state, {}
        return self._answers


def _call_and_notify(
    below: Application, environ: Environ, respond: StartResponse, changed: Callable[[], None]
) -> Iterable[bytes]:
    try:
        return list(below(environ, respond))
    finally:
        if not environ[ACTION].startswith(("Describe", "Get", "List")):
            changed()


def serialize(below: Application, lock: threading.RLock) -> Application:
    """Let one request at a time into moto, whose backends are plain dictionaries.

    S3 has a lock of its own: a large object must not hold up the instances.
    """
    storage = threading.RLock()

    def application(environ: Environ, respond: StartResponse) -> Iterable[bytes]:
        # Requests without a signature are presigned or anonymous ones to S3.
        with storage if environ[SERVICE] in ("", "s3") else lock:
            answer = below(environ, respond)
            return list(answer)

    return application


def send_response(respond: StartResponse, status: str, body: bytes, *headers: tuple[str, str]) -> Iterable[bytes]:
    """Answer a request, with the length of the body among the headers."""
    respond(status, [*headers, ("Content-Length", str(len(body)))])
    return [body]
