"""Autoscaling of endpoints in virtual time: instances follow the requests, or those that wait."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localcloud.simulation.cloud import InMemoryCloud
from tests.support.localcloud import colleague

NAME, BUCKET = "fleet", "answers"
TARGET = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": f"endpoint/{NAME}/variant/a",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}
REQUESTS = {"PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}}


class Fleet:
    """One endpoint of a cloud of its own."""

    def __init__(self, cloud: InMemoryCloud) -> None:
        self.cloud = cloud
        role, session = colleague.role(cloud), cloud.session()
        self.sagemaker: Any = session.client("sagemaker", region_name="us-west-2")
        self.runtime: Any = session.client("sagemaker-runtime", region_name="us-west-2")
        self.scaling: Any = session.client("application-autoscaling", region_name="us-west-2")
        self.session = session
        container = {"Image": colleague.IMAGE}
        self.sagemaker.create_model(ModelName="m", PrimaryContainer=container, ExecutionRoleArn=role)

    def create(self, variant: dict[str, Any] | None = None, **options: Any) -> None:
        variant = variant or {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        variants = [{"VariantName": "a", "ModelName": "m", **variant}]
        self.sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=variants, **options)
        self.sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName="c")
        self.cloud.clock.sleep(300)

    def scale(self, least: int, most: int, aim: float, metric: dict[str, Any]) -> None:
        self.scaling.register_scalable_target(**TARGET, MinCapacity=least, MaxCapacity=most)
        policy = {"TargetValue": aim, **metric}
        self.scaling.put_scaling_policy(
            **TARGET,
            PolicyName="p",
            PolicyType="TargetTrackingScaling",
            TargetTrackingScalingPolicyConfiguration=policy,
        )

    @property
    def count(self) -> int:
        (variant,) = self.sagemaker.describe_endpoint(EndpointName=NAME)["ProductionVariants"]
        return int(variant["CurrentInstanceCount"])

    def ask(self, minutes: int, requests: int) -> None:
        """Send requests in each of some minutes."""
        for _ in range(minutes):
            for _ in range(requests):
                self.runtime.invoke_endpoint(EndpointName=NAME, Body=b"1", ContentType="text/csv")
            self.cloud.clock.sleep(60)


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with InMemoryCloud(1) as cloud:
        yield Fleet(cloud)


def test_instances_follow_the_requests_within_the_bounds(fleet: Fleet) -> None:
    fleet.create()
    fleet.scale(1, 3, 5.0, REQUESTS)
    fleet.ask(minutes=2, requests=20)
    assert fleet.count == 1
    fleet.ask(minutes=6, requests=20)
    assert fleet.count == 3
    fleet.ask(minutes=10, requests=0)
    assert fleet.count == 3
    fleet.ask(minutes=20, requests=0)
    assert fleet.count == 1


def test_bounds_hold_at_once_and_a_scaled_endpoint_keeps_type_and_count(fleet: Fleet) -> None:
    fleet.create()
    fleet.scale(2, 3, 5.0, REQUESTS)
    fleet.cloud.clock.sleep(300)
    assert fleet.count == 2
    variant = {"VariantName": "a", "ModelName": "m", "InitialInstanceCount": 1}
    for name, kind in (("other", "ml.m5.xlarge"), ("same", "ml.m5.large")):
        variants = [{**variant, "InstanceType": kind}]
        fleet.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)
    with pytest.raises(ClientError, match="Deregister it as a scalable target first"):
        fleet.sagemaker.update_endpoint(EndpointName=NAME, EndpointConfigName="other")
    fleet.sagemaker.update_endpoint(EndpointName=NAME, EndpointConfigName="same", RetainAllVariantProperties=True)
    fleet.cloud.clock.sleep(300)
    assert fleet.count == 2


def test_an_asynchronous_endpoint_scales_to_zero_and_starts_for_a_request(fleet: Fleet) -> None:
    s3: Any = fleet.session.client("s3", region_name="us-west-2")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    s3.put_object(Bucket=BUCKET, Key="in.csv", Body=b"7")
    fleet.create(AsyncInferenceConfig={"OutputConfig": {"S3OutputPath": f"s3://{BUCKET}/out"}})
    backlog = {"MetricName": "ApproximateBacklogSizePerInstance", "Namespace": "AWS/SageMaker", "Statistic": "Average"}
    fleet.scale(0, 2, 5.0, {"CustomizedMetricSpecification": backlog})
    fleet.cloud.clock.sleep(20 * 60)
    assert fleet.count == 0
    answer = fleet.runtime.invoke_endpoint_async(
        EndpointName=NAME, InputLocation=f"s3://{BUCKET}/in.csv", ContentType="text/csv"
    )
    fleet.cloud.clock.sleep(20 * 60)
    assert fleet.count == 0

    step = {"MetricIntervalLowerBound": 0.0, "ScalingAdjustment": 1}
    policy = fleet.scaling.put_scaling_policy(
        **TARGET,
        PolicyName="start",
        PolicyType="StepScaling",
        StepScalingPolicyConfiguration={"AdjustmentType": "ChangeInCapacity", "StepAdjustments": [step]},
    )
    fleet.session.client("cloudwatch", region_name="us-west-2").put_metric_alarm(
        AlarmName="waiting",
        Namespace="AWS/SageMaker",
        MetricName="HasBacklogWithoutCapacity",
        Statistic="Average",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1.0,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
        AlarmActions=[policy["PolicyARN"]],
    )
    fleet.cloud.clock.sleep(10 * 60)

    key = answer["OutputLocation"].partition(f"{BUCKET}/")[2]
    assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"7"
    assert fleet.count == 1
    fleet.cloud.clock.sleep(20 * 60)
    assert fleet.count == 0


@pytest.mark.parametrize(
    ("variant", "least", "message"),
    [
        (None, 0, "MinCapacity 0 is supported for asynchronous inference and inference components only"),
        (None, 4, "Maximum capacity cannot be less than minimum capacity"),
        (
            {"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}},
            1,
            "Serverless variants have no instances",
        ),
    ],
)
def test_a_scaling_that_aws_refuses(fleet: Fleet, variant: dict[str, Any] | None, least: int, message: str) -> None:
    fleet.create(variant)
    with pytest.raises(ClientError, match=message):
        fleet.scaling.register_scalable_target(**TARGET, MinCapacity=least, MaxCapacity=3)


def test_what_is_not_there_is_not_scaled(fleet: Fleet) -> None:
    with pytest.raises(ClientError, match="SageMaker production variant doesn't exist"):
        fleet.scaling.register_scalable_target(**TARGET, MinCapacity=1, MaxCapacity=3)
    with pytest.raises(ClientError, match="No scalable target registered"):
        fleet.scaling.put_scaling_policy(**TARGET, PolicyName="p", PolicyType="StepScaling")
