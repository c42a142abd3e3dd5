"""Records of training jobs in moto, which keeps their tags and finds them by tags."""

from __future__ import annotations

from typing import Any

from localcloud.aws.ecr import ACCOUNT
from localcloud.sagemaker.training.record import TrainingJob

# Arguments of moto's own record, of which only name and tags matter.
_NONE = (
    "hyper_parameters",
    "input_data_config",
    "vpc_config",
    "stopping_condition",
    "enable_network_isolation",
    "enable_inter_container_traffic_encryption",
    "enable_managed_spot_training",
    "checkpoint_config",
    "debug_hook_config",
    "debug_rule_configurations",
    "tensor_board_output_config",
    "experiment_config",
)


def add(job: TrainingJob) -> None:
    """Add a job; the caller holds the cloud's lock."""
    _backend(job).create_training_job(
        training_job_name=job.name,
        # moto writes into it.
        algorithm_specification={},
        role_arn=job.request["RoleArn"],
        output_data_config=job.request["OutputDataConfig"],
        resource_config=job.request["ResourceConfig"],
        tags=[dict(tag) for tag in job.request.get("Tags", [])],
        **dict.fromkeys(_NONE),
    )


def remove(job: TrainingJob) -> None:
    """Remove a job; the caller holds the cloud's lock."""
    _backend(job).training_jobs.pop(job.name, None)


def _backend(job: TrainingJob) -> Any:
    from moto.sagemaker.models import sagemaker_backends

    return sagemaker_backends[ACCOUNT][job.region]
