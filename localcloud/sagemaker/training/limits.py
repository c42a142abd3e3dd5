"""Quotas and capacity of instances for training, as a scenario may lower them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from localcloud.aws.error_responses import ApiError
from localcloud.aws.sagemaker_catalog import ManagedQuota
from localcloud.ec2.capacity import quota_limit
from localcloud.ec2.environment import CloudEnvironment
from localcloud.sagemaker.training.record import TrainingJob
from localcloud.scenarios.scenario import Fault
from localcloud.scenarios.targets import Subject

_CAPACITY = (
    "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type "
    "or after some time."
)


def check_quota(environment: CloudEnvironment, job: TrainingJob, others: Collection[TrainingJob]) -> None:
    """Check that the account may have the instances of a new job.

    :param others: the region's jobs.
    :raises ApiError: ResourceLimitExceeded.
    """
    for use, used in _uses(job, others):
        quota = ManagedQuota(f"{job.instance_type} for {use} usage")
        limit = quota_limit(environment.fault_engine, quota, job.region)
        if used + job.instance_count > limit:
            raise ApiError("ResourceLimitExceeded", exceeded(quota.name, limit, used, job.instance_count))


def exceeded(quota: str, limit: int, used: int, requested: int) -> str:
    """Return AWS's message for a quota of instances."""
    return (
        f"The account-level service limit '{quota}' is {limit} Instances, with current utilization of {used} Instances "
        f"and a request delta of {requested} Instances. Please use AWS Service Quotas to request an increase for this "
        "quota. If AWS Service Quotas is not available, contact AWS support to request an increase for this quota."
    )


def _uses(job: TrainingJob, others: Collection[TrainingJob]) -> Iterator[tuple[str, int]]:
    same_type = [other for other in others if other.instance_type == job.instance_type]
    running = (other for other in same_type if not other.has_ended and other.is_spot == job.is_spot)
    yield "spot training job" if job.is_spot else "training job", _instances(running)
    if job.pool is not None:
        pools = (other for other in same_type if other.pool is not None and other.pool.status in ("InUse", "Available"))
        yield "training warm pool", _instances(pools)


def _instances(jobs: Iterable[TrainingJob]) -> int:
    return sum(job.instance_count for job in jobs)


def capacity_failure(environment: CloudEnvironment, job: TrainingJob) -> str:
    """Return the reason why a job cannot have its instances now; empty if it can."""
    for active in environment.fault_engine.active("no-capacity", subject_of(job)):
        if active.fault["machines"] < job.instance_count and active.trigger():
            return _CAPACITY
    return ""


def interruptions(environment: CloudEnvironment, job: TrainingJob) -> list[tuple[float, Fault]]:
    """Return the times, in seconds from now, at which a new run of a spot job is interrupted, with their faults."""
    engine = environment.fault_engine
    times = []
    for fault in engine.moments("spot-interruption", subject_of(job)):
        # Both "after launch" and "after running" count from the run's start.
        seconds = fault.when.first - engine.elapsed_s if fault.when.form == "at" else fault.when.first
        # A moment that has passed would interrupt every run at its start.
        times += [(seconds, fault)] if seconds >= 0 else []
    return times


def subject_of(job: TrainingJob) -> Subject:
    """Return a job's instances as scenarios name them."""
    return Subject(region=job.region, type=job.instance_type, market="spot" if job.is_spot else "on-demand")
