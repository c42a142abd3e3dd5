"""Servers of models: containers that get the unpacked model, pass SageMaker's health check and answer requests."""

from __future__ import annotations

import http.client
import shutil
import socket
import tarfile
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from localcloud.aws.wsgi import Params
from localcloud.ec2.environment import CloudEnvironment
from localcloud.sagemaker import roles
from localcloud.sagemaker.containers.engine import Container, ContainerEngine
from localcloud.sagemaker.containers.spec import ContainerSpec
from localcloud.sagemaker.hosting.interface import (
    DEFAULT_START_TIMEOUT_S,
    INVOCATION_TIMEOUT_S,
    Answer,
    OnOutput,
    StartFailed,
)
from localcloud.sagemaker.storage import S3Url, Storage, TransferError

# Stands for the image's own `serve`, which hands over to this script of the model as well.
COMMAND = ("sh", "/opt/ml/model/stratus/serve.sh")
PING_TIMEOUT_S = 2.0
STOP_GRACE_S = 30.0
_POLL_S = 0.05


@dataclass(frozen=True)
class ProcessSite:
    """Containers of models that are processes of this computer, and the cloud they belong to.

    :param folder: for their disks.
    :param endpoint: URL of the cloud.
    :param take_address: returns a loopback address that no other container uses.
    """

    environment: CloudEnvironment
    engine: ContainerEngine
    folder: Path
    endpoint: str
    take_address: Callable[[], str]

    def storage(self, role_arn: str, session: str, region: str) -> Storage:
        """Return S3 as a role sees it."""
        with self.environment.lock:
            return Storage(self.endpoint, region, roles.credentials(role_arn, session, region))

    def server(self, model: Params, region: str, variables: Mapping[str, str], on_output: OnOutput) -> ModelServer:
        """Return a container for a model; it is not started."""
        return ModelServer(self, model, region, variables, on_output)

    def begin(self, action: Callable[[], None], name: str) -> None:
        """Execute an action in a thread of its own."""
        threading.Thread(target=action, name=name, daemon=True).start()

    def close(self) -> None:
        """Remove the containers' disks."""
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass
class ModelServer:
    """One container that serves a model.

    :param model: the request that created the model.
    :param variables: on top of the model's own.
    :param on_output: called with lines of its log.
    """

    site: ProcessSite
    model: Params
    region: str
    variables: Mapping[str, str]
    on_output: OnOutput
    _container: Container | None = None
    _port: int = 0
    _stopped: bool = False
    name: str = field(default_factory=lambda: f"serve-{uuid.uuid4().hex[:12]}")

    @property
    def role_arn(self) -> str:
        """Execution role of its model."""
        return str(self.model["ExecutionRoleArn"])

    def start(self, timeout_s: float = DEFAULT_START_TIMEOUT_S) -> None:
        """Start the container and wait until it passes the health check.

        :raises StartFailed: it does not.
        """
        self._address = self.site.take_address()
        container_model = primary(self.model)
        try:
            storage = self.site.storage(self.role_arn, self.name, self.region)
            self._unpack(storage, container_model.get("ModelDataUrl", ""))
            variables = self._variables(container_model, storage)
        except (TransferError, tarfile.TarError, OSError) as error:
            raise StartFailed(f"Failed to download model data for container: {error}") from error
        addresses = {"model": self._address}
        image = container_model.get("Image", "")
        spec = ContainerSpec("model", self._folder, COMMAND, variables, addresses, read_only=("model",), image=image)
        self._container = self.site.engine.start(spec, lambda lines: self.on_output(lines))
        self._wait_until_ready(timeout_s)

    @property
    def _folder(self) -> Path:
        return self.site.folder / self.name

    def _unpack(self, storage: Storage, url: str) -> None:
        target = self._folder / "ml/model"
        target.mkdir(parents=True)
        if not url:
            return
        archive, source = self._folder / "model.tar.gz", S3Url.parse(url)
        storage.download(source.bucket, source.key, archive)
        with tarfile.open(archive) as tar:
            tar.extractall(target, filter="data")
        archive.unlink()

    def _variables(self, model: Params, storage: Storage) -> dict[str, str]:
        self._port = _free_port(self._address)
        return {
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL": self.site.endpoint,
            **storage.credentials,
            # Containers share this computer's network: the server must not take a port of all its addresses.
            "SAGEMAKER_BIND_TO_PORT": str(self._port),
            "STRATUS_BIND_TO_ADDRESS": self._address,
            **self.variables,
            **model.get("Environment", {}),
        }

    def _wait_until_ready(self, timeout_s: float) -> None:
        assert self._container is not None
        clock = self.site.environment.clock
        deadline = clock.now() + timeout_s
        while not self._stopped and clock.now() < deadline:
            if self._container.wait(0) is not None:
                break
            if self._is_healthy():
                return
            clock.sleep(_POLL_S)
        raise StartFailed(
            "The primary container for production variant AllTraffic did not pass the ping health check. "
            "Please check CloudWatch logs for this endpoint."
        )

    def _is_healthy(self) -> bool:
        try:
            return self.request("GET", "/ping", timeout_s=PING_TIMEOUT_S).status == 200
        except (OSError, http.client.HTTPException):
            return False

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
        connection = http.client.HTTPConnection(self._address, self._port, timeout=timeout_s)
        try:
            connection.request(method, path, body or None, dict(headers or {}))
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def stop(self) -> None:
        """Stop the container: SIGTERM, and SIGKILL after 30 s; its disk is removed."""
        self._stopped = True
        if self._container is not None:
            self._container.terminate()
            if self._container.wait(STOP_GRACE_S) is None:
                self._container.kill()
                self._container.wait(STOP_GRACE_S)
        shutil.rmtree(self._folder, ignore_errors=True)


def primary(model: Params) -> Params:
    """Return the container of a model, the first one of a pipeline."""
    containers: list[Params] = model.get("Containers") or [model.get("PrimaryContainer", {})]
    return containers[0]


def _free_port(address: str) -> int:
    with socket.create_server((address, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
