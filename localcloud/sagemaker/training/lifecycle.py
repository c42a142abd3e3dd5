"""Life of training jobs: from Starting over their runs to the final status, with stops, limits and interruptions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from localcloud.ec2.environment import CloudEnvironment
from localcloud.sagemaker.runs.execution import Executor, Outcome, Run
from localcloud.sagemaker.training import limits, warm_pools
from localcloud.sagemaker.training.record import TrainingJob
from localcloud.scenarios.scenario import Fault


@dataclass
class _Life:
    job: TrainingJob
    run: Run | None = None
    # Secondary status in which a job ends that is being stopped.
    stop_cause: str = ""
    is_interrupted: bool = False


@dataclass
class TrainingLifecycle:
    """Moves jobs through their statuses.

    :param executor: runs them.
    :param on_end: called with every job that has entered a final status, under the cloud's lock.
    """

    environment: CloudEnvironment
    executor: Executor
    on_end: list[Callable[[TrainingJob], None]] = field(default_factory=list)
    _lives: dict[str, _Life] = field(default_factory=dict)
    _scenario_number: int = 0

    def begin(self, job: TrainingJob, *, is_warm: bool = False) -> None:
        """Start a job; its instances come later.

        :param is_warm: True if it takes those of a warm pool.
        """
        self._lives[job.arn] = life = _Life(job)
        self._after(0.0 if is_warm else self.environment.durations.job_start_s, self._start, life)
        if job.is_spot and (wait_s := job.request["StoppingCondition"].get("MaxWaitTimeInSeconds")):
            self._after(wait_s, self._exceed, life, "MaxWaitTimeExceeded")

    def stop(self, job: TrainingJob, cause: str = "Stopped") -> None:
        """Stop a job; one that has ended stays as it is.

        :param cause: secondary status in which it ends.
        """
        life = self._lives[job.arn]
        with self.environment.lock:
            if job.has_ended or life.stop_cause:
                return
            waits_between_runs = life.run is None and job.secondary in ("Interrupted", "Pending")
            life.stop_cause, job.status = cause, "Stopping"
            job.enter("Stopping", self._now())
            if life.run is not None:
                life.run.stop(self.environment.durations.job_grace_s)
            elif waits_between_runs:
                self._end(life, "Stopped", cause)

    def keep(self, job: TrainingJob, seconds: float) -> None:
        """Set the time for which a job's instances are kept; 0 ends its warm pool."""
        with self.environment.lock:
            if job.pool is not None:
                job.pool.keep_s = seconds
                self._expire(job)

    def close(self) -> None:
        """End every run."""
        self.executor.close()

    def _after(self, seconds: float, action: Any, *arguments: Any) -> None:
        self.environment.clock.after(seconds, lambda: action(*arguments))

    def _now(self) -> datetime:
        return self.environment.clock.utc()

    def _start(self, life: _Life) -> None:
        with self.environment.lock:
            if life.job.has_ended:
                return
            if life.stop_cause:
                self._end(life, "Stopped", life.stop_cause)
            elif reason := limits.capacity_failure(self.environment, life.job):
                self._wait_for_capacity(life, reason)
            else:
                self._run(life)

    def _wait_for_capacity(self, life: _Life, reason: str) -> None:
        """Fail for lack of instances; a spot job waits for them until MaxWaitTimeInSeconds."""
        if life.job.secondary != "Pending":
            life.job.enter("Pending", self._now())
        if life.job.is_spot:
            self._after(self.environment.durations.job_start_s, self._start, life)
            return
        life.job.failure = reason
        self._end(life, "Failed", "Failed")

    def _run(self, life: _Life) -> None:
        job = life.job
        job.start_run(self._now())
        left_s = job.request["StoppingCondition"]["MaxRuntimeInSeconds"] - job.busy_s
        self._after(left_s, self._exceed, life, "MaxRuntimeExceeded", job.interruptions)
        self._plan_interruptions(life)
        life.run = self.executor.start(job, _Events(self, life))

    def on_scenario(self) -> None:
        """Plan the interruptions of running jobs after another scenario was loaded."""
        with self.environment.lock:
            self._scenario_number += 1
            for life in self._lives.values():
                if life.run is not None:
                    self._plan_interruptions(life)

    def _plan_interruptions(self, life: _Life) -> None:
        plan = self._scenario_number, life.job.interruptions
        for seconds, fault in limits.interruptions(self.environment, life.job):
            self._after(seconds, self._interrupt, life, plan, fault)

    def _exceed(self, life: _Life, cause: str, of_run: int | None = None) -> None:
        """Stop a job at a limit, unless the limit was that of an earlier run."""
        if of_run in (None, life.job.interruptions):
            self.stop(life.job, cause)

    def _interrupt(self, life: _Life, plan: tuple[int, int], fault: Fault) -> None:
        """Take a spot job's instances away, unless the scenario or the run is another one by now."""
        with self.environment.lock:
            is_current = plan == (self._scenario_number, life.job.interruptions)
            if not is_current or life.run is None or life.is_interrupted or life.stop_cause:
                return
            life.is_interrupted = True
            self.environment.fault_engine.note_moment(fault)
            life.run.stop(self.environment.durations.job_grace_s, uploads=False)

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
            elif life.is_interrupted:
                self._wait_for_instances(life)
            elif outcome.failure:
                life.job.failure = outcome.failure
                self._end(life, "Failed", "Failed")
            else:
                self._end(life, "Completed", "Completed")

    def _wait_for_instances(self, life: _Life) -> None:
        life.is_interrupted = False
        life.job.interruptions += 1
        life.job.end_run(self._now())
        life.job.enter("Interrupted", self._now())
        self._after(self.environment.durations.job_start_s, self._restart, life)

    def _restart(self, life: _Life) -> None:
        with self.environment.lock:
            if not life.job.has_ended and not life.stop_cause:
                life.job.enter("Starting", self._now())
                self._start(life)

    def _end(self, life: _Life, status: str, secondary: str) -> None:
        life.job.end(status, secondary, self._now())
        warm_pools.retain(life.job, self._now())
        self._expire(life.job)
        for notify in self.on_end:
            notify(life.job)

    def _expire(self, job: TrainingJob) -> None:
        with self.environment.lock:
            if left_s := warm_pools.expire(job, self._now()):
                self._after(left_s, self._expire, job)


@dataclass(frozen=True)
class _Events:
    lifecycle: TrainingLifecycle
    life: _Life

    def stage(self, secondary: str) -> None:
        self.lifecycle.stage(self.life, secondary)

    def ended(self, outcome: Outcome) -> None:
        self.lifecycle.ended(self.life, outcome)
