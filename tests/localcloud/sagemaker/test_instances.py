"""Instances of training jobs: quotas, capacity, and warm pools."""

from __future__ import annotations

import pytest

from localcloud.scenarios.scenario import make_fault
from tests.support.localcloud.clients import error_code, error_of, wait_until
from tests.support.localcloud.instances import Play
from tests.support.localcloud.training_lab import TrainingLab, statuses

TYPE = "ml.c5.xlarge"
RESOURCES = {"InstanceType": TYPE, "InstanceCount": 2, "VolumeSizeInGB": 1}


def test_a_quota_counts_instances(lab: TrainingLab, play: Play) -> None:
    play(make_fault("quota", quota=f"{TYPE} for training job usage", vcpus="1"))
    request = lab.request("lab-quota", "", ResourceConfig=RESOURCES)
    code, _, message = error_of(lab.sagemaker.create_training_job, **request)
    assert code == "ResourceLimitExceeded"
    assert message.startswith(
        f"The account-level service limit '{TYPE} for training job usage' is 1 Instances, with current utilization of "
        "0 Instances and a request delta of 2 Instances."
    )


@pytest.mark.slow
def test_a_job_without_capacity_fails_and_a_spot_job_waits_for_it(lab: TrainingLab, play: Play) -> None:
    play(make_fault("no-capacity", where=TYPE))
    failed = lab.wait(lab.create("", ResourceConfig=RESOURCES))
    assert failed["FailureReason"].startswith("CapacityError: Unable to provision requested ML compute capacity.")
    assert statuses(failed) == ["Starting", "Pending", "Failed"]
    limits = {"MaxRuntimeInSeconds": 1, "MaxWaitTimeInSeconds": 1}
    spot = lab.create("", ResourceConfig=RESOURCES, EnableManagedSpotTraining=True, StoppingCondition=limits)
    job = lab.wait(spot)
    assert statuses(job) == ["Starting", "Pending", "Stopping", "MaxWaitTimeExceeded"]
    assert "BillableTimeInSeconds" not in job


@pytest.mark.slow
def test_a_warm_pool_serves_the_next_job_and_ends_on_request(lab: TrainingLab) -> None:
    def pool(name: str) -> dict[str, object]:
        status: dict[str, object] = lab.describe(name)["WarmPoolStatus"]
        return status

    resources = {**RESOURCES, "InstanceCount": 1, "KeepAlivePeriodInSeconds": 600}
    first = lab.create("", ResourceConfig=resources)
    assert pool(first) == {"Status": "InUse"}
    lab.wait(first)
    assert pool(first) == {"Status": "Available"}
    second = lab.create("", ResourceConfig=resources)
    lab.wait(second)
    assert (pool(first)["Status"], pool(first)["ReusedByJob"]) == ("Reused", second)
    listed = lab.sagemaker.list_training_jobs(WarmPoolStatusEquals="Available")["TrainingJobSummaries"]
    assert [job["TrainingJobName"] for job in listed] == [second]
    lab.sagemaker.update_training_job(TrainingJobName=second, ResourceConfig={"KeepAlivePeriodInSeconds": 0})
    wait_until(lambda: pool(second)["Status"] == "Terminated")
    lab.sagemaker.delete_training_job(TrainingJobName=second)
    assert error_code(lab.sagemaker.describe_training_job, TrainingJobName=second) == "ValidationException"
