"""Runs of training jobs in virtual time, without processes: for a cloud within a test's process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from localcloud.core.clock import Clock
from localcloud.sagemaker.runs.execution import Outcome, RunEvents
from localcloud.sagemaker.training.record import TrainingJob

# Time of the stages before and after training, in seconds.
_DOWNLOAD_S, _UPLOAD_S = 30.0, 20.0
DEFAULT_TRAINING_S = 600.0

Behavior = Callable[[TrainingJob], tuple[float, int]]
"""Returns for how many seconds a job trains, and its exit code."""


@dataclass
class SimulatedExecutor:
    """Executes runs by letting time pass; nothing is read from S3 or written there.

    :param behavior: by default every job succeeds after ten minutes.
    :param lines: lines that a job writes, from which its metrics are read; none by default.
    """

    clock: Clock
    behavior: Behavior = lambda _: (DEFAULT_TRAINING_S, 0)
    lines: Callable[[TrainingJob], list[str]] = lambda _: []

    def start(self, job: TrainingJob, events: RunEvents) -> SimulatedRun:
        """Start a run."""
        run = SimulatedRun(self.clock, job, events, self.lines)
        run.begin(*self.behavior(job))
        return run

    def close(self) -> None:
        """Do nothing: the clock drops what is scheduled."""


@dataclass
class SimulatedRun:
    """A run of a job in virtual time; containers end at SIGTERM."""

    clock: Clock
    job: TrainingJob
    events: RunEvents
    lines: Callable[[TrainingJob], list[str]]
    _stopped: bool = False
    _uploading: bool = False

    def begin(self, training_s: float, exit_code: int) -> None:
        """Download, train for some seconds, and upload."""
        self.events.stage("Downloading")
        self.clock.after(_DOWNLOAD_S, self._train)
        self.clock.after(_DOWNLOAD_S + training_s, lambda: self._upload(exit_code))

    def stop(self, grace_s: float, *, uploads: bool = True) -> None:
        """End training at once."""
        del grace_s
        if self._uploading:
            return
        self._stopped = True
        self.clock.after(_UPLOAD_S if uploads else 0.0, lambda: self.events.ended(Outcome(model_url=self._model())))

    def _train(self) -> None:
        if not self._stopped:
            self.events.stage("Training")

    def _upload(self, exit_code: int) -> None:
        if self._stopped:
            return
        self._uploading = True
        self.job.metrics.read(self.lines(self.job), self.clock.utc())
        self.events.stage("Uploading")
        failure = f"AlgorithmError: , exit code: {exit_code}" if exit_code else ""
        outcome = Outcome(exit_code, failure, self._model())
        self.clock.after(_UPLOAD_S, lambda: self.events.ended(outcome))

    def _model(self) -> str:
        target = self.job.request["OutputDataConfig"]["S3OutputPath"].rstrip("/")
        return f"{target}/{self.job.name}/output/model.tar.gz"
