"""Life of training jobs: from Starting over their runs to the final status, with stops, limits and interruptions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from localcloud.ec2.environment import CloudEnvironment
from localcloud.sagemaker.training.execution import Executor, Outcome, Run
from localcloud.sagemaker.training.record import TrainingJob


@dataclass
class _Life:
    job: TrainingJob
    run: Run | None = None
    # Secondary status in which a job ends that is being stopped.
    stop_cause: str = ""
    interrupted: bool = False


class TrainingLifecycle:
    """Moves jobs through their statuses.

    :param executor: runs them.
    """

    def __init__(self, environment: CloudEnvironment, executor: Executor) -> None:
        self.environment, self._executor = environment, executor
        self._lives: dict[str, _Life] = {}

    def begin(self, job: TrainingJob) -> None:
        """Start a job; its instances come later."""
        self._lives[job.arn] = life = _Life(job)
        self._after(self.environment.durations.job_start_s, self._start, life)
        if job.is_spot and (wait_s := job.request["StoppingCondition"].get("MaxWaitTimeInSeconds")):
            self._after(wait_s, self._exceed, life, "MaxWaitTimeExceeded")

    def stop(self, job: TrainingJob, cause: str = "Stopped") -> None:
        """Stop a job that has not ended.

        :param cause: secondary status in which it ends.
        """
        life = self._lives[job.arn]
        with self.environment.lock:
            if job.has_ended or life.stop_cause:
                return
            life.stop_cause, job.status = cause, "Stopping"
            job.enter("Stopping", self._now())
            if life.run is not None:
                life.run.stop(self.environment.durations.job_grace_s)
            elif job.secondary == "Interrupted" or job.started_at is not None:
                self._end(life, "Stopped", cause)

    def interrupt(self, job: TrainingJob, pause_s: float) -> None:
        """Take a spot job's instances away, and give it others after a pause."""
        life = self._lives[job.arn]
        with self.environment.lock:
            if life.run is None or life.interrupted or life.stop_cause:
                return
            life.interrupted = True
            life.run.stop(self.environment.durations.job_grace_s, uploads=False)
            self._pause_s = pause_s

    def close(self) -> None:
        """End every run."""
        self._executor.close()

    def _after(self, seconds: float, action: Any, *arguments: Any) -> None:
        self.environment.clock.after(seconds, lambda: action(*arguments))

    def _now(self) -> Any:
        return self.environment.clock.utc()

    def _start(self, life: _Life) -> None:
        with self.environment.lock:
            if life.job.has_ended:
                return
            if life.stop_cause:
                self._end(life, "Stopped", life.stop_cause)
                return
            life.job.start_run(self._now())
            left_s = life.job.request["StoppingCondition"]["MaxRuntimeInSeconds"] - life.job.busy_s
            self._after(left_s, self._exceed, life, "MaxRuntimeExceeded", life.job.interruptions)
            life.run = self._executor.start(life.job, _Events(self, life))

    def _exceed(self, life: _Life, cause: str, of_run: int | None = None) -> None:
        """Stop a job at a limit, unless the limit was that of an earlier run."""
        if of_run in (None, life.job.interruptions):
            self.stop(life.job, cause)

    def stage(self, life: _Life, secondary: str) -> None:
        """Enter a secondary status of a run."""
        with self.environment.lock:
            life.job.enter(secondary, self._now())

    def ended(self, life: _Life, outcome: Outcome) -> None:
        """Enter the status that follows a run."""
        with self.environment.lock:
            life.run, life.job.model_url = None, outcome.model_url
            if life.stop_cause:
                self._end(life, "Stopped", life.stop_cause)
            elif life.interrupted:
                self._wait_for_instances(life)
            elif outcome.failure:
                life.job.failure = outcome.failure
                self._end(life, "Failed", "Failed")
            else:
                self._end(life, "Completed", "Completed")

    def _wait_for_instances(self, life: _Life) -> None:
        life.interrupted = False
        life.job.interruptions += 1
        life.job.end_run(self._now())
        life.job.enter("Interrupted", self._now())
        self._after(self._pause_s, self._restart, life)

    def _restart(self, life: _Life) -> None:
        with self.environment.lock:
            if life.job.has_ended or life.stop_cause:
                return
            life.job.enter("Starting", self._now())
            self._start(life)

    def _end(self, life: _Life, status: str, secondary: str) -> None:
        life.job.end(status, secondary, self._now())


@dataclass(frozen=True)
class _Events:
    lifecycle: TrainingLifecycle
    life: _Life

    def stage(self, secondary: str) -> None:
        self.lifecycle.stage(self.life, secondary)

    def ended(self, outcome: Outcome) -> None:
        self.lifecycle.ended(self.life, outcome)
