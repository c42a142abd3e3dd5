"""Warm pools: instances that a job keeps for the next one, billed until they are used or their time is over."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from localcloud.sagemaker.training.pool import WarmPool
from localcloud.sagemaker.training.record import TrainingJob

# A job takes the pool of another one if these members of their requests are equal.
_EQUAL = ("RoleArn", "VpcConfig", "EnableNetworkIsolation", "EnableInterContainerTrafficEncryption")
_EQUAL_RESOURCES = ("InstanceType", "InstanceCount", "InstanceGroups", "VolumeSizeInGB", "VolumeKmsKeyId")


def requested(job: TrainingJob) -> WarmPool | None:
    """Return the pool that a new job asks for; None without KeepAlivePeriodInSeconds."""
    keep_s = job.request["ResourceConfig"].get("KeepAlivePeriodInSeconds", 0)
    return WarmPool("InUse", keep_s) if keep_s else None


def retain(job: TrainingJob, now: datetime) -> None:
    """Keep the instances of a job that has ended; those of one that did not complete end with it."""
    if job.pool is not None:
        job.pool.status = "Available" if job.status == "Completed" else "Terminated"
        job.pool.since = job.pool.until = now
        job.pool.until = now if job.status != "Completed" else None


def expire(job: TrainingJob, now: datetime) -> float:
    """End a pool whose time is over; return the seconds that are left otherwise, 0 for none."""
    pool = job.pool
    if pool is None or pool.status != "Available" or pool.since is None:
        return 0.0
    left_s = (pool.since + timedelta(seconds=pool.keep_s) - now).total_seconds()
    if left_s <= 0:
        pool.status, pool.until = "Terminated", now
    return max(0.0, left_s)


def claim(job: TrainingJob, others: Iterable[TrainingJob], now: datetime) -> bool:
    """Give a new job the first pool that fits; return whether there was one."""
    for other in others:
        if other.pool is not None and other.pool.status == "Available" and _fits(job, other):
            other.pool.status, other.pool.until, other.pool.reused_by = "Reused", now, job.name
            return True
    return False


def _fits(job: TrainingJob, other: TrainingJob) -> bool:
    resources, retained = job.request["ResourceConfig"], other.request["ResourceConfig"]
    return (
        job.pool is not None
        and job.region == other.region
        and all(job.request.get(name) == other.request.get(name) for name in _EQUAL)
        and all(resources.get(name) == retained.get(name) for name in _EQUAL_RESOURCES)
    )
