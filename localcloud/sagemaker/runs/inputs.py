"""Input channels of a job: objects of S3 as files under /opt/ml/input/data, or as named pipes; shared folders."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from localcloud.sagemaker.storage import S3Url, Storage, TransferError
from localcloud.sagemaker.runs import layout
from localcloud.sagemaker.training.record import TrainingJob


def download(storage: Storage, job: TrainingJob, hosts: Mapping[str, Path]) -> None:
    """Write every channel's objects to the folder of each host that gets them.

    :param hosts: folder of each host by its name; objects of pipes are written to ``pipes`` in it, others to ``ml``.
    :raises TransferError: a channel has no objects, or one cannot be read.
    """
    for channel in layout.channels(job):
        if layout.shared_folder(channel):
            continue
        matches = _objects(storage, channel)
        for number, folder in enumerate(hosts.values()):
            top = folder / ("pipes" if layout.input_mode(job, channel) == "Pipe" else "ml/input/data")
            target = top / channel["ChannelName"]
            target.mkdir(parents=True, exist_ok=True)
            for url, name in _share(matches, channel, number, len(hosts)):
                storage.download(url.bucket, url.key, target / name)


def link_shared(shared: Path, job: TrainingJob, hosts: Mapping[str, Path]) -> list[Path]:
    """Link the channels that are folders of shared file systems; return the file systems.

    :param shared: folder of the file systems, by their ids.
    :raises TransferError: the file system or the folder does not exist.
    """
    file_systems: list[Path] = []
    for channel in layout.channels(job):
        if not (source := layout.shared_folder(channel)):
            continue
        file_system = shared / source["FileSystemId"]
        # The mount name of Lustre is the first part of its paths.
        names = source["DirectoryPath"].strip("/").split("/")[source["FileSystemType"] == "FSxLustre" :]
        target = file_system.joinpath(*names)
        if not target.is_dir():
            raise TransferError(
                f"Unable to mount file system: {file_system.name}. directory path: {source['DirectoryPath']}. "
                "No such file or directory"
            )
        for folder in hosts.values():
            place = folder / "ml/input/data" / channel["ChannelName"]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(target)
        file_systems.append(file_system)
    return file_systems


def _objects(storage: Storage, channel: Mapping[str, Any]) -> list[tuple[S3Url, str]]:
    """Return the objects of a channel, each with its path below the channel's folder."""
    source = channel["DataSource"]["S3DataSource"]
    url = S3Url.parse(source["S3Uri"])
    matches = _of_manifest(storage, url) if source["S3DataType"] == "ManifestFile" else _of_prefix(storage, url)
    if not matches:
        raise TransferError(
            f'Data download failed:No S3 objects found under S3 URL "{source["S3Uri"]}" given in input data source. '
            "Please ensure that the bucket exists in the selected region, that objects exist under that S3 prefix, "
            f'and that the role has "s3:ListBucket" permissions on bucket "{url.bucket}".'
        )
    return matches


def _of_prefix(storage: Storage, prefix: S3Url) -> list[tuple[S3Url, str]]:
    # The part after the last slash of the prefix is in the path: a prefix may end within a name.
    start = prefix.key.rpartition("/")[0]
    skipped = len(start) + 1 if start else 0
    return [(S3Url(prefix.bucket, key), key[skipped:]) for key in storage.keys(prefix)]


def _of_manifest(storage: Storage, url: S3Url) -> list[tuple[S3Url, str]]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "manifest")
        storage.download(url.bucket, url.key, file)
        try:
            first, *names = json.loads(file.read_text(encoding="utf-8"))
            prefix = S3Url.parse(first["prefix"])
        except (ValueError, KeyError, TypeError) as error:
            raise TransferError(f"Data download failed:The manifest {url.key} is not valid") from error
    return [(S3Url(prefix.bucket, prefix.key + name), name) for name in names]


def _share(
    matches: Sequence[tuple[S3Url, str]], channel: Mapping[str, Any], host: int, count: int
) -> Sequence[tuple[S3Url, str]]:
    """Return the objects that one of ``count`` hosts gets: all, or with ShardedByS3Key every ``count``-th."""
    source = channel["DataSource"]["S3DataSource"]
    return matches[host::count] if source.get("S3DataDistributionType") == "ShardedByS3Key" else matches
