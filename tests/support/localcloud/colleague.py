"""A colleague's resources in the same account, in a cluster of the same name: they bill, and nothing may touch them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

from localcloud.simulation.cloud import InMemoryCloud

OWNER = "arn:aws:iam::123456789012:user/colleague"
TAGS = [{"Key": "stratus:cluster", "Value": "ml"}, {"Key": "stratus:owner", "Value": OWNER}]
IMAGE = "123456789012.dkr.ecr.us-west-2.amazonaws.com/any:1"
ROLE = "stratus-sagemaker-ml-us-west-2"
BUCKET = "colleagues-data"
INSTANCES = {"InstanceType": "ml.m5.large", "InstanceCount": 1}


@dataclass(frozen=True)
class LentDisks:
    """Disks of the lab that the user's settings name, and a capacity reservation."""

    efs: str
    volume: str
    snapshot: str
    reservation: str

    @property
    def ids(self) -> tuple[str, ...]:
        """Return their ids."""
        return astuple(self)


def lend_disks(cloud: InMemoryCloud) -> LentDisks:
    """Create disks and a reservation that the user's settings may name; no cluster's tags are on them."""
    session: Any = cloud.session()
    ec2, efs = (session.client(name, region_name="us-west-2") for name in ("ec2", "efs"))
    shared = efs.create_file_system(CreationToken="lab")["FileSystemId"]
    subnets = ec2.describe_subnets()["Subnets"]
    for subnet in subnets:
        efs.create_mount_target(FileSystemId=shared, SubnetId=subnet["SubnetId"])
    zone = subnets[0]["AvailabilityZone"]
    volume = ec2.create_volume(AvailabilityZone=zone, Size=30, VolumeType="gp3")["VolumeId"]
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    reservation = ec2.create_capacity_reservation(
        InstanceType="c7i.2xlarge", InstancePlatform="Linux/UNIX", AvailabilityZone=zone, InstanceCount=2
    )["CapacityReservation"]["CapacityReservationId"]
    return LentDisks(shared, volume, snapshot, reservation)


def role(cloud: InMemoryCloud) -> str:
    """Create the role of SageMaker's containers, and return its ARN."""
    return _role(cloud, ROLE, "sagemaker.amazonaws.com")


def _role(cloud: InMemoryCloud, name: str, service: str) -> str:
    iam = cloud.session().client("iam")
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    return arn


def create(cloud: InMemoryCloud) -> None:
    """Create one of each kind, with the prefix of the cluster's names."""
    session = cloud.session()
    sagemaker: Any = session.client("sagemaker", region_name="us-west-2")
    arn = session.client("iam").get_role(RoleName=ROLE)["Role"]["Arn"]
    cloud.session().client("s3").create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
    )
    _endpoints(sagemaker, arn)
    sagemaker.create_training_job(TrainingJobName="stratus-ml-theirs", **_training(arn), Tags=TAGS)
    sagemaker.create_hyper_parameter_tuning_job(
        HyperParameterTuningJobName="stratus-ml-theirs",
        HyperParameterTuningJobConfig={
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "score"},
            "ResourceLimits": {"MaxParallelTrainingJobs": 1, "MaxNumberOfTrainingJobs": 100},
            "ParameterRanges": {"IntegerParameterRanges": [{"Name": "depth", "MinValue": "1", "MaxValue": "9"}]},
        },
        TrainingJobDefinition=_training(arn, metrics=[{"Name": "score", "Regex": "score=([0-9]+)"}]),
        Tags=TAGS,
    )
    session.client("scheduler", region_name="us-west-2").create_schedule(
        Name="stratus-ml-theirs",
        ScheduleExpression="at(2027-01-01T00:00:00)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": "arn:aws:scheduler:::aws-sdk:sagemaker:deleteEndpoint",
            "RoleArn": _role(cloud, "theirs", "scheduler.amazonaws.com"),
            "Input": '{"EndpointName": "stratus-ml-theirs"}',
        },
    )


def create_disks(cloud: InMemoryCloud) -> None:
    """Create a kept volume, a snapshot of an image, and shared file systems, with names as in the user's settings."""
    session: Any = cloud.session()
    ec2, efs, fsx = (session.client(name, region_name="us-west-2") for name in ("ec2", "efs", "fsx"))
    subnet = ec2.describe_subnets()["Subnets"][0]

    def tagged(kind: str, **more: str) -> Any:
        return [
            {"ResourceType": kind, "Tags": [*TAGS, *({"Key": f"stratus:{k}", "Value": v} for k, v in more.items())]}
        ]

    for name in ("work", "fast"):
        specification = tagged("volume", volume=name)
        volume = ec2.create_volume(
            AvailabilityZone=subnet["AvailabilityZone"], Size=20, VolumeType="gp3", TagSpecifications=specification
        )
    ec2.create_snapshot(VolumeId=volume["VolumeId"], TagSpecifications=tagged("snapshot", install="0123456789abcdef"))
    group = ec2.create_security_group(
        GroupName="stratus-ml-01234567-files", Description="theirs", TagSpecifications=tagged("security-group")
    )["GroupId"]
    for name in ("shared", "lasting"):
        (specification,) = tagged("", filesystem=name)
        shared = efs.create_file_system(CreationToken=f"their {name}", Tags=specification["Tags"])
        efs.create_mount_target(
            FileSystemId=shared["FileSystemId"], SubnetId=subnet["SubnetId"], SecurityGroups=[group]
        )
    for name in ("quick", "slow"):
        (specification,) = tagged("", filesystem=name)
        fsx.create_file_system(
            FileSystemType="LUSTRE", StorageCapacity=1200, SubnetIds=[subnet["SubnetId"]], Tags=specification["Tags"]
        )


def _endpoints(sagemaker: Any, arn: str) -> None:
    sagemaker.create_model(ModelName="theirs", PrimaryContainer={"Image": IMAGE}, ExecutionRoleArn=arn)
    serverless = {"ServerlessConfig": {"MemorySizeInMB": 1024, "MaxConcurrency": 1}}
    fleets: Mapping[str, dict[str, Any]] = {
        "theirs": {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1},
        "theirs-serverless": serverless,
    }
    for name, fleet in fleets.items():
        variant: Any = {"VariantName": "a", "ModelName": "theirs", **fleet}
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        sagemaker.create_endpoint(EndpointName=f"stratus-ml-{name}", EndpointConfigName=name, Tags=TAGS)


def _training(arn: str, metrics: list[dict[str, str]] | None = None) -> dict[str, Any]:
    # Longer than any life: neither ends by itself.
    limits = {"MaxRuntimeInSeconds": 28 * 86400}
    algorithm = {"TrainingImage": IMAGE, "TrainingInputMode": "File", "MetricDefinitions": metrics or []}
    return {
        "AlgorithmSpecification": algorithm,
        "RoleArn": arn,
        "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out"},
        "ResourceConfig": {**INSTANCES, "VolumeSizeInGB": 1},
        "StoppingCondition": limits,
    }
