"""Asynchronous inference: requests wait in a queue, input comes from S3, output or failure goes there."""

from __future__ import annotations

import http.client
import json
import logging
import queue
import tempfile
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from localcloud.sagemaker.hosting.endpoints import Endpoint, first_server
from localcloud.sagemaker.hosting.servers import Answer, ModelServer, Site
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
    """Executes asynchronous requests, one at a time for each endpoint."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._queues: dict[str, queue.SimpleQueue[AsyncRequest]] = {}
        self._lock = threading.Lock()

    def put(self, endpoint: Endpoint, request: AsyncRequest) -> None:
        """Add a request; it is executed in the order of arrival."""
        with self._lock:
            waiting = self._queues.get(endpoint.arn)
            if waiting is None:
                self._queues[endpoint.arn] = waiting = queue.SimpleQueue()
                worker = threading.Thread(target=self._work, args=(endpoint, waiting), name="async", daemon=True)
                worker.start()
            waiting.put(request)

    def _work(self, endpoint: Endpoint, waiting: queue.SimpleQueue[AsyncRequest]) -> None:
        while True:
            request = waiting.get()
            try:
                self._execute(endpoint, request)
            except Exception:
                _log.exception("asynchronous request %s", request.inference_id)

    def _execute(self, endpoint: Endpoint, request: AsyncRequest) -> None:
        server = first_server(endpoint)
        if server is None:
            return
        role = server.model["ExecutionRoleArn"]
        storage = self.site.storage(role, f"async-{endpoint.name}", endpoint.region)
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

    def _ask(self, server: ModelServer, request: AsyncRequest, body: bytes) -> tuple[bytes, str]:
        """Return the content to write, and its place."""
        try:
            answer = server.request("POST", "/invocations", body, request.headers, TIMEOUT_S)
        except (OSError, http.client.HTTPException) as error:
            answer = Answer(0, {}, str(error).encode())
        if answer.status == 200:
            return answer.body, request.output_url
        return _failure(answer.status, answer.body.decode("utf-8", "replace")), request.failure_url


def _failure(status: int, message: str) -> bytes:
    facts = {"errorCode": "ModelError", "originalStatusCode": status, "message": message}
    return json.dumps(facts).encode()
