"""Wrappers that carry the bytes of S3 objects past moto, which reads whole objects into memory.

``receive_bodies`` is the outermost wrapper of the chain, so that a slow sender holds no lock; ``handle`` is the
innermost, so that faults, records and dates apply to S3 as to any other service.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from typing import Any

from localcloud.aws.error_responses import ApiError
from localcloud.aws.wsgi import Application, StartResponse
from localcloud.core.clock import Clock
from localcloud.s3 import callers, objects, requests
from localcloud.s3.content import Content
from localcloud.s3.objects import Transfer
from localcloud.s3.receive import Receiver
from localcloud.s3.requests import Environ

# Of one request: its body, or the error that receiving it ended with; and the bytes of its answer.
BODY, ANSWER = "localcloud.s3.body", "localcloud.s3.answer"


def receive_bodies(inner: Application) -> Application:
    """Receive an object's bytes into a file, and send those of an answer from one."""
    receiver = Receiver()

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if requests.writes_object(environ):
            try:
                environ[BODY] = receiver.receive(environ)
            except ApiError as error:
                # Raised by the innermost wrapper, where it gets its format.
                environ[BODY] = error
            environ.pop("HTTP_TRANSFER_ENCODING", None)
            environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(), "0"
        status_line: list[str] = []

        def capture(status: str, *rest: Any) -> Any:
            status_line.append(status)
            return start_response(status, *rest)

        body = inner(environ, capture)
        content: Content | None = environ.get(ANSWER)
        return content.chunks() if content is not None and status_line[-1].startswith("20") else body

    return application


def handle(inner: Application, clock: Clock) -> Application:
    """Let moto handle a request to S3 without the object's bytes.

    :param clock: AWS's time, at which presigned URLs expire.
    """
    objects.install()
    callers.install()

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        callers.check(environ, clock.utc())
        if not _is_s3(environ):
            return inner(environ, start_response)
        query = requests.query(environ)
        if requests.writes_object(environ) and "uploadId" in query:
            objects.check_upload(environ["PATH_INFO"], query["uploadId"][0])
        head: list[Any] = []
        with objects.handling(_transfer(environ)) as transfer:
            body = list(inner(environ, lambda *fields: head.extend(fields)))
        if transfer.taken is not None and head[0].startswith("20"):
            environ[ANSWER] = transfer.taken
            _set_length(head, transfer.taken.size)
        elif "uploadId" in query and environ["REQUEST_METHOD"] == "GET":
            body = [objects.add_checksums(environ["PATH_INFO"], query["uploadId"][0], b"".join(body))]
            _set_length(head, len(body[0]))
        start_response(*head)
        return body

    return application


def _is_s3(environ: Environ) -> bool:
    writes_or_reads = requests.writes_object(environ) or requests.reads_object(environ)
    return writes_or_reads or bool(re.search(r"/s3/aws4_request", environ.get("HTTP_AUTHORIZATION", "")))


def _transfer(environ: Environ) -> Transfer:
    body = environ.get(BODY)
    if isinstance(body, ApiError):
        raise body
    if body is not None:
        _declare(environ, body.checksums)
    takes = "answer" if requests.reads_object(environ) else "copy" if requests.copies_object(environ) else ""
    wants_checksum = environ.get("HTTP_X_AMZ_CHECKSUM_MODE") == "ENABLED"
    return Transfer(body, takes, None, _copy_range(environ), _expected(environ), wants_checksum)


def _declare(environ: Environ, checksums: Mapping[str, str]) -> None:
    """Give moto the checksum that was computed, and a body without frames."""
    for algorithm, value in checksums.items():
        environ["HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM"] = algorithm
        environ[f"HTTP_X_AMZ_CHECKSUM_{algorithm}"] = value
    if "HTTP_X_AMZ_DECODED_CONTENT_LENGTH" in environ:
        environ["HTTP_X_AMZ_DECODED_CONTENT_LENGTH"] = "0"


def _copy_range(environ: Environ) -> tuple[int, int] | None:
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", environ.get("HTTP_X_AMZ_COPY_SOURCE_RANGE", ""))
    return (int(match[1]), int(match[2]) + 1) if match else None


def _expected(environ: Environ) -> dict[str, str]:
    if environ["REQUEST_METHOD"] != "POST":
        return {}
    names = {"CRC32": "HTTP_X_AMZ_CHECKSUM_CRC32", "size": "HTTP_X_AMZ_MP_OBJECT_SIZE"}
    return {key: environ[name] for key, name in names.items() if environ.get(name)}


def _set_length(head: list[Any], size: int) -> None:
    others = [field for field in head[1] if field[0].lower() != "content-length"]
    head[1] = [*others, ("Content-Length", str(size))]
