"""Training jobs as runs of hosts: state, times, price of spot instances, and the words of a failure."""

from __future__ import annotations

import re
from datetime import datetime

from orchestrator.aws.sagemaker.training import TrainingJob
from orchestrator.jobs.managed.records import TrainingRecord
from orchestrator.jobs.runs import Run, TaskState

EXIT_CODE = re.compile(r"exit code: (\d+)")
STATES = {"Completed": "done", "Failed": "failed"}
LIMITS = ("MaxRuntimeExceeded", "MaxWaitTimeExceeded")
BEFORE_DOWNLOAD = ("Starting", "Pending")
"""Secondary statuses in which a container has written nothing yet."""

# As remote/sagemaker/training_host.py writes the reason: "JOB on algo-2 failed (exit 1)", or "algo-2: pip failed".
_FAILED_HOST = re.compile(r"^(?:\w+Error: *)?(?:.* on )?(algo-\d+)(?: failed \(exit|: )")


def hosts(item: TrainingRecord, job: TrainingJob) -> tuple[str, ...]:
    """Return the names of a job's containers."""
    return tuple(item.roles or ()) or tuple(f"algo-{number}" for number in range(1, job.count + 1))


def main_hosts(item: TrainingRecord, job: TrainingJob) -> tuple[str, ...]:
    """Return the names of the containers with a main task; without a record, of all."""
    return item.main_hosts or hosts(item, job)


def state(job: TrainingJob) -> str:
    """Return the state of a job as that of a run."""
    if not job.has_ended:
        return "running"
    if job.secondary in LIMITS:
        return "timeout"
    return STATES.get(job.status, "cancelled")


def as_run(item: TrainingRecord, job: TrainingJob) -> Run:
    """Return a training job as a run of hosts."""
    outcome, names = state(job), hosts(item, job)
    code = EXIT_CODE.search(job.reason)
    exits = {"done": "0", "failed": code[1] if code else "1", "running": ""}
    began, ended = training_time(job)
    tasks = tuple(
        TaskState(
            host,
            "main",
            outcome == "running",
            exits.get(outcome, outcome),
            began,
            ended if job.has_ended else None,
        )
        for host in main_hosts(item, job)
    )
    roles = item.roles or dict.fromkeys(names, ("main",))
    return Run(item.run_id, item.job or job.name, "", len(names) > 1, roles, (), 0, tasks)


def training_time(job: TrainingJob) -> tuple[datetime | None, datetime | None]:
    """Return begin and end of the job's own time: without waiting for instances, images and uploads."""
    phases = [phase for phase in job.phases if phase.status == "Training"]
    if phases:
        return phases[0].started_at, phases[-1].ended_at or job.ended_at
    return job.started_at or (job.ended_at and job.created_at), job.ended_at


def elapsed_s(job: TrainingJob, now: datetime) -> float:
    """Return the seconds since a job has instances, until its end."""
    return max(0.0, ((job.ended_at or now) - (job.started_at or now)).total_seconds())


def timings(job: TrainingJob) -> dict[str, float]:
    """Return seconds per secondary status, those that have ended; the job's own time is added with its results."""
    seconds: dict[str, float] = {}
    for phase in job.phases:
        if phase.ended_at and phase.status != "Training":
            name = phase.status.lower()
            seconds[name] = seconds.get(name, 0.0) + (phase.ended_at - phase.started_at).total_seconds()
    return {name: value for name, value in seconds.items() if value > 0}


def saved_percent(job: TrainingJob) -> float | None:
    """Return what spot instances have saved; None of other jobs, and before the end."""
    if not job.is_spot or not job.training_s or job.billable_s is None:
        return None
    return round(100 * (1 - job.billable_s / job.training_s), 1)


def failed_host(job: TrainingJob, names: tuple[str, ...]) -> str:
    """Return the container that has failed first, by the reason of the failure; empty if that does not tell."""
    match = _FAILED_HOST.match(job.reason.partition("\n")[0])
    return match[1] if match and match[1] in names else ""


def exit_status(job: TrainingJob) -> int | None:
    """Return the exit status of the container that failed; None if there is none."""
    code = EXIT_CODE.search(job.reason)
    return int(code[1]) if code else None


def failure_message(job: TrainingJob) -> str:
    """Return how a job has ended that did not complete."""
    outcome = state(job)
    if outcome == "timeout":
        return f"reached its limit of time ({job.secondary}) and was ended"
    if outcome == "cancelled":
        return "was cancelled"
    status = exit_status(job)
    prefix = f"failed (exit {status})" if status is not None else "failed"
    reason = failure_reason(job.reason)
    return f"{prefix}: {reason}" if reason else prefix


def failure_reason(reason: str) -> str:
    """Return what a FailureReason tells besides the exit code, in a line; empty if that is nothing.

    "AlgorithmError: , exit code: 1" tells nothing: the job's last lines do.
    """
    text = re.sub(r"^\w+Error: *|,? *exit code: \d+$", "", reason.strip().split("\n")[0]).strip(" ,")
    text = re.sub(r"^algo-\d+: ", "", text)
    return "" if "(exit" in text else text


def last_line(reason: str) -> str:
    """Return the last line that a failed job has written, by its FailureReason; else that reason, in a line."""
    lines = [line.strip() for line in EXIT_CODE.sub("", reason).splitlines() if line.strip(" ,")]
    return lines[-1].rstrip(" ,") if len(lines) > 1 else failure_reason(reason)
