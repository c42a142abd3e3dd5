"""SageMaker's runtime service: invocations of endpoints, real-time and asynchronous."""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from localcloud.aws import wsgi
from localcloud.aws.ecr import ACCOUNT
from localcloud.aws.wsgi import Environ, StartResponse
from localcloud.sagemaker.hosting import rules
from localcloud.sagemaker.hosting.async_queue import AsyncQueue, AsyncRequest
from localcloud.sagemaker.hosting.endpoints import Endpoint, EndpointApi, log_stream_arn
from localcloud.sagemaker.hosting.interface import Answer

# Of the pages on real-time, serverless and asynchronous inference in https://docs.aws.amazon.com/sagemaker/latest/dg/
MAX_BODY_BYTES, MAX_SERVERLESS_BYTES, MAX_INLINE_ASYNC_BYTES = 6_291_456, 4 << 20, 128_000
# Headers of a request that a container gets, and of its answer that the client gets.
_PASSED = {
    "HTTP_X_AMZN_SAGEMAKER_CUSTOM_ATTRIBUTES": "X-Amzn-SageMaker-Custom-Attributes",
    "HTTP_X_AMZN_SAGEMAKER_INFERENCE_ID": "X-Amzn-SageMaker-Inference-Id",
    "HTTP_ACCEPT": "Accept",
    "CONTENT_TYPE": "Content-Type",
    # Asynchronous requests have these of their input in headers of their own.
    "HTTP_X_AMZN_SAGEMAKER_ACCEPT": "Accept",
    "HTTP_X_AMZN_SAGEMAKER_CONTENT_TYPE": "Content-Type",
}
_PREFIX = "HTTP_X_AMZN_SAGEMAKER_"
_CODES = {400: "400 Bad Request", 424: "424 Failed Dependency", 503: "503 Service Unavailable"}


class InvocationError(Exception):
    """An error of the runtime service.

    :param code: AWS's name of the error.
    """

    def __init__(self, code: str, message: str, status: int = 400, **fields: Any) -> None:
        super().__init__(message)
        self.code, self.message, self.status, self.fields = code, message, status, fields


