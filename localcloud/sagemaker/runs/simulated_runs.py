"""Runs of training jobs in virtual time, without processes: for a cloud within a test's process."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from localcloud.aws.ecr import ACCOUNT
from localcloud.ec2.environment import CloudEnvironment
from localcloud.sagemaker import logs
from localcloud.sagemaker.runs import layout
from localcloud.sagemaker.runs.execution import Outcome, RunEvents
from localcloud.sagemaker.storage import S3Url
from localcloud.sagemaker.training.record import TrainingJob

# Time of the stages before and after training, in seconds.
_DOWNLOAD_S, _UPLOAD_S = 30.0, 20.0
DEFAULT_TRAINING_S = 600.0


def _succeed(_: TrainingJob) -> tuple[float, int]:
    return DEFAULT_TRAINING_S, 0


def _no_lines(_: TrainingJob) -> list[str]:
    return []


def _no_files(_: TrainingJob) -> Mapping[str, bytes]:
    return {}


@dataclass
class SimulatedExecutor:
    """Executes runs by letting time pass; no input is read.

    :param behavior: returns for how many seconds a job trains, and its exit code; by default every job succeeds after
        ten minutes.
    :param lines: returns what each host of a job writes at its end; its metrics are read from it.
    :param files: returns the files of a job's model.
    """

    environment: CloudEnvironment
    behavior: Callable[[TrainingJob], tuple[float, int]] = _succeed
    lines: Callable[[TrainingJob], list[str]] = _no_lines
    files: Callable[[TrainingJob], Mapping[str, bytes]] = _no_files

    def start(self, job: TrainingJob, events: RunEvents) -> SimulatedRun:
        """Start a run."""
        run = SimulatedRun(self, job, events)
        run.begin(*self.behavior(job))
        return run

    def close(self) -> None:
        """Do nothing: the clock drops what is scheduled."""


@dataclass
class SimulatedRun:
    """A run of a job in virtual time; containers end at SIGTERM."""

    executor: SimulatedExecutor
    job: TrainingJob
    events: RunEvents
    _stopped: bool = False
    _uploading: bool = False

    def __post_init__(self) -> None:
        self._clock = self.executor.environment.clock

    def begin(self, training_s: float, exit_code: int) -> None:
        """Download, train for some seconds, and upload."""
        self.events.stage("Downloading")
        self._clock.after(_DOWNLOAD_S, self._train)
        self._clock.after(_DOWNLOAD_S + training_s, lambda: self._upload(exit_code))

    def stop(self, grace_s: float, *, uploads: bool = True) -> None:
        """End training at once."""
        del grace_s
        if self._uploading or self._stopped:
            return
        self._stopped = True
        self._clock.after(_UPLOAD_S if uploads else 0.0, lambda: self.events.ended(self._outcome(0, uploads)))

    def _train(self) -> None:
        if not self._stopped:
            self.events.stage("Training")

    def _upload(self, exit_code: int) -> None:
        if self._stopped:
            return
        self._uploading = True
        self._write_lines()
        self.events.stage("Uploading")
        self._clock.after(_UPLOAD_S, lambda: self.events.ended(self._outcome(exit_code, uploads=True)))

    def _write_lines(self) -> None:
        lines, now = self.executor.lines(self.job), self._clock.utc()
        self.job.metrics.read(lines, now)
        for host in layout.host_names(self.job.instance_count) if lines else ():
            name = f"{self.job.name}/{host}-{int(now.timestamp())}"
            logs.LogStream(self.executor.environment, self.job.region, logs.TRAINING_JOBS, name).write(lines)

    def _outcome(self, exit_code: int, uploads: bool) -> Outcome:
        url = self.job.request["OutputDataConfig"]["S3OutputPath"].rstrip("/")
        url = f"{url}/{self.job.name}/output/model.tar.gz" if uploads else ""
        if url and not _put(S3Url.parse(url), self.executor.files(self.job)):
            bucket = S3Url.parse(url).bucket
            return Outcome(exit_code, f"ClientError: Artifact upload failed:NoSuchBucket: {bucket}")
        failure = f"AlgorithmError: , exit code: {exit_code}" if exit_code else ""
        return Outcome(exit_code, failure, url)


def _put(url: S3Url, files: Mapping[str, bytes]) -> bool:
    """Write an archive to S3; return False if there is no such bucket."""
    from moto.s3.models import s3_backends

    backend = s3_backends[ACCOUNT]["aws"]
    if url.bucket not in backend.buckets:
        return False
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    backend.put_object(url.bucket, url.key, buffer.getvalue())
    return True
