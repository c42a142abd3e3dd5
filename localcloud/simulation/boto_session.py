"""A boto3 session whose requests never leave this process, and whose retries wait in virtual time."""

from __future__ import annotations

import io
import os
import random
import threading
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit

import boto3
import botocore.session
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.loaders import create_loader
from botocore.retries import standard

from localcloud.aws.wsgi import Environ
from localcloud.core.addresses import HOME_REGION
from localcloud.core.clock import Clock

# Takes a request and the caller's read timeout in seconds; returns status, headers and body, or raises what botocore's
# own transport would raise.
Transport = Callable[[AWSPreparedRequest, float], tuple[int, dict[str, str], bytes]]

# The longest pause of botocore's standard mode, seconds.
_LONGEST_BACKOFF_S = 20.0
_ATTEMPTS = 3


class InProcessSession(boto3.Session):
    """A session with the researcher's keys; reads neither the environment's nor anybody's configuration.

    :param answer: answers every request.
    :param clock: passes while botocore waits between attempts.
    :param chance: of those waits.
    """

    def __init__(self, answer: Transport, clock: Clock, chance: random.Random, *, keys: tuple[str, str]) -> None:
        inner = botocore.session.Session(session_vars=_NO_USER_CONFIG)
        # Reading EC2's description takes a quarter of a second.
        inner.register_component("data_loader", _loader())
        super().__init__(*keys, region_name=HOME_REGION, botocore_session=inner)
        self._answer, self._clock, self._chance = answer, clock, chance
        self._call = threading.local()
        self.events.register("before-call", self._note_timeout)
        answering: Any = self._send
        self.events.register("before-send", answering)

    def client(self, *args: Any, **options: Any) -> Any:
        """A client, as any session makes it; its retries follow botocore's standard mode."""
        client = super().client(*args, **options)
        self._retry_in_virtual_time(client)
        return client

    def _note_timeout(self, params: dict[str, Any], **_: Any) -> None:
        self._call.timeout = params["context"]["client_config"].read_timeout

    def _send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        status, headers, body = self._answer(request, self._call.timeout)
        told: Any = headers
        return AWSResponse(request.url, status, told, _Body(body))

    def _retry_in_virtual_time(self, client: Any) -> None:
        """Let botocore decide whether to try again, and the cloud's clock pass until then.

        botocore sleeps for as long as the handler of this event says, on the real clock; so ours says 0.
        """
        given = client.meta.config.retries or {}
        attempts = given.get("total_max_attempts") or given.get("max_attempts", _ATTEMPTS - 1) + 1
        service = client.meta.service_model.service_id.hyphenize()
        event, name = f"needs-retry.{service}", f"retry-config-{service}"
        client.meta.events.unregister(event, unique_id=name)
        handler = standard.register_retry_handler(client, max_attempts=attempts)
        client.meta.events.unregister(event, unique_id=name)

        def needs_retry(**facts: Any) -> int | None:
            if handler.needs_retry(**facts) is None:
                return None
            longest = min(2.0 ** (facts["attempts"] - 1), _LONGEST_BACKOFF_S)
            self._clock.sleep(self._chance.random() * longest)
            return 0

        client.meta.events.register(event, needs_retry, unique_id=name)


class _Body(io.BytesIO):
    """An answer's body as urllib3 would hand it over."""

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.read()


# The session variables that would look at the environment or at files, looking nowhere.
_NO_USER_CONFIG = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}


@cache
def _loader() -> Any:
    return create_loader()


def wsgi_environ(request: AWSPreparedRequest) -> tuple[Environ, bytes]:
    """A request in the form that WSGI applications take, and its body."""
    url, body = urlsplit(request.url), _bytes(request.body)
    made: Environ = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(url.path or "/", "latin-1"),
        "QUERY_STRING": url.query,
        "RAW_URI": (url.path or "/") + (f"?{url.query}" if url.query else ""),
        "SERVER_NAME": url.hostname or "",
        "SERVER_PORT": str(url.port or 80),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": url.netloc,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": url.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in request.headers.items():
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_LENGTH", "TRANSFER_ENCODING"):
            text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
            made[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = text
    return made, body


def _bytes(body: Any) -> bytes:
    if hasattr(body, "read"):
        body = body.read()
    return body.encode() if isinstance(body, str) else bytes(body or b"")
