"""Training jobs that really run: layout, hosts, results, failures, stops and limits."""

from __future__ import annotations

import json

import pytest

from tests.support.localcloud.clients import boto, error_code, error_of
from tests.support.localcloud.training_lab import BUCKET, TrainingLab, channel, statuses

REPORT = """
import json, os, pathlib, socket
ml = pathlib.Path("/opt/ml")
resources = json.loads((ml / "input/config/resourceconfig.json").read_text())
host = resources["current_host"]
print("files", sorted(str(path.relative_to(ml / "input/data")) for path in ml.glob("input/data/[ap]*/*")))
print("hosts", resources["hosts"], [socket.gethostbyname(name) != "" for name in resources["hosts"]])
print("parameters", json.loads((ml / "input/config/hyperparameters.json").read_text()), os.environ["MODE"])
(ml / "model" / host).write_text("model of " + host)
(ml / "output/data/scores").write_text("0.5")
print("loss=0.75")
print("loss=0.25")
"""
SAVE_AT_SIGTERM = """
import pathlib, signal, sys, time
def save(*_):
    pathlib.Path("/opt/ml/model/saved").write_text("half")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("begins")
time.sleep(60)
"""
SLEEP = "import time; print('begins', flush=True); time.sleep(60)"


@pytest.mark.slow
def test_a_job_on_two_instances_sees_its_channels_and_hosts_and_its_results_are_uploaded(lab: TrainingLab) -> None:
    lab.put({f"data/{number}.csv": str(number) for number in range(3)})
    name = lab.create(
        REPORT,
        channel("all", "data/"),
        channel("part", "data/", distribution="ShardedByS3Key"),
        algorithm={"MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}]},
        ResourceConfig={"InstanceType": "ml.m5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 1},
        HyperParameters={"lr": "0.1"},
        Environment={"MODE": "fast"},
    )
    job = lab.wait(name)
    assert job["TrainingJobStatus"] == "Completed", lab.lines(name)
    assert statuses(job) == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    lines = lab.lines(name)
    every = ["all/0.csv", "all/1.csv", "all/2.csv"]
    assert lines["algo-1"][0] == f"files {[*every, 'part/0.csv', 'part/2.csv']}"
    assert lines["algo-2"][0] == f"files {[*every, 'part/1.csv']}"
    assert lines["algo-1"][1:3] == ["hosts ['algo-1', 'algo-2'] [True, True]", "parameters {'lr': '0.1'} fast"]
    assert lab.archive(name) == {"algo-1": "model of algo-1", "algo-2": "model of algo-2"}
    assert lab.archive(name, "output") == {"scores": "0.5"}
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{BUCKET}/out/{name}/output/model.tar.gz"
    assert [(item["MetricName"], item["Value"]) for item in job["FinalMetricDataList"]] == [("loss", 0.25)]
    assert job["BillableTimeInSeconds"] == job["TrainingTimeInSeconds"] >= 1
    assert (job["HyperParameters"], job["Environment"]) == ({"lr": "0.1"}, {"MODE": "fast"})


@pytest.mark.slow
def test_the_host_that_failed_first_is_the_reason_and_the_others_are_ended(lab: TrainingLab) -> None:
    code = (
        "import socket, sys, time\n"
        "if socket.gethostname() != 'algo-2': time.sleep(60)\n"
        "open('/opt/ml/output/failure', 'w').write('no convergence'); sys.exit(7)"
    )
    resources = {"InstanceType": "ml.m5.xlarge", "InstanceCount": 2, "VolumeSizeInGB": 1}
    job = lab.wait(lab.create(code, ResourceConfig=resources))
    assert (job["TrainingJobStatus"], job["FailureReason"]) == (
        "Failed",
        "AlgorithmError: no convergence, exit code: 7",
    )
    assert statuses(job)[-1] == "Failed"


@pytest.mark.slow
def test_a_stopped_job_gets_sigterm_and_its_model_is_uploaded(lab: TrainingLab) -> None:
    name = lab.create(SAVE_AT_SIGTERM)
    lab.wait_for_line(name, "begins")
    lab.sagemaker.stop_training_job(TrainingJobName=name)
    job = lab.wait(name)
    assert statuses(job) == ["Starting", "Downloading", "Training", "Stopping", "Uploading", "Stopped"]
    assert lab.archive(name) == {"saved": "half"}
    assert error_code(lab.sagemaker.stop_training_job, TrainingJobName=name) == "ValidationException"


@pytest.mark.slow
def test_a_job_that_ignores_sigterm_at_its_time_limit_is_killed_after_the_grace(lab: TrainingLab) -> None:
    job = lab.wait(lab.create(SLEEP, StoppingCondition={"MaxRuntimeInSeconds": 1}))
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert job["BillableTimeInSeconds"] >= 6  # the limit and 5 s of grace


@pytest.mark.slow
def test_missing_data_and_a_missing_program_fail_with_their_reasons(lab: TrainingLab) -> None:
    empty = lab.wait(lab.create("", channel("train", "nothing-here/")))
    assert empty["FailureReason"].startswith("ClientError: Data download failed:No S3 objects found under S3 URL")
    missing = lab.wait(lab.create("", algorithm={"ContainerEntrypoint": ["no-such-program"]}))
    assert missing["FailureReason"] == "AlgorithmError: , exit code: 127"


def test_names_are_unique_and_roles_must_exist_and_unknown_jobs_are_not_found(lab: TrainingLab) -> None:
    name = lab.create("")
    code, _, message = error_of(lab.sagemaker.create_training_job, **lab.request(name, ""))
    assert code == "ResourceInUse"
    assert message.startswith("Training job names must be unique within an AWS account and region")
    unknown_role = lab.request("lab-role", "", RoleArn="arn:aws:iam::123456789012:role/none")
    assert "Could not assume role" in error_of(lab.sagemaker.create_training_job, **unknown_role)[2]
    assert error_of(lab.sagemaker.describe_training_job, TrainingJobName="none")[2] == "Requested resource not found."
    lab.wait(name)
    listed = lab.sagemaker.list_training_jobs(NameContains=name, StatusEquals="Completed")["TrainingJobSummaries"]
    assert name in [job["TrainingJobName"] for job in listed]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"TrainingJobName": "a_b"},
            "1 validation error detected: Value 'a_b' at 'trainingJobName' failed to satisfy constraint: Member must "
            "satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}",
        ),
        (
            {"ResourceConfig": {"InstanceType": "ml.x", "InstanceCount": 1, "VolumeSizeInGB": 1}},
            "Value 'ml.x' at 'resourceConfig.instanceType' failed to satisfy constraint: Member must satisfy enum",
        ),
        ({"Environment": {str(n): "x" for n in range(101)}}, "Member must have length less than or equal to 100"),
        ({"EnableManagedSpotTraining": True}, "MaxWaitTimeInSeconds must be set"),
    ],
)
def test_requests_are_refused_as_the_service_model_says(lab: TrainingLab, change: dict[str, str], message: str) -> None:
    request = {**lab.request("lab-refused", ""), **change}
    code, _, text = error_of(lab.sagemaker.create_training_job, **request)
    assert code == "ValidationException"
    assert message in text


def test_a_role_is_passed_by_those_who_may_only(cloud: dict[str, str], lab: TrainingLab) -> None:
    iam = boto(cloud, "iam")
    iam.create_user(UserName="passes-none")
    statement = {"Effect": "Allow", "Action": "sagemaker:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="passes-none", PolicyName="all", PolicyDocument=policy)
    key = iam.create_access_key(UserName="passes-none")["AccessKey"]
    keys = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    client = boto({**cloud, **keys}, "sagemaker")
    code, _, message = error_of(client.create_training_job, **lab.request("lab-passes", ""))
    assert code == "AccessDeniedException"
    assert f"is not authorized to perform: iam:PassRole on resource: {lab.role}" in message
