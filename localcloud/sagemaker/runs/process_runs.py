"""Runs of training jobs as containers on this computer: download, train, upload."""

from __future__ import annotations

import logging
import queue
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from localcloud.ec2.environment import CloudEnvironment
from localcloud.sagemaker import logs, roles
from localcloud.sagemaker.containers.engine import Container, ContainerEngine
from localcloud.sagemaker.containers.spec import ContainerSpec
from localcloud.sagemaker.storage import S3Url, Storage, TransferError
from localcloud.sagemaker.runs import inputs, layout, pipes
from localcloud.sagemaker.runs.checkpoints import CheckpointSync
from localcloud.sagemaker.runs.execution import Outcome, RunEvents
from localcloud.sagemaker.training.record import TrainingJob

_DEFAULT_COMMAND = ("train",)
_KILLED = 137

_log = logging.getLogger(__name__)


@dataclass
class ProcessExecutor:
    """Executes runs as processes.

    :param folder: for the disks of instances; those of a run are removed after it.
    :param endpoint: URL of the cloud, for the jobs' own calls.
    :param addresses: returns a number of loopback addresses that no other job uses.
    :param shared: folder of the shared file systems, by their ids.
    """

    environment: CloudEnvironment
    engine: ContainerEngine
    folder: Path
    endpoint: str
    addresses: Callable[[int], list[str]]
    shared: Path

    def start(self, job: TrainingJob, events: RunEvents) -> ProcessRun:
        """Start a run on a thread of its own."""
        run = ProcessRun(self, job, events)
        threading.Thread(target=run.execute, name=f"job {job.name}", daemon=True).start()
        return run

    def close(self) -> None:
        """Kill every container, and remove the disks."""
        self.engine.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass
