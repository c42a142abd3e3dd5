"""Inject faults into API calls, and record every call: wrappers for the chain of ``localcloud.aws.wsgi``.

``choose_faults`` asks the fault engine once per call; each inner wrapper then carries out its kinds of faults.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from localcloud.aws import error_responses
from localcloud.aws.error_responses import ApiError
from localcloud.aws.wsgi import ACTION, KEY, REGION, SERVICE, Application, Environ, StartResponse, is_api_call
from localcloud.core.clock import Clock
from localcloud.scenarios.fault_engine import ApiCall, FaultEngine
from localcloud.scenarios.scenario import Fault

# Set by ``choose_faults``: the faults of this call; and by ``choose_delay``: seconds by which its answer is late.
FAULTS, DELAY = "localcloud.faults", "localcloud.delay"

# Greatest difference between AWS's clock and a signature's time, in seconds.
_SKEW_TOLERANCE_S = 300.0
_STAMP = "%Y%m%dT%H%M%SZ"


class ConnectionDropped(ConnectionError):
    """The connection closes without a response."""


class CallRecord(NamedTuple):
    """A recorded API call.

    :param time: seconds since the cloud started.
    :param outcome: ``ok``, the error's code, or ``dropped``.
    """

    time: float
    action: str
    outcome: str


def record_calls(inner: Application, note: Callable[[str, str], None]) -> Application:
    """Call ``note`` with action and outcome of every API call."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if not is_api_call(environ):
            return inner(environ, start_response)
        status_code = [""]

        def capture(status: str, *rest: Any) -> Any:
            status_code[0] = status.split()[0]
            return start_response(status, *rest)

        try:
            body = list(inner(environ, capture))
        except ConnectionDropped:
            note(environ[ACTION], "dropped")
            raise
        is_ok = status_code[0] < "400"
        note(environ[ACTION], "ok" if is_ok else error_responses.error_code(b"".join(body)) or status_code[0])
        return body

    return application


def choose_faults(inner: Application, fault_engine: FaultEngine) -> Application:
    """Choose the faults of each call."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        # Keys of instance roles are temporary, and begin with ASIA.
        by_user = not environ[KEY].startswith("ASIA")
        call = ApiCall(environ[SERVICE], _action(environ), environ[REGION], by_user)
        environ[FAULTS] = fault_engine.faults_for_call(call) if is_api_call(environ) else []
        if is_api_call(environ) and not environ[FAULTS] and _tags_on_creation(environ):
            # Contract: tagging-requires-its-own-permission.
            environ[FAULTS] = fault_engine.denial_for(replace(call, action="CreateTags"))
        return inner(environ, start_response)

    return application


def stamp_date(inner: Application, clock: Clock) -> Application:
    """Put AWS's time on every response."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        def stamped(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            other_headers = [(name, value) for name, value in headers if name.lower() != "date"]
            return start_response(
                status, [*other_headers, ("Date", f"{_now(environ, clock):%a, %d %b %Y %H:%M:%S} GMT")], *rest
            )

        return inner(environ, stamped)

    return application


def drop_connections(inner: Application) -> Application:
    """Close the connection instead of answering, before or after the call takes effect."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        fault = _fault_of_kind(environ, "dropped")
        if fault is None:
            return inner(environ, start_response)
        if fault["applied"]:
            _apply_and_discard(inner, environ)
        # The server closes the connection when the application raises a ConnectionError.
        raise ConnectionDropped(f"{environ[ACTION]}: dropped by the scenario")

    return application


def choose_delay(inner: Application) -> Application:
    """Set the delay of each answer; ``apply_delay`` or the in-process transport waits for it."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        # Not slept here: in virtual time, the in-process transport lets it pass.
        environ[DELAY] = sum(fault["seconds"] for fault in environ[FAULTS] if fault.kind == "slow")
        return inner(environ, start_response)

    return application


def apply_delay(inner: Application, clock: Clock) -> Application:
    """Hold back delayed answers."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        response = inner(environ, start_response)
        if delay_s := environ.get(DELAY):
            clock.sleep(delay_s)
        return response

    return application


def fail_before_applying(inner: Application, clock: Clock) -> Application:
    """Refuse calls before they take effect."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        for fault in environ[FAULTS]:
            if fault.kind in _ERRORS and not fault.options.get("applied"):
                error = _ERRORS[fault.kind](fault, environ, clock)
                if error is not None:
                    raise error
        return inner(environ, start_response)

    return application


