"""Models served in virtual time, without processes: for a cloud within a test's process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from localcloud.aws.ecr import ACCOUNT
from localcloud.aws.wsgi import Params
from localcloud.ec2.environment import CloudEnvironment
from localcloud.sagemaker.hosting.interface import (
    DEFAULT_START_TIMEOUT_S,
    INVOCATION_TIMEOUT_S,
    Answer,
    OnOutput,
    StartFailed,
)
from localcloud.sagemaker.storage import S3Url, TransferError

# Time until a container passes its health check, and that of a batch transform, in seconds.
START_S = 150.0


def _succeed(_: Params) -> bool:
    return True


def _echo(body: bytes) -> tuple[int, bytes]:
    return 200, body


@dataclass
class SimulatedSite:
    """Containers that answer by a function, once time has passed.

    :param is_healthy: returns whether the container of a model passes its health check.
    :param answer: returns status and body of the answer to a request.
    :param start_s: time until an action beside the caller is executed, in seconds.
    """

    environment: CloudEnvironment
    is_healthy: Callable[[Params], bool] = _succeed
    answer: Callable[[bytes], tuple[int, bytes]] = _echo
    start_s: float = START_S

    def server(self, model: Params, region: str, variables: Mapping[str, str], on_output: OnOutput) -> SimulatedServer:
        """Return a container for a model; it is not started."""
        del region, variables
        return SimulatedServer(self, model, on_output)

    def storage(self, role_arn: str, session: str, region: str) -> SimulatedStorage:
        """Return S3; permissions are not checked."""
        del role_arn, session, region
        return SimulatedStorage()

    def begin(self, action: Callable[[], None], name: str) -> None:
        """Execute an action when time has passed."""
        del name
        self.environment.clock.after(self.start_s, action)

    def close(self) -> None:
        """Do nothing: there are no disks."""


@dataclass
class SimulatedServer:
    """A container without a process."""

    site: SimulatedSite
    model: Params
    on_output: OnOutput

    @property
    def role_arn(self) -> str:
        """Execution role of its model."""
        return str(self.model["ExecutionRoleArn"])

    def start(self, timeout_s: float = DEFAULT_START_TIMEOUT_S) -> None:
        """Pass the health check, or not."""
        del timeout_s
        if not self.site.is_healthy(self.model):
            self.on_output(["serve: the model cannot be loaded"])
            raise StartFailed(
                "The primary container for production variant AllTraffic did not pass the ping health check."
            )

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = INVOCATION_TIMEOUT_S,
    ) -> Answer:
        """Return the site's answer."""
        del method, path, timeout_s
        status, content = self.site.answer(body)
        return Answer(status, {"Content-Type": (headers or {}).get("Content-Type", "text/plain")}, content)

    def stop(self) -> None:
        """Do nothing: there is no process."""


class SimulatedStorage:
    """S3 without permissions: moto's own records."""

    def keys(self, url: S3Url) -> list[str]:
        """Return the keys that begin with the URL's key, in order."""
        return sorted(key for key in _keys(url.bucket) if key.startswith(url.key) and not key.endswith("/"))

    def download(self, bucket: str, key: str, path: Path) -> None:
        """Write an object to a file, whose folders are created."""
        from moto.s3.models import s3_backends

        path.parent.mkdir(parents=True, exist_ok=True)
        if key not in _keys(bucket):
            raise TransferError(f"Data download failed:NoSuchKey: {key}")
        path.write_bytes(s3_backends[ACCOUNT]["aws"].buckets[bucket].keys[key].value)

    def upload(self, path: Path, url: S3Url) -> None:
        """Write a file to an object."""
        from moto.s3.models import s3_backends

        _keys(url.bucket)
        s3_backends[ACCOUNT]["aws"].put_object(url.bucket, url.key, path.read_bytes())


def _keys(bucket: str) -> list[str]:
    from moto.s3.models import s3_backends

    buckets = s3_backends[ACCOUNT]["aws"].buckets
    if bucket not in buckets:
        raise TransferError(f"Data download failed:NoSuchBucket: {bucket}")
    return list(buckets[bucket].keys)
