"""The chain that a request passes before moto answers it: small WSGI wrappers, one concern each.

``endpoint.build`` stacks them. A wrapper takes the application below it and is itself one; whatever is to befall
requests on purpose (errors, delays, throttling) is one more wrapper in that stack.
"""

from __future__ import annotations

import io
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from localcloud.metadata import PREFIX, Metadata

Environ = dict[str, Any]
Respond = Callable[..., Any]
Application = Callable[[Environ, Respond], Iterable[bytes]]

_log = logging.getLogger(__name__)
_SCOPE = re.compile(r"Credential=[^/]+/\d+/([^/]*)/([^/]+)/")

# Set by ``read_whole`` on every request, for the wrappers further in.
ACTION, SERVICE = "localcloud.action", "localcloud.service"


def log_calls(below: Application) -> Application:
    """Write one line per API call: what was asked, the answer's status, and how long it took."""

    def application(environ: Environ, respond: Respond) -> Iterable[bytes]:
        began, seen = time.monotonic(), ["-"]

        def note(status: str, *rest: Any) -> Any:
            seen[0] = status.split()[0]
            return respond(status, *rest)

        answer = below(environ, note)
        if not environ["PATH_INFO"].startswith(PREFIX):
            took = (time.monotonic() - began) * 1000
            _log.info("%s %s %s %.0f ms", environ.get(SERVICE) or "-", environ.get(ACTION), seen[0], took)
        return answer

    return application


def read_whole(below: Application) -> Application:
    """Read a request's body before any lock is taken, so that a slow sender delays nobody else."""

    def application(environ: Environ, respond: Respond) -> Iterable[bytes]:
        length = environ.get("CONTENT_LENGTH")
        chunked = environ.pop("HTTP_TRANSFER_ENCODING", "").lower() == "chunked"
        body = environ["wsgi.input"].read() if chunked else environ["wsgi.input"].read(int(length or 0))
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
        scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
        environ[SERVICE] = scope.group(2).lower() if scope else ""
        environ[ACTION] = _action(environ, body)
        return below(environ, respond)

    return application


def _action(environ: Environ, body: bytes) -> str:
    if target := environ.get("HTTP_X_AMZ_TARGET"):
        return str(target).rpartition(".")[2]
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        # User data makes a body long; the action stands in front.
        return parse_qs(body[:200].decode("latin-1")).get("Action", ["-"])[0]
    return f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"


def catch_errors(below: Application) -> Application:
    """Answer what moto cannot do, or breaks on, with an error in EC2's form; the log keeps the traceback."""

    def application(environ: Environ, respond: Respond) -> Iterable[bytes]:
        try:
            return below(environ, respond)
        except NotImplementedError as error:
            # Not 500: asking again would not help, and AWS libraries would.
            _log.warning("%s: %s", environ.get(ACTION), error)
            return _fail(respond, "501 Not Implemented", "NotImplemented", str(error))
        except Exception as error:
            _log.exception("%s failed", environ.get(ACTION))
            return _fail(respond, "500 Internal Server Error", "InternalError", f"{type(error).__name__}: see the log")

    return application


def _fail(respond: Respond, status: str, code: str, message: str) -> Iterable[bytes]:
    error = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    text = f"<Response><Errors>{error}</Errors><RequestID>0</RequestID></Response>"
    return _say(respond, status, text.encode(), ("Content-Type", "text/xml"))


def serve_metadata(below: Application, metadata: Metadata, lock: threading.RLock) -> Application:
    """Answer the paths of the instance metadata service."""

    def application(environ: Environ, respond: Respond) -> Iterable[bytes]:
        if not environ["PATH_INFO"].startswith(PREFIX):
            return below(environ, respond)
        with lock:
            answer = metadata.answer(environ["REQUEST_METHOD"], environ["PATH_INFO"], environ)
        return _say(respond, answer.status, answer.body, ("Content-Type", "text/plain"), *answer.headers)

    return application


def serve_page(below: Application, path: str, page: Callable[[], bytes]) -> Application:
    """Answer one path with the JSON document that ``page`` makes."""

    def application(environ: Environ, respond: Respond) -> Iterable[bytes]:
        if environ["PATH_INFO"] != path:
            return below(environ, respond)
        return _say(respond, "200 OK", page(), ("Content-Type", "application/json"))

    return application


def one_at_a_time(below: Application, lock: threading.RLock) -> Application:
    """Let one request at a time into moto, whose backends are plain dictionaries.

    S3 has a lock of its own: a large object must not hold up the instances.
    """
    storage = threading.RLock()

    def application(environ: Environ, respond: Respond) -> Iterable[bytes]:
        # Requests without a signature are presigned or anonymous ones to S3.
        with storage if environ[SERVICE] in ("", "s3") else lock:
            answer = below(environ, respond)
            return list(answer)

    return application


def _say(respond: Respond, status: str, body: bytes, *headers: tuple[str, str]) -> Iterable[bytes]:
    respond(status, [*headers, ("Content-Length", str(len(body)))])
    return [body]
