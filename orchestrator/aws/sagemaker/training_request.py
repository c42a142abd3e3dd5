"""Request of a training job, of plain values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep

CODE_CHANNEL = "code"
CHECKPOINTS = "/opt/ml/checkpoints"
ENTRY_POINT = f"/opt/ml/input/data/{CODE_CHANNEL}/training_host.sh"
MAX_RUNTIME_S = 28 * 86400
MAX_HYPERPARAMETERS = 100

# https://github.com/aws/deep-learning-containers/blob/master/available_images.md: the account of commercial regions.
_DEFAULT_IMAGE = "763104351884.dkr.ecr.{region}.amazonaws.com/pytorch-training:2.8.0-{device}-ubuntu22.04-sagemaker"
_GPU_FAMILIES = re.compile(r"ml\.(g\d|p\d)")


def default_image(region: str, instance_type: str) -> str:
    """Return AWS's own image with Python and PyTorch, for the CPU or for GPUs."""
    device = "gpu-py312-cu129" if _GPU_FAMILIES.match(instance_type) else "cpu-py312"
    return _DEFAULT_IMAGE.format(region=region, device=device)


def check_image(image: str, region: str) -> None:
    """Check that SageMaker can pull an image: it takes those of ECR in the job's region.

    :raises UsageError: it cannot.
    """
    match = re.match(r"[0-9]{12}\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?/", image)
    if match is None:
        problem = "is not in ECR, and SageMaker pulls images from there only"
    elif match[1] != region:
        problem = f"is in {match[1]}, and SageMaker pulls images of its own region only, {region}"
    else:
        return
    name = f"ACCOUNT.dkr.ecr.{region}.amazonaws.com/NAME:TAG"
    fix = NextStep("PushImage") + f"  pushes it there; or name another one in job.ini: image = {name}"
    raise UsageError(f"the image {problem}", where=image, fix=fix)


@dataclass(frozen=True)
class SharedFolder:
    """Folder of a shared file system, which a job reads where it is.

    :param type: ``EFS`` or ``FSxLustre``.
    :param directory: as SageMaker names it: that of Lustre begins with the mount name.
    """

    id: str
    type: str
    directory: str

    @property
    def request(self) -> dict[str, str]:
        """The folder as the API names it."""
        return {
            "FileSystemId": self.id,
            "FileSystemType": self.type,
            "DirectoryPath": self.directory,
            "FileSystemAccessMode": "ro",
        }


@dataclass(frozen=True)
class Channel:
    """Input of a job.

    :param name: of its folder in ``/opt/ml/input/data``.
    :param url: prefix in S3, with a slash at its end unless it is one object; empty for a folder.
    :param mode: ``File``, ``FastFile`` or ``Pipe``.
    :param folder: in place of S3.
    """

    name: str
    url: str
    mode: str = "File"
    is_sharded: bool = False
    folder: SharedFolder | None = None

    @property
    def request(self) -> dict[str, Any]:
        """The channel as the API names it."""
        if self.folder:
            return {
                "ChannelName": self.name,
                "DataSource": {"FileSystemDataSource": self.folder.request},
                "InputMode": "File",
            }
        distribution = "ShardedByS3Key" if self.is_sharded else "FullyReplicated"
        source = {"S3DataType": "S3Prefix", "S3Uri": self.url, "S3DataDistributionType": distribution}
        return {"ChannelName": self.name, "DataSource": {"S3DataSource": source}, "InputMode": self.mode}


@dataclass(frozen=True)
class TrainingRequest:
    """A training job to create.

    :param max_wait_s: of a spot job: longest time of waiting and running together; 0 for on-demand instances.
    :param keep_alive_s: how long the instances are kept for another job.
    """

    name: str
    role_arn: str
    image: str
    channels: Sequence[Channel]
    output_url: str
    instance_type: str
    count: int
    volume_gib: int
    max_runtime_s: int
    max_wait_s: int = 0
    keep_alive_s: int = 0
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)
    checkpoint_url: str = ""
    subnets: Sequence[str] = ()
    security_groups: Sequence[str] = ()
    tags: Sequence[Mapping[str, str]] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the request as the API names it.

        :raises UsageError: two settings exclude each other.
        """
        self._check()
        request: dict[str, Any] = {
            "TrainingJobName": self.name,
            "RoleArn": self.role_arn,
            "AlgorithmSpecification": self._algorithm,
            "HyperParameters": dict(self.hyperparameters),
            "InputDataConfig": [channel.request for channel in self.channels],
            "OutputDataConfig": {"S3OutputPath": self.output_url},
            "ResourceConfig": self._resources,
            "StoppingCondition": self._stopping,
            "EnableManagedSpotTraining": bool(self.max_wait_s),
            "Tags": [dict(tag) for tag in self.tags],
        }
        if self.checkpoint_url:
            request["CheckpointConfig"] = {"S3Uri": self.checkpoint_url, "LocalPath": CHECKPOINTS}
        if self.subnets:
            request["VpcConfig"] = {"Subnets": [*self.subnets], "SecurityGroupIds": [*self.security_groups]}
        return request

    @property
    def _algorithm(self) -> dict[str, Any]:
        algorithm: dict[str, Any] = {
            "TrainingImage": self.image,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["sh", ENTRY_POINT],
        }
        if self.metrics:
            pairs = self.metrics.items()
            algorithm["MetricDefinitions"] = [{"Name": name, "Regex": pattern} for name, pattern in pairs]
        return algorithm

    @property
    def _resources(self) -> dict[str, Any]:
        resources = {"InstanceType": self.instance_type, "InstanceCount": self.count, "VolumeSizeInGB": self.volume_gib}
        return resources | ({"KeepAlivePeriodInSeconds": self.keep_alive_s} if self.keep_alive_s else {})

    @property
    def _stopping(self) -> dict[str, int]:
        stopping = {"MaxRuntimeInSeconds": self.max_runtime_s}
        return stopping | ({"MaxWaitTimeInSeconds": self.max_wait_s} if self.max_wait_s else {})

    def _check(self) -> None:
        rules = {
            "spot instances are not kept for another job: keep_alive_minutes needs on-demand instances": (
                self.max_wait_s and self.keep_alive_s
            ),
            f"spot_wait_hours must not be shorter than the job may run, {self.max_runtime_s / 3600:g} h": (
                0 < self.max_wait_s < self.max_runtime_s
            ),
            "file systems of EFS and FSx are reached from subnets only: training_subnets": (
                any(channel.folder for channel in self.channels) and not self.subnets
            ),
            "training_subnets and training_security_groups go together": (
                bool(self.subnets) != bool(self.security_groups)
            ),
        }
        for rule, is_broken in rules.items():
            if is_broken:
                raise UsageError(rule, where="[sagemaker]", code="ValidationException")
