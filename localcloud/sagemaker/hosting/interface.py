"""Interface between hosting and the place where models are served: processes, or virtual time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from localcloud.aws.wsgi import Params
from localcloud.ec2.environment import CloudEnvironment
from localcloud.sagemaker.storage import S3Url

DEFAULT_START_TIMEOUT_S = 480.0
INVOCATION_TIMEOUT_S = 60.0

OnOutput = Callable[[Sequence[str]], None]
"""Called with lines of a container's log."""


class StartFailed(Exception):
    """A container could not be started; the message is SageMaker's FailureReason."""


@dataclass(frozen=True)
class Answer:
    """Answer of a container."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Server(Protocol):
    """One container that serves a model."""

    @property
    def role_arn(self) -> str:
        """Execution role of its model."""
        ...

    def start(self, timeout_s: float = DEFAULT_START_TIMEOUT_S) -> None:
        """Start the container and wait until it passes the health check.

        :raises StartFailed: it does not.
        """
        ...

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = INVOCATION_TIMEOUT_S,
    ) -> Answer:
        """Send a request to the container.

        :raises OSError: it does not answer.
        """
        ...

    def stop(self) -> None:
        """Stop the container; its disk is removed."""
        ...


class ObjectStorage(Protocol):
    """S3 as a role sees it."""

    def keys(self, url: S3Url) -> list[str]:
        """Return the keys that begin with the URL's key, in order.

        :raises TransferError: the bucket cannot be listed.
        """
        ...

    def download(self, bucket: str, key: str, path: Path) -> None:
        """Write an object to a file.

        :raises TransferError: it cannot be read.
        """
        ...

    def upload(self, path: Path, url: S3Url) -> None:
        """Write a file to an object.

        :raises TransferError: it cannot be written.
        """
        ...


class Site(Protocol):
    """Place where models are served."""

    @property
    def environment(self) -> CloudEnvironment:
        """The cloud it belongs to."""
        ...

    def server(self, model: Params, region: str, variables: Mapping[str, str], on_output: OnOutput) -> Server:
        """Return a container for a model; it is not started.

        :param model: the request that created the model.
        :param variables: on top of the model's own.
        """
        ...

    def storage(self, role_arn: str, session: str, region: str) -> ObjectStorage:
        """Return S3 as a role sees it."""
        ...

    def begin(self, action: Callable[[], None], name: str) -> None:
        """Execute an action that may take long, such as the start of a container, beside the caller.

        :param name: for a display.
        """
        ...

    def close(self) -> None:
        """Remove what is left of the containers."""
        ...
