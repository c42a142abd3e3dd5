"""What befalls calls on purpose, and the record of all calls: wrappers for the chain of ``localcloud.aws.wsgi``.

``judge`` asks the weather once per call; each wrapper further in then does its part of what was decided.
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

# Set by ``judge``: the faults that strike this call. And by ``delay``: seconds by which the answer is late.
FAULTS, DELAY = "localcloud.fate", "localcloud.late"

# AWS accepts signatures that are this old, or this new; seconds.
_SKEW_TOLERANCE_S = 300.0
_STAMP = "%Y%m%dT%H%M%SZ"


class ConnectionDropped(ConnectionError):
    """The caller gets no answer: the connection closes."""


class CallRecord(NamedTuple):
    """A call that reached the cloud.

    :param time: seconds since the cloud came up.
    :param outcome: ``ok``, the error's code, or ``dropped``.
    """

    time: float
    action: str
    outcome: str


def record_calls(below: Application, note: Callable[[str, str], None]) -> Application:
    """Tell ``note`` the action and the outcome of every API call."""

    def application(environ: Environ, respond: StartResponse) -> Iterable[bytes]:
        if not is_api_call(environ):
            return below(environ, respond)
        seen = [""]

        def listen(status: str, *rest: Any) -> Any:
            seen[0] = status.split()[0]
            return respond(status, *rest)

        try:
            answer = list(below(environ, listen))
        except ConnectionDropped:
            note(environ[ACTION], "dropped")
            raise
        well = seen[0] < "400"
        note(environ[ACTION], "ok" if well else error_responses.error_code(b"".join(answer)) or seen[0])
        return answer

    return application


def choose_faults(below: Application, fault_engine: FaultEngine) -> Application:
    """Decide what befalls a call."""

    def application(environ: Environ, respond: StartResponse) -> Iterable[bytes]:
        # Session keys are those of machines' roles here.
        by_user = not environ[KEY].startswith("ASIA")
        call = ApiCall(environ[SERVICE], _action(environ), environ[REGION], by_user)
        environ[FAULTS] = fault_engine.faults_for_call(call) if is_api_call(environ) else []
        if is_api_call(environ) and not environ[FAULTS] and _tags_on_creation(environ):
            # Contract: tags-want-their-own-permission.
            environ[FAULTS] = fault_engine.denial_for(replace(call, action="CreateTags"))
        return below(environ, respond)

    return application


def stamp_date(below: Application, clock: Clock) -> Application:
    """Put AWS's time of day on every answer."""

    def application(environ: Environ, respond: StartResponse) -> Iterable[bytes]:
        def stamped(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            kept = [(name, value) for name, value in headers if name.lower() != "date"]
            return respond(status, [*kept, ("Date", f"{_now(environ, clock):%a, %d %b %Y %H:%M:%S} GMT")], *rest)

        return below(environ, stamped)

    return application


def drop_connections(below: Application) -> Application:
    """Close the connection instead of answering, before the call is done or after it."""

    def application(environ: Environ, respond: StartResponse) -> Iterable[bytes]:
        fault = _fault_of_kind(environ, "dropped")
        if fault is None:
            return below(environ, respond)
        if fault["applied"]:
            _apply_and_discard(below, environ)
        raise ConnectionDropped(f"{environ[ACTION]}: dropped on purpose")

    return application


def choose_delay(below: Application) -> Application:
    """Have answers come late; ``take_time`` or whoever else hands them over does the waiting."""

    def application(environ: Environ, respond: StartResponse) -> Iterable[bytes]:
        environ[DELAY] = sum(fault["seconds"] for fault in environ[FAULTS] if fault.kind == "slow")
        return below(environ, respond)

    return application


def apply_delay(below: Application, clock: Clock) -> Application:
    """Hold back answers that are to be late."""

    def application(environ: Environ, respond: StartResponse) -> Iterable[bytes]:
        answer = below(environ, respond)
        if late := environ.get(DELAY):
            clock.sleep(late)
        return answer

    return application


def fail_before_applying(below: Application, clock: Clock) -> Application:
    """Refuse calls before anything is done."""

    def application(environ: Environ, respond: StartResponse) -> Iterable[bytes]:
        for fault in environ[FAULTS]:
            if fault.kind in _ERRORS and not fault.options.get("applied"):
                refusal = _ERRORS[fault.kind](fault, environ, clock)
                if refusal is not None:
                    raise refusal
        return below(environ, respond)

    return application


def fail_after_applying(below: Application) -> Application:
    """Answer calls that were done with an error."""

    def application(environ: Environ, respond: StartResponse) -> Iterable[bytes]:
        fault = _fault_of_kind(environ, "error")
        if fault is None or not fault["applied"]:
            return below(environ, respond)
        _apply_and_discard(below, environ)
        raise _error(fault)

    return application


def reword_denials(below: Application) -> Application:
    """Say that a policy denies something as the service at hand says it; moto has one way for all.

    Contract: a-missing-permission-has-a-code-per-service.
    """

    def application(environ: Environ, respond: StartResponse) -> Iterable[bytes]:
        told: list[Any] = []
        answer = list(below(environ, lambda *facts: told.extend(facts)))
        if told[0].startswith("403") and error_responses.error_code(answer[0] if answer else b"") == "AccessDenied":
            who = re.search(rb"User: (arn:[^ <]+)", answer[0])
            if who and environ[SERVICE] not in ("s3", ""):
                named = {"who": who[1].decode(), "region": environ[REGION]}
                raise error_responses.denied(environ[SERVICE], environ[ACTION], by="policy", **named)
        respond(*told)
        return answer

    return application


def _action(environ: Environ) -> str:
    """What a call is named in scenarios: as AWS names it, S3's too, whose requests do not say."""
    if environ[SERVICE] not in ("s3", ""):
        return str(environ[ACTION])
    bucket, _, key = environ["PATH_INFO"].strip("/").partition("/")
    if ".s3." in environ.get("HTTP_HOST", ""):
        # The bucket is in the host's name.
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


def _apply_and_discard(below: Application, environ: Environ) -> None:
    """Have a call done; nobody hears the answer, not even if it is a refusal."""
    try:
        list(below(environ, lambda *_: None))
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
    meant = any(fnmatchcase(name, pattern) for pattern in fault["action"] for name in (action, f"ec2:{action}"))
    named = action if meant or not _tags_on_creation(environ) else "CreateTags"
    return error_responses.denied(environ[SERVICE], named, by=fault["by"], region=environ[REGION])


def _tags_on_creation(environ: Environ) -> bool:
    named = environ[SERVICE] == "ec2" and environ[ACTION].startswith(("Run", "Create", "Import"))
    return named and b"TagSpecification." in environ["wsgi.input"].getvalue()


_ERRORS: dict[str, Callable[[Fault, Environ, Clock], ApiError | None]] = {
    "error": _error,
    "bad-keys": lambda _fault, environ, _clock: error_responses.bad_keys(environ[SERVICE]),
    "expired-keys": lambda _fault, environ, _clock: error_responses.expired_keys(environ[SERVICE]),
    "clock-skew": _skewed,
    "denied": _denied,
    "throttled": lambda _fault, environ, _clock: error_responses.throttled(environ[SERVICE]),
}