class Runtime:
    """The runtime service, an application.

    :param endpoints: those that can be invoked.
    :param queue: executes asynchronous requests.
    """

    def __init__(self, endpoints: EndpointApi, queue: AsyncQueue) -> None:
        self.endpoints, self.queue = endpoints, queue

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        try:
            return self._answer(environ, start_response)
        except InvocationError as error:
            body = json.dumps({"message": error.message, "Message": error.message, **error.fields}).encode()
            headers = ("Content-Type", "application/json"), ("x-amzn-ErrorType", error.code)
            return wsgi.send_response(start_response, _CODES[error.status], body, *headers)

    def _answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        _, _, name, action, *_ = [*unquote(environ["PATH_INFO"]).split("/"), "", ""]
        endpoint = self._in_service(environ[wsgi.REGION], name)
        if action == "async-invocations":
            return self._enqueue(endpoint, environ, start_response)
        if action != "invocations":
            raise InvocationError("UnknownOperationException", f"{environ['PATH_INFO']} is not an operation")
        return self._invoke(endpoint, environ, start_response)

    def _in_service(self, region: str, name: str) -> Endpoint:
        endpoint = self.endpoints.endpoints.find(region, name)
        if endpoint is None:
            raise InvocationError("ValidationError", f"Endpoint {name} of account {ACCOUNT} not found.")
        if not endpoint.fleet or endpoint.status == "Deleting":
            message = f"Endpoint {name} of account {ACCOUNT} is in status {endpoint.status}, not InService."
            raise InvocationError("ValidationError", message)
        return endpoint

    def _invoke(self, endpoint: Endpoint, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if endpoint.is_async:
            message = f"Endpoint {endpoint.name} is for asynchronous inference: use InvokeEndpointAsync."
            raise InvocationError("ValidationError", message)
        body = environ["wsgi.input"].read()
        _check_size(body, MAX_SERVERLESS_BYTES if rules.is_serverless(endpoint.config) else MAX_BODY_BYTES)
        variant = environ.get(_PREFIX + "TARGET_VARIANT", "") or next(iter(endpoint.fleet))
        answer = self._ask(endpoint, variant, body, passed_headers(environ))
        headers = [("Content-Type", answer.headers.get("Content-Type", "application/octet-stream"))]
        headers += [
            (name, answer.headers[name]) for name in ("X-Amzn-SageMaker-Custom-Attributes",) if name in answer.headers
        ]
        headers.append(("x-Amzn-Invoked-Production-Variant", variant))
        return wsgi.send_response(start_response, "200 OK", answer.body, *headers)

    def _ask(self, endpoint: Endpoint, variant: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        if variant not in endpoint.fleet:
            raise InvocationError("ValidationError", f"Variant {variant} of endpoint {endpoint.name} not found.")
        endpoint.invocations.append((self.endpoints.environment.clock.now(), variant))
        server = endpoint.fleet[variant].next_server()
        if server is None:
            raise InvocationError("ServiceUnavailable", f"Variant {variant} has no instances.", 503)
        try:
            answer = server.request("POST", "/invocations", body, headers)
        except (OSError, http.client.HTTPException) as error:
            message = "Your invocation timed out while waiting for a response from container primary."
            raise _model_error(endpoint, message, 0, str(error)) from error
        if answer.status >= 400:
            text = answer.body.decode("utf-8", "replace")
            raise _model_error(endpoint, refusal(endpoint, answer.status, text), answer.status, text)
        return answer

    def _enqueue(self, endpoint: Endpoint, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if not endpoint.is_async:
            message = f"Endpoint {endpoint.name} is not for asynchronous inference."
            raise InvocationError("ValidationError", message)
        body, source = environ["wsgi.input"].read(), environ.get(_PREFIX + "INPUTLOCATION", "")
        if bool(body) == bool(source):
            raise InvocationError("ValidationError", "Specify either InputLocation or Body.")
        if len(body) > MAX_INLINE_ASYNC_BYTES:
            raise InvocationError("ValidationError", f"Body must have at most {MAX_INLINE_ASYNC_BYTES} bytes.")
        inference_id = environ.get(_PREFIX + "INFERENCE_ID") or str(uuid.uuid4())
        request = AsyncRequest.create(endpoint, inference_id, source, body, passed_headers(environ))
        self.queue.put(endpoint, request)
        headers = [("Content-Type", "application/json"), ("X-Amzn-SageMaker-OutputLocation", request.output_url)]
        if request.failure_url:
            headers.append(("X-Amzn-SageMaker-FailureLocation", request.failure_url))
        answer = json.dumps({"InferenceId": inference_id}).encode()
        return wsgi.send_response(start_response, "202 Accepted", answer, *headers)


def passed_headers(environ: Environ) -> dict[str, str]:
    """Return the headers of a request that a container gets."""
    return {name: environ[key] for key, name in _PASSED.items() if environ.get(key)}


def refusal(endpoint: Endpoint, status: int, text: str) -> str:
    """Return AWS's message on an error of a container."""
    side = "client error" if status < 500 else "server error"
    console = f"https://{endpoint.region}.console.aws.amazon.com/cloudwatch/home?region={endpoint.region}"
    return (
        f'Received {side} ({status}) from primary with message "{text}". See '
        f"{console}#logEventViewer:group={endpoint.log_group} in account {ACCOUNT} for more information."
    )


def _check_size(body: bytes, limit: int) -> None:
    if len(body) > limit:
        rule = f"Member must have length less than or equal to {limit}"
        message = f"1 validation error detected: Value at 'body' failed to satisfy constraint: {rule}"
        raise InvocationError("ValidationError", message)


def _model_error(endpoint: Endpoint, message: str, status: int, original: str) -> InvocationError:
    fields = {"OriginalStatusCode": status, "OriginalMessage": original, "LogStreamArn": log_stream_arn(endpoint)}
    return InvocationError("ModelError", message, 424, **fields)
