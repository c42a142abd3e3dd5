"""boto3 session whose requests stay within this process, and whose retries wait in virtual time."""

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

# Takes a request and the client's read timeout in seconds; returns status, headers and body, or raises the errors of
# botocore's own transport.
Transport = Callable[[AWSPreparedRequest, float], tuple[int, dict[str, str], bytes]]

# Longest backoff of botocore's standard retry mode, in seconds.
_LONGEST_BACKOFF_S = 20.0
_ATTEMPTS = 3


class InProcessSession(boto3.Session):
    """A session with the user's keys that reads neither environment variables nor files.

    :param transport: answers every request.
    :param clock: time that passes while botocore waits between attempts.
    :param random_source: draws these waits.
    :param keys: access key id and secret access key.
    :param token: session token of temporary keys.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        random_source: random.Random,
        *,
        keys: tuple[str, str],
        token: str | None = None,
    ) -> None:
        botocore_session = botocore.session.Session(session_vars=_NO_USER_CONFIG)
        # Loading EC2's service description takes a quarter of a second, so sessions share the loader.
        botocore_session.register_component("data_loader", _loader())
        super().__init__(*keys, token, region_name=HOME_REGION, botocore_session=botocore_session)
        self._transport, self._clock, self._random = transport, clock, random_source
        self._call = threading.local()
        # The event before sending does not carry the client's configuration.
        self.events.register("before-call", self._note_timeout)
        handler: Any = self._send
        self.events.register("before-send", handler)

    def client(self, *args: Any, **options: Any) -> Any:
        """Return a client; its retries follow botocore's standard mode."""
        client = super().client(*args, **options)
        self._retry_in_virtual_time(client)
        return client

    def _note_timeout(self, params: dict[str, Any], **_: Any) -> None:
        self._call.timeout = params["context"]["client_config"].read_timeout

    def _send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        status, headers, body = self._transport(request, self._call.timeout)
        typed_headers: Any = headers
        return AWSResponse(request.url, status, typed_headers, _Body(body))

    def _retry_in_virtual_time(self, client: Any) -> None:
        """Let botocore decide whether to retry, and let virtual time pass until then.

        botocore sleeps on the real clock for as long as this event's handler returns, so the handler returns 0.
        """
        retry_config = client.meta.config.retries or {}
        attempts = retry_config.get("total_max_attempts") or retry_config.get("max_attempts", _ATTEMPTS - 1) + 1
        service = client.meta.service_model.service_id.hyphenize()
        event, name = f"needs-retry.{service}", f"retry-config-{service}"
        client.meta.events.unregister(event, unique_id=name)
        handler = standard.register_retry_handler(client, max_attempts=attempts)
        client.meta.events.unregister(event, unique_id=name)

        def needs_retry(**facts: Any) -> int | None:
            if handler.needs_retry(**facts) is None:
                return None
            longest_s = min(2.0 ** (facts["attempts"] - 1), _LONGEST_BACKOFF_S)
            self._clock.sleep(self._random.random() * longest_s)
            return 0

        client.meta.events.register(event, needs_retry, unique_id=name)


class _Body(io.BytesIO):
    """A response body with the interface of urllib3."""

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.read()


# Session variables that botocore reads from the environment and files, set to fixed values.
_NO_USER_CONFIG = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}


@cache
def _loader() -> Any:
    return create_loader()


def wsgi_environ(request: AWSPreparedRequest) -> tuple[Environ, bytes]:
    """Return a request as a WSGI environment, and its body."""
    url, body = urlsplit(request.url), _bytes(request.body)
    environ: Environ = {
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
            environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = text
    return environ, body


def _bytes(body: Any) -> bytes:
    if hasattr(body, "read"):
        body = body.read()
    return body.encode() if isinstance(body, str) else bytes(body or b"")