def fail_after_applying(inner: Application) -> Application:
    """Answer calls with an error after they took effect."""

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        fault = _fault_of_kind(environ, "error")
        if fault is None or not fault["applied"]:
            return inner(environ, start_response)
        _apply_and_discard(inner, environ)
        raise _error(fault)

    return application


def reword_denials(inner: Application) -> Application:
    """Answer denials by IAM policies in the format of each service; moto has one format for all.

    Contract: a-missing-permission-has-a-code-per-service.
    """

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        head: list[Any] = []
        body = list(inner(environ, lambda *fields: head.extend(fields)))
        if head[0].startswith("403") and error_responses.error_code(body[0] if body else b"") == "AccessDenied":
            caller = re.search(rb"User: (arn:[^ <]+)", body[0])
            if caller and environ[SERVICE] not in ("s3", ""):
                arn = caller[1].decode()
                raise error_responses.denied(
                    environ[SERVICE], environ[ACTION], by="policy", region=environ[REGION], caller_arn=arn
                )
        start_response(*head)
        return body

    return application


def _action(environ: Environ) -> str:
    """Return the name of a call in scenarios, which is AWS's name also for S3, whose requests have none."""
    if environ[SERVICE] not in ("s3", ""):
        return str(environ[ACTION])
    bucket, _, key = environ["PATH_INFO"].strip("/").partition("/")
    if ".s3." in environ.get("HTTP_HOST", ""):
        # A virtual-hosted request: the bucket is in the host name.
        bucket, key = "there", environ["PATH_INFO"].strip("/")
    level = 2 if key else 1 if bucket else 0
    return _S3_ACTIONS.get((environ["REQUEST_METHOD"], level), str(environ[ACTION]))


_S3_ACTIONS = {
    ("GET", 0): "ListBuckets",
    ("GET", 1): "ListObjectsV2",
    ("GET", 2): "GetObject",
    ("HEAD", 1): "HeadBucket",
    ("HEAD", 2): "HeadObject",
    ("PUT", 1): "CreateBucket",
    ("PUT", 2): "PutObject",
    ("DELETE", 1): "DeleteBucket",
    ("DELETE", 2): "DeleteObject",
}


def _fault_of_kind(environ: Environ, kind: str) -> Fault | None:
    return next((fault for fault in environ[FAULTS] if fault.kind == kind), None)


def _apply_and_discard(inner: Application, environ: Environ) -> None:
    """Let a call take effect and discard its answer, even if that is an error."""
    try:
        list(inner(environ, lambda *_: None))
    except ApiError:
        return


def _now(environ: Environ, clock: Clock) -> datetime:
    skew = _fault_of_kind(environ, "clock-skew")
    return clock.utc() + timedelta(seconds=skew["seconds"] if skew else 0.0)


def _error(fault: Fault, *_: object) -> ApiError:
    return ApiError(fault["code"], fault["message"], fault["status"])


def _skewed(fault: Fault, environ: Environ, clock: Clock) -> ApiError | None:
    if abs(fault["seconds"]) <= _SKEW_TOLERANCE_S:
        return None
    now = _now(environ, clock)
    signed = f"{now - timedelta(seconds=fault['seconds']):{_STAMP}}"
    return error_responses.clock_skewed(environ[SERVICE], signed=signed, now=f"{now:{_STAMP}}")


def _denied(fault: Fault, environ: Environ, _: Clock) -> ApiError:
    action = _action(environ)
    matches_action = any(
        fnmatchcase(name, pattern) for pattern in fault["action"] for name in (action, f"ec2:{action}")
    )
    denied_action = action if matches_action or not _tags_on_creation(environ) else "CreateTags"
    return error_responses.denied(environ[SERVICE], denied_action, by=fault["by"], region=environ[REGION])


def _tags_on_creation(environ: Environ) -> bool:
    creates = environ[SERVICE] == "ec2" and environ[ACTION].startswith(("Run", "Create", "Import"))
    return creates and b"TagSpecification." in environ["wsgi.input"].getvalue()


_ERRORS: dict[str, Callable[[Fault, Environ, Clock], ApiError | None]] = {
    "error": _error,
    "bad-keys": lambda _fault, environ, _clock: error_responses.bad_keys(environ[SERVICE]),
    "expired-keys": lambda _fault, environ, _clock: error_responses.expired_keys(environ[SERVICE]),
    "clock-skew": _skewed,
    "denied": _denied,
    "throttled": lambda _fault, environ, _clock: error_responses.throttled(environ[SERVICE]),
}
