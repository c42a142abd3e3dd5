"""Contents of a training container's /opt/ml: configuration files before a run, archives after it."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from localcloud.sagemaker.training.record import TrainingJob

ML = "/opt/ml"
CHECKPOINTS = "/opt/ml/checkpoints"
FAILURE_CHARS = 1024
# Where hosts are processes, all of them are on the loopback interface.
_INTERFACE = "lo"


def host_names(count: int) -> list[str]:
    """Return the names of the instances, sorted as text as resourceconfig.json has them: algo-10 before algo-2."""
    return sorted(f"algo-{number}" for number in range(1, count + 1))


def write_configuration(ml: Path, job: TrainingJob, host: str, hosts: Sequence[str]) -> None:
    """Write the files in input/config, and create the folders that a container finds."""
    for name in ("input/config", "input/data", "model", "output/data", "checkpoints", "code"):
        (ml / name).mkdir(parents=True, exist_ok=True)
    files = {
        "hyperparameters": job.request.get("HyperParameters", {}),
        "resourceconfig": _resources(job, host, hosts),
        "inputdataconfig": {channel["ChannelName"]: _channel(job, channel) for channel in channels(job)},
    }
    for name, content in files.items():
        (ml / f"input/config/{name}.json").write_text(json.dumps(content), encoding="utf-8")


def channels(job: TrainingJob) -> list[dict[str, Any]]:
    """Return the channels of a job."""
    return list(job.request.get("InputDataConfig", []))


def shared_folder(channel: Mapping[str, Any]) -> Mapping[str, str]:
    """Return a channel's folder of a shared file system; empty if it is on S3."""
    source: Mapping[str, str] = channel["DataSource"].get("FileSystemDataSource", {})
    return source


def input_mode(job: TrainingJob, channel: dict[str, Any]) -> str:
    """Return File, FastFile or Pipe: a channel's own mode, else that of the job."""
    return str(channel.get("InputMode") or job.request["AlgorithmSpecification"]["TrainingInputMode"])


def _channel(job: TrainingJob, channel: dict[str, Any]) -> dict[str, str]:
    source = channel["DataSource"].get("S3DataSource", {})
    fields = {
        "TrainingInputMode": input_mode(job, channel),
        "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
        "RecordWrapperType": channel.get("RecordWrapperType", "None"),
    }
    return fields | ({"ContentType": channel["ContentType"]} if "ContentType" in channel else {})


def _resources(job: TrainingJob, host: str, hosts: Sequence[str]) -> dict[str, Any]:
    groups = _groups(job, hosts)
    own = next(group for group in groups if host in group["hosts"])
    return {
        "current_host": host,
        "current_instance_type": own["instance_type"],
        "current_group_name": own["instance_group_name"],
        "hosts": list(hosts),
        "instance_groups": groups,
        "network_interface_name": _INTERFACE,
    }


def _groups(job: TrainingJob, hosts: Sequence[str]) -> list[dict[str, Any]]:
    names = sorted(hosts, key=lambda name: int(name.rpartition("-")[2]))
    groups, start = [], 0
    default = {"InstanceGroupName": "homogeneousCluster", "InstanceType": job.instance_type}
    for group in job.request["ResourceConfig"].get("InstanceGroups") or [{**default, "InstanceCount": len(names)}]:
        end = start + group["InstanceCount"]
        facts = {"instance_group_name": group["InstanceGroupName"], "instance_type": group["InstanceType"]}
        groups.append({**facts, "hosts": sorted(names[start:end])})
        start = end
    return groups


def failure_reason(ml: Path, exit_code: int) -> str:
    """Return FailureReason of a container that exited with a code other than 0."""
    file = ml / "output/failure"
    text = file.read_text(encoding="utf-8", errors="replace")[:FAILURE_CHARS].strip() if file.is_file() else ""
    return f"AlgorithmError: {text}, exit code: {exit_code}"


def checkpoint_path(config: Mapping[str, str]) -> str:
    """Return the folder of checkpoints below /opt/ml."""
    return config.get("LocalPath", CHECKPOINTS).removeprefix(f"{ML}/").strip("/")


def read_only_folders(job: TrainingJob) -> tuple[str, ...]:
    """Return the folders below /opt/ml of channels that cannot be changed: FastFile, and file systems to be read."""
    return tuple(f"input/data/{channel['ChannelName']}" for channel in channels(job) if _is_read_only(job, channel))


def _is_read_only(job: TrainingJob, channel: dict[str, Any]) -> bool:
    if folder := shared_folder(channel):
        return folder.get("FileSystemAccessMode") == "ro"
    return input_mode(job, channel) == "FastFile"


def files(folders: Iterable[Path]) -> dict[str, Path]:
    """Return the files in all folders by their paths in them; of several with one path, the last one."""
    paths: dict[str, Path] = {}
    for folder in folders:
        for parent, _, names in os.walk(folder):
            paths.update({os.path.relpath(Path(parent, name), folder): Path(parent, name) for name in names})
    return dict(sorted(paths.items()))


def archive(members: Mapping[str, Path], target: Path) -> None:
    """Write files to an archive, members at its top."""
    with tarfile.open(target, "w:gz", compresslevel=1) as tar:
        for name, path in members.items():
            tar.add(path, name, recursive=False)
