"""Asynchronous inference: requests wait in a queue, input comes from S3, output or failure goes there."""

from __future__ import annotations

import http.client
import json
import logging
import tempfile
import threading
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from localcloud.sagemaker.hosting.endpoints import Endpoint
from localcloud.sagemaker.hosting.interface import Answer, Server, Site
from localcloud.sagemaker.storage import S3Url, TransferError

# The default of asynchronous inference; a model may take up to an hour.
TIMEOUT_S = 900.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AsyncRequest:
    """One request.

    :param source: S3 URL of the input; empty for ``body``.
    :param failure_url: where a failure is written; empty for nowhere.
    """

    inference_id: str
    source: str
    body: bytes
    headers: Mapping[str, str]
    output_url: str
    failure_url: str

    @classmethod
    def create(
        cls, endpoint: Endpoint, inference_id: str, source: str, body: bytes, headers: Mapping[str, str]
    ) -> AsyncRequest:
        """Return a request with the places of its answer."""
        output, number = endpoint.config["AsyncInferenceConfig"]["OutputConfig"], uuid.uuid4()
        failure = output.get("S3FailurePath", "")
        return cls(
            inference_id,
            source,
            body,
            headers,
            f"{output['S3OutputPath'].rstrip('/')}/{number}.out",
            f"{failure.rstrip('/')}/{number}-error.out" if failure else "",
        )


class AsyncQueue:
    """Executes asynchronous requests, one at a time for each endpoint; they wait while it has no instances."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._waiting: dict[str, deque[AsyncRequest]] = {}
        self._working: set[str] = set()
        self._lock = threading.Lock()

    def put(self, endpoint: Endpoint, request: AsyncRequest) -> None:
        """Add a request; it is executed in the order of arrival."""
        with self._lock:
            self._waiting.setdefault(endpoint.arn, deque()).append(request)
        self.resume(endpoint)

    def backlog(self, endpoint: Endpoint) -> int:
        """Return the number of requests that wait, or are being executed."""
        with self._lock:
            return len(self._waiting.get(endpoint.arn, ()))

    def resume(self, endpoint: Endpoint) -> None:
        """Execute what waits, if nothing does so already and there are instances."""
        with self._lock:
            if endpoint.arn in self._working or not self._waiting.get(endpoint.arn) or _server(endpoint) is None:
                return
            self._working.add(endpoint.arn)
        self.site.begin(lambda: self._work(endpoint), "async")

    def _work(self, endpoint: Endpoint) -> None:
        while (request := self._next(endpoint)) is not None:
            server = _server(endpoint)
            assert server is not None
            try:
                self._execute(endpoint, server, request)
            except Exception:
                _log.exception("asynchronous request %s", request.inference_id)
            with self._lock:
                self._waiting[endpoint.arn].popleft()

    def _next(self, endpoint: Endpoint) -> AsyncRequest | None:
        """Return the next request; None ends the work."""
        with self._lock:
            waiting = self._waiting[endpoint.arn]
            if waiting and _server(endpoint) is not None:
                return waiting[0]
            self._working.discard(endpoint.arn)
            return None

    def _execute(self, endpoint: Endpoint, server: Server, request: AsyncRequest) -> None:
        storage = self.site.storage(server.role_arn, f"async-{endpoint.name}", endpoint.region)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "content"
            try:
                if request.source:
                    source = S3Url.parse(request.source)
                    storage.download(source.bucket, source.key, file)
                content, target = self._ask(server, request, file.read_bytes() if request.source else request.body)
            except TransferError as error:
                content, target = _failure(0, str(error)), request.failure_url
            if target:
                file.write_bytes(content)
                storage.upload(file, S3Url.parse(target))

    def _ask(self, server: Server, request: AsyncRequest, body: bytes) -> tuple[bytes, str]:
        """Return the content to write, and its place."""
        try:
            answer = server.request("POST", "/invocations", body, request.headers, TIMEOUT_S)
        except (OSError, http.client.HTTPException) as error:
            answer = Answer(0, {}, str(error).encode())
        if answer.status == 200:
            return answer.body, request.output_url
        return _failure(answer.status, answer.body.decode("utf-8", "replace")), request.failure_url


def _server(endpoint: Endpoint) -> Server | None:
    """Return a container of the endpoint's only variant; None if it has none."""
    variant = next(iter(endpoint.fleet.values()), None)
    return variant.next_server() if variant else None


def _failure(status: int, message: str) -> bytes:
    facts = {"errorCode": "ModelError", "originalStatusCode": status, "message": message}
    return json.dumps(facts).encode()
