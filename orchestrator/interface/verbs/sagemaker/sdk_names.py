"""Arguments of SageMaker's own Python SDK, versions 1 to 3, and what takes their place here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from orchestrator.core.next_step import NextStep, Text

_COUNT = "count=2"
_TYPE = 'instance_type="ml.g5.xlarge"'
_SPOT = "spot=True"
_LIMIT = "max_hours in job.ini, or [cluster] max_hours"
_COMMAND = "the commands of job.ini: single and multi"
_FRAMEWORK = "framework in job.ini: dask, torchrun, horovod, mpi"
_IMAGE = "image in job.ini, [sagemaker] training_image, or " + NextStep("PushImage")
_DATA = "data in job.ini: s3://bucket/prefix -> name"

#: Argument of an estimator, tuner, model or predictor -> its place here.
INSTEAD: dict[str, Text] = {
    **dict.fromkeys(("train_instance_count", "instance_count", "initial_instance_count"), _COUNT),
    "train_instance_type": _TYPE,
    **dict.fromkeys(("train_volume_size", "volume_size", "volume_size_in_gb"), "[sagemaker] volume_gib"),
    **dict.fromkeys(("train_max_run", "max_run", "max_runtime_in_seconds"), _LIMIT),
    **dict.fromkeys(("train_use_spot_instances", "use_spot_instances"), _SPOT),
    **dict.fromkeys(("train_max_wait", "max_wait"), "[sagemaker] spot_wait_hours"),
    **dict.fromkeys(("keep_alive_period_in_seconds",), "[sagemaker] keep_alive_minutes"),
    **dict.fromkeys(("entry_point", "source_dir", "dependencies", "git_config"), _COMMAND),
    **dict.fromkeys(("distribution", "distributions"), _FRAMEWORK),
    **dict.fromkeys(("image_name", "image_uri", "train_image_uri", "framework_version", "py_version"), _IMAGE),
    **dict.fromkeys(("inputs", "train_data", "content_type"), _DATA),
    "input_mode": "input_mode under [training] in job.ini: File or FastFile",
    "checkpoint_s3_uri": "checkpoints under [training] in job.ini",
    "checkpoint_local_path": "checkpoints under [training] in job.ini",
    "metric_definitions": "[metrics] in job.ini: name = regular expression",
    **dict.fromkeys(("output_path", "code_location", "default_bucket"), "[sagemaker] sagemaker_bucket"),
    **dict.fromkeys(("role", "execution_role"), "[sagemaker] role, or " + NextStep("SageMakerRole")),
    "sagemaker_session": "[aws] region and profile",
    "base_job_name": "[cluster] name: the job's name begins with it",
    "base_tuning_job_name": "[cluster] name: the job's name begins with it",
    "environment": "[env] in job.ini",
    **dict.fromkeys(("subnets", "security_group_ids"), "[sagemaker] training_subnets and training_security_groups"),
    "hyperparameter_ranges": 'ranges={"lr": (0.001, 0.1)}',
    **dict.fromkeys(("objective_metric_name", "objective_type"), 'objective="minimize loss"'),
    "max_jobs": "jobs=20",
    "max_parallel_jobs": "parallel=4",
    "wait": "detach=True, for wait=False",
}


#: Argument whose value is taken as it is -> ours.
_RENAMED = {
    **dict.fromkeys(("train_instance_count", "instance_count", "initial_instance_count"), "count"),
    "train_instance_type": "instance_type",
    "max_jobs": "jobs",
    "max_parallel_jobs": "parallel",
}


def instead_of(words: Sequence[str]) -> Text:
    """Return what takes the place of the first argument of SageMaker's SDK on a command line; empty without one.

    :param words: ``--max-jobs 3``, ``--max-jobs=3``.
    """
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, _, value = word.lstrip("-").partition("=")
        plain, value = name.replace("-", "_"), value or ("" if following.startswith("-") else following)
        if plain in _RENAMED and value:
            return _here(plain) + f"--{_RENAMED[plain].replace('_', '-')} {shlex.quote(value)}"
        if plain in INSTEAD:
            return _here(plain) + INSTEAD[plain]
    return ""


def instead_of_unexpected(message: str, options: Mapping[str, object] = MappingProxyType({})) -> Text:
    """Return the same for a name in Python's message about an unexpected argument.

    :param options: name -> value of the call.
    """
    for name in re.findall(r"unexpected keyword argument '(\w+)'", message):
        if name in _RENAMED and isinstance(options.get(name), str | int):
            return _here(name) + f"{_RENAMED[name]}={options[name]!r}"
        if name in INSTEAD:
            return _here(name) + INSTEAD[name]
    return ""


def _here(name: str) -> str:
    return f"{name} of SageMaker's SDK is here: "