class ProcessRun:
    """One run of a job."""

    executor: ProcessExecutor
    job: TrainingJob
    events: RunEvents
    uploads: bool = True
    _stopped: threading.Event = field(default_factory=threading.Event)
    _containers: dict[str, Container] = field(default_factory=dict)
    _file_systems: tuple[Path, ...] = ()
    _exits: queue.SimpleQueue[tuple[str, int]] = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        self.hosts = layout.host_names(self.job.instance_count)
        self.folder = self.executor.folder / f"{self.job.region}-{self.job.name}-{self.job.interruptions}"

    def stop(self, grace_s: float, *, uploads: bool = True) -> None:
        """Send SIGTERM to the containers, and SIGKILL after the grace."""
        self.uploads = self.uploads and uploads
        self._stopped.set()
        for container in list(self._containers.values()):
            container.terminate()
        self.executor.environment.clock.after(grace_s, self._kill)

    def _kill(self) -> None:
        for container in list(self._containers.values()):
            container.kill()

    def execute(self) -> None:
        """Run to the end, and report the outcome."""
        try:
            outcome = self._outcome()
        except TransferError as error:
            outcome = Outcome(failure=f"ClientError: {error}")
        except Exception:
            _log.exception("job %s", self.job.name)
            outcome = Outcome(failure="InternalServerError: We encountered an internal error. Please try again.")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.events.ended(outcome)

    def _outcome(self) -> Outcome:
        role = self.job.request["RoleArn"]
        with self.executor.environment.lock:
            keys = roles.credentials(role, self.job.name, self.job.region)
        storage = Storage(self.executor.endpoint, self.job.region, keys)
        self.events.stage("Downloading")
        folders = {host: self.folder / host for host in self.hosts}
        inputs.download(storage, self.job, folders)
        self._file_systems = tuple(inputs.link_shared(self.executor.shared, self.job, folders))
        for host in self.hosts:
            layout.write_configuration(self._ml(host), self.job, host, self.hosts)
        with self._checkpoints(storage), self._pipes():
            if self._stopped.is_set():
                return Outcome()
            self.events.stage("Training")
            failed_host, code = self._train(self._environment(keys))
        # Read before the upload, which may fail as well.
        reason = layout.failure_reason(self._ml(failed_host), code) if code else ""
        if not self.uploads:
            return Outcome(code, reason)
        self.events.stage("Uploading")
        return Outcome(code, reason, self._upload(storage))

    def _ml(self, host: str) -> Path:
        return self.folder / host / "ml"

    def _checkpoints(self, storage: Storage) -> AbstractContextManager[None]:
        config = self.job.request.get("CheckpointConfig")
        if config is None:
            return nullcontext()
        path = layout.checkpoint_path(config)
        return CheckpointSync(storage, config["S3Uri"], {host: self._ml(host) / path for host in self.hosts})

    @contextmanager
    def _pipes(self) -> Iterator[None]:
        with ExitStack() as stack:
            for host in self.hosts:
                stack.enter_context(pipes.opened(self.folder / host))
            yield

    def _environment(self, keys: Mapping[str, str]) -> dict[str, str]:
        return {
            "TRAINING_JOB_NAME": self.job.name,
            "TRAINING_JOB_ARN": self.job.arn,
            "AWS_REGION": self.job.region,
            "AWS_DEFAULT_REGION": self.job.region,
            "AWS_ENDPOINT_URL": self.executor.endpoint,
            **keys,
            **self.job.request.get("Environment", {}),
        }

    def _train(self, environment: Mapping[str, str]) -> tuple[str, int]:
        """Run the containers; return the host that failed first with its exit code, or 0."""
        addresses = dict(zip(self.hosts, self.executor.addresses(len(self.hosts)), strict=True))
        command, read_only = self._command(), layout.read_only_folders(self.job)
        image = self.job.request["AlgorithmSpecification"].get("TrainingImage", "")
        for host in self.hosts:
            folder = self.folder / host
            spec = ContainerSpec(
                host, folder, command, environment, addresses, read_only, image, shown=self._file_systems
            )
            self._containers[host] = self._start(spec)
        # A stop that came while they were started found some of them only.
        if self._stopped.is_set():
            for container in self._containers.values():
                container.terminate()
        return self._first_failure()

    def _command(self) -> tuple[str, ...]:
        algorithm = self.job.request["AlgorithmSpecification"]
        command = (*algorithm.get("ContainerEntrypoint", ()), *algorithm.get("ContainerArguments", ()))
        return command or _DEFAULT_COMMAND

    def _start(self, spec: ContainerSpec) -> Container:
        environment, host = self.executor.environment, spec.host_name
        stream = logs.LogStream(environment, self.job.region, logs.TRAINING_JOBS, self._stream_name(host))

        def on_output(lines: list[str]) -> None:
            self.job.metrics.read(lines, environment.clock.utc())
            stream.write(lines)

        return self.executor.engine.start(spec, on_output, lambda code: self._exits.put((host, code)))

    def _stream_name(self, host: str) -> str:
        # The seconds differ between the runs of an interrupted job.
        return f"{self.job.name}/{host}-{int(self.executor.environment.clock.utc().timestamp())}"

    def _first_failure(self) -> tuple[str, int]:
        failed = ("", 0)
        for _ in self.hosts:
            host, code = self._exits.get()
            if code and not failed[1]:
                failed = host, code
                # Only the first counts: the others end because of it.
                self._kill()
        return failed

    def _upload(self, storage: Storage) -> str:
        target = self.job.request["OutputDataConfig"]["S3OutputPath"].rstrip("/") + f"/{self.job.name}/output"
        model = layout.files(self._ml(host) / "model" for host in self.hosts)
        output = layout.files(self._ml(host) / "output/data" for host in self.hosts)
        if self.job.request["OutputDataConfig"].get("CompressionType") == "NONE":
            for kind, files in (("model", model), ("data", output)):
                for name, path in files.items():
                    storage.upload(path, S3Url.parse(f"{target}/{kind}/{name}"))
            return f"{target}/model/"
        self._upload_archive(storage, model, f"{target}/model.tar.gz")
        if output:
            self._upload_archive(storage, output, f"{target}/output.tar.gz")
        return f"{target}/model.tar.gz"

    def _upload_archive(self, storage: Storage, files: Mapping[str, Path], url: str) -> None:
        archive = self.folder / "archive.tar.gz"
        layout.archive(files, archive)
        storage.upload(archive, S3Url.parse(url))
