"""Values that strategies choose from ranges, and tuning in virtual time."""

from __future__ import annotations

import itertools
import json
import random

import pytest

from localcloud.sagemaker.tuning import ranges
from tests.support.localcloud.in_memory import OpenCloud


def test_values_stay_in_their_ranges_and_are_repeatable() -> None:
    tuned = ranges.read(
        {
            "IntegerParameterRanges": [{"Name": "depth", "MinValue": "2", "MaxValue": "4"}],
            "ContinuousParameterRanges": [
                {"Name": "rate", "MinValue": "0.001", "MaxValue": "1", "ScalingType": "Logarithmic"},
                {"Name": "decay", "MinValue": "0.5", "MaxValue": "0.999", "ScalingType": "ReverseLogarithmic"},
            ],
            "CategoricalParameterRanges": [{"Name": "kind", "Values": ["a", "b"]}],
        }
    )

    def draw() -> list[ranges.Values]:
        return list(itertools.islice(ranges.candidates("Random", tuned, random.Random(3)), 200))

    values = draw()
    assert {value["depth"] for value in values} == {"2", "3", "4"}
    assert {value["kind"] for value in values} == {"a", "b"}
    assert all(0.001 <= float(value["rate"]) <= 1 and 0.5 <= float(value["decay"]) <= 0.999 for value in values)
    # On a logarithmic scale, two thirds of the values are below a tenth of the range.
    assert 0.5 < sum(float(value["rate"]) < 0.1 for value in values) / len(values) < 0.85
    assert values == draw()


@pytest.mark.slow
def test_a_tuning_job_takes_hours_of_virtual_time(open_cloud: OpenCloud) -> None:
    cloud = open_cloud()
    cloud.jobs.lines = lambda job: [f"score={job.request['HyperParameters']['depth']}"]
    session = cloud.session()
    statement = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    role = session.client("iam").create_role(RoleName="sm", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    sagemaker, s3 = session.client("sagemaker"), session.client("s3")
    s3.create_bucket(Bucket="bucket", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    sagemaker.create_hyper_parameter_tuning_job(
        HyperParameterTuningJobName="hours",
        HyperParameterTuningJobConfig={
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "score"},
            "ResourceLimits": {"MaxParallelTrainingJobs": 2, "MaxNumberOfTrainingJobs": 6},
            "ParameterRanges": {"IntegerParameterRanges": [{"Name": "depth", "MinValue": "1", "MaxValue": "9"}]},
        },
        TrainingJobDefinition={
            "AlgorithmSpecification": {
                "TrainingImage": "image",
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": "score", "Regex": "score=([0-9]+)"}],
            },
            "RoleArn": role,
            "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
        },
    )
    cloud.clock.sleep(600)
    described = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="hours")
    assert described["TrainingJobStatusCounters"]["InProgress"] == 2
    assert {item.kind for item in cloud.live_managed()} == {"training job", "tuning job"}
    cloud.clock.sleep(2400)
    assert cloud.live_managed() == []
    assert len(s3.list_objects_v2(Bucket="bucket", Prefix="out/hours-")["Contents"]) == 6
    described = sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="hours")
    children = sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(HyperParameterTuningJobName="hours")
    values = [
        child["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for child in children["TrainingJobSummaries"]
    ]
    assert described["HyperParameterTuningJobStatus"] == "Completed"
    assert len(values) == 6
    assert described["BestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] == max(values)
