"""Log streams of jobs and endpoints, in moto's CloudWatch Logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC

from localcloud.aws.ecr import ACCOUNT
from localcloud.ec2.environment import CloudEnvironment

TRAINING_JOBS = "/aws/sagemaker/TrainingJobs"


@dataclass(frozen=True)
class LogStream:
    """One log stream; it exists from its first lines on, as with SageMaker.

    :param group: name of the log group, which is created with it.
    """

    environment: CloudEnvironment
    region: str
    group: str
    name: str

    def write(self, lines: Sequence[str]) -> None:
        """Append lines with the time of the cloud's clock."""
        from moto.logs.models import logs_backends

        now_ms = int(self.environment.clock.utc().replace(tzinfo=UTC).timestamp() * 1000)
        # CloudWatch Logs refuses empty messages; agents send a blank in their place.
        events = [{"timestamp": now_ms, "message": line.rstrip("\r") or " "} for line in lines]
        with self.environment.lock:
            backend = logs_backends[ACCOUNT][self.region]
            backend.ensure_log_group(self.group)
            group = backend.groups[self.group]
            if self.name not in group.streams:
                group.create_log_stream(self.name)
            group.streams[self.name].put_log_events(events)
