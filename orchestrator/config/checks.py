"""Checks across options: settings that contradict each other, and files that do not exist."""

from __future__ import annotations

import os.path
import sys
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

from orchestrator.config import aws_catalog, ini
from orchestrator.config.disks import mount_points, volumes
from orchestrator.config.options import ClusterSettings, Settings
from orchestrator.config.schema import SettingsReader


def replace_retired(reader: SettingsReader, cluster: ClusterSettings) -> ClusterSettings:
    """Return the settings with retired types and images replaced by their nearest successors, with warnings."""
    instance_type = _successor(reader, "instance_type", cluster.instance_type, aws_catalog.RETIRED_TYPES)
    image = _successor(reader, "image", cluster.image, aws_catalog.RETIRED_IMAGES)
    return replace(cluster, instance_type=instance_type, image=image)


def _successor(reader: SettingsReader, option: str, value: str, successors: Mapping[str, str]) -> str:
    successor = successors.get(value.lower())
    if successor is None:
        return value
    reader.add_warning("cluster", option, f"is retired: {successor}, its nearest successor, is used instead")
    return successor


def check(reader: SettingsReader, settings: Settings) -> None:
    """Report values that are valid one by one and wrong together."""
    _region(reader, settings)
    _key_pair(reader)
    _access(reader, settings)
    _via(reader, settings)
    _reservation(reader, settings)
    _placement(reader, settings)
    _open_ports(reader, settings)
    _disks(reader, settings)
    _registry(reader, settings)
    # The limits of size, IOPS and throughput depend on the type.
    if reader.is_valid("disk", "type"):
        _disk(reader, settings)


def _region(reader: SettingsReader, settings: Settings) -> None:
    # Another cloud behind endpoint_url may have any region names.
    if reader.is_valid("aws", "region", "endpoint_url") and not settings.aws.endpoint_url:
        region = settings.aws.region
        if region not in aws_catalog.REGIONS:
            reader.add_problem("aws", "region", f"is not an AWS region.{ini.suggest(region, aws_catalog.REGIONS)}")


def _key_pair(reader: SettingsReader) -> None:
    if not (reader.is_valid("aws", "key_name") and reader.is_valid("ssh", "private_key")):
        return
    # EC2 never returns a private key: a name alone cannot be used to log in.
    key_name, private_key = reader.is_set("aws", "key_name"), reader.is_set("ssh", "private_key")
    if key_name and not private_key:
        reader.add_problem("aws", "key_name", "needs its file: add private_key = ... under [ssh], or delete this line")
    if private_key and not key_name:
        reader.add_problem("ssh", "private_key", "needs its name in EC2: add key_name = ... under [aws]")


def _access(reader: SettingsReader, settings: Settings) -> None:
    if not reader.is_valid("aws", "ssh_from") or not reader.is_set("aws", "ssh_from"):
        return
    if _is_wide(settings.aws.ssh_from):
        reader.add_warning(
            "aws", "ssh_from", "opens the VMs' SSH port to the whole internet; auto allows this computer only"
        )
    if settings.aws.security_group_id:
        reader.add_warning("aws", "ssh_from", "has no effect: the group named by security_group_id is never changed")


def _via(reader: SettingsReader, settings: Settings) -> None:
    """Report a way to the VMs that their security group, or their role, does not allow."""
    via, aws = settings.ssh.via, settings.aws
    if not via or not reader.is_valid("ssh", "via"):
        return
    if via == "ssm":
        if not aws.instance_profile:
            complaint = "needs [aws] instance_profile, of a role with the policy AmazonSSMManagedInstanceCore"
            reader.add_problem("ssh", "via", complaint)
    elif aws.ssh_from == "auto" and not aws.security_group_id:
        complaint = "needs [aws] ssh_from: the network that the VMs are reached from, such as the VPC's 10.0.0.0/16"
        reader.add_problem("ssh", "via", complaint)


def _reservation(reader: SettingsReader, settings: Settings) -> None:
    if settings.vms.capacity_reservation and settings.cluster.market == "spot" and reader.is_valid("cluster", "market"):
        reader.add_problem("cluster", "market", "is not for [vms] capacity_reservation, which is on demand")


def _placement(reader: SettingsReader, settings: Settings) -> None:
    """Report EFA without a placement group: it may be meant so, and is slower than what was asked for."""
    if settings.vms.efa and not settings.vms.placement and reader.is_valid("vms", "placement"):
        reader.add_warning("vms", "efa", "works in one subnet only, and best with placement = cluster")


def _open_ports(reader: SettingsReader, settings: Settings) -> None:
    if not reader.is_valid("aws", "open_ports"):
        return
    if settings.aws.open_ports and settings.aws.security_group_id:
        complaint = "cannot be done: the group named by security_group_id is not changed; open them in that group"
        reader.add_problem("aws", "open_ports", complaint)
    for ports in settings.aws.open_ports:
        if ports.first <= settings.ssh.port <= ports.last:
            reader.add_problem("aws", "open_ports", f"contains the SSH port {settings.ssh.port}: that is ssh_from")


def _disks(reader: SettingsReader, settings: Settings) -> None:
    created = [volume for volume in settings.volumes if not volume.is_local]
    for volume in created[volumes.MAX_VOLUMES :]:
        reader.add_problem("volumes", volume.name, f"is one too many: a VM has room for {volumes.MAX_VOLUMES} of them")
    for volume in [volume for volume in settings.volumes if volume.is_local][1:]:
        reader.add_problem("volumes", volume.name, "is a second line for local disks: one takes them all")
    for volume in created:
        if volume.id and settings.cluster.count > 1:
            reader.add_problem(
                "volumes", volume.name, f"is one volume, for one VM: [cluster] count is {settings.cluster.count}"
            )
    everything: list[mount_points.Mounted] = [*settings.volumes, *settings.file_systems]
    own = {volume.name for volume in settings.volumes}
    for shared in settings.file_systems:
        if shared.name in own:
            reader.add_problem("file_systems", shared.name, "is the name of a volume as well: choose another")
    # Each complaint at the line that comes later.
    for name, complaint in mount_points.conflicts(everything):
        section = "file_systems" if name not in own else "volumes"
        reader.add_problem(section, name, complaint)


def _registry(reader: SettingsReader, settings: Settings) -> None:
    names = ("registry_user", "registry_password_env")
    if not reader.is_valid("install", "registry", *names):
        return
    # All three or none: docker login needs host, user and password; ECR issues its own.
    registry = settings.install.registry
    for name in names:
        if reader.is_set("install", name) and registry in ("", "ecr"):
            complaint = (
                "needs its host: add registry = ..." if not registry else "is not for ecr: AWS provides that login"
            )
            reader.add_problem("install", name, complaint)
        elif registry not in ("", "ecr") and not reader.is_set("install", name):
            reader.add_problem("install", "registry", f"needs {name} = ... as well")


def _is_wide(ssh_from: str) -> bool:
    """Return True if any network is wider than /8: two halves of the address space open it as 0.0.0.0/0 does."""
    networks = [ip_network(word.strip(), strict=False) for word in ssh_from.split(",") if "/" in word]
    return any(network.prefixlen < 8 for network in networks)


def _disk(reader: SettingsReader, settings: Settings) -> None:
    disk, limits = settings.disk, aws_catalog.VOLUME_TYPES[settings.disk.type]
    low, high = limits.size_gib
    if reader.is_valid("disk", "size") and not low <= disk.size <= high:
        reader.add_problem("disk", "size", f"is out of range: {low} to {high} GiB for {disk.type}")
    elif reader.is_valid("disk", "iops", "size"):
        _iops(reader, settings, limits)
    if disk.throughput and reader.is_valid("disk", "throughput"):
        _throughput(reader, settings, limits)


def _iops(reader: SettingsReader, settings: Settings, limits: aws_catalog.VolumeLimits) -> None:
    disk = settings.disk
    if not limits.iops:
        if disk.iops:
            reader.add_problem("disk", "iops", f"cannot be set for {disk.type}: delete the line, or use type = gp3")
        return
    low, high = limits.iops
    # Every gp3 volume has 3000 IOPS, however small it is; the ratio to its size applies above that.
    highest = min(high, max(limits.default_iops, limits.iops_per_gib * disk.size))
    if not disk.iops and not limits.default_iops:
        reader.add_problem("disk", "type", f"needs iops = {low} to {highest} (at {disk.size} GiB)")
    elif disk.iops and not low <= disk.iops <= highest:
        bound = f"at most {limits.iops_per_gib} for each of {disk.size} GiB" if highest < high else disk.type
        reader.add_problem("disk", "iops", f"is out of range: {low} to {highest} ({bound})")


def _throughput(reader: SettingsReader, settings: Settings, limits: aws_catalog.VolumeLimits) -> None:
    disk, (low, high) = settings.disk, aws_catalog.GP3_THROUGHPUT
    needed = int(disk.throughput / aws_catalog.GP3_THROUGHPUT_PER_IOPS)
    if disk.type != "gp3":
        reader.add_problem("disk", "throughput", f"cannot be set for {disk.type}: delete the line, or use type = gp3")
    elif not low <= disk.throughput <= high:
        reader.add_problem("disk", "throughput", f"is out of range: {low} to {high} MiB/s")
    elif reader.is_valid("disk", "iops") and (disk.iops or limits.default_iops) < needed:
        reader.add_problem("disk", "throughput", f"needs iops = {needed} or more (each carries 0.25 MiB/s)")


def check_files(reader: SettingsReader, settings: Settings) -> None:
    """Report files that the settings name and that do not exist."""
    _private_key(reader, settings.ssh.private_key)
    if settings.install.ca_bundle and not os.path.isfile(settings.install.ca_bundle):
        reader.add_problem("install", "ca_bundle", f"is not a file: {settings.install.ca_bundle}")
    if reader.is_set("job", "run"):
        _job(reader, settings.job.run)


def _private_key(reader: SettingsReader, path: str) -> None:
    if path.endswith(".pub"):
        reader.add_problem("ssh", "private_key", "is the public key; name the private one, without .pub")
    elif path and not os.path.isfile(path):
        # The original project's files all name ~/.ssh/id_rsa: without it, the plan can still be shown.
        is_legacy = reader.document.values["ssh", "private_key"].section != "ssh"
        (reader.add_warning if is_legacy else reader.add_problem)("ssh", "private_key", f"is not a file: {path}")


def job_folder(path: str, typed_path: str) -> str:
    """Return the job's folder: the path in the config file, or the shipped example of that name."""
    if os.path.exists(path) or not typed_path.startswith("examples/"):
        return path
    checkout = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    # Installed by pip, the examples are in share/stratus of the environment.
    installed = os.path.join(sys.prefix, "share", "stratus")
    shipped = (os.path.join(folder, typed_path) for folder in (checkout, installed))
    return next(filter(os.path.exists, shipped), path)


def _job(reader: SettingsReader, path: str) -> None:
    if path.endswith(".ini") and os.path.isfile(path):
        return
    if not os.path.isdir(path):
        folder = Path(path)
        hint = ini.suggest(folder.name, _sibling_jobs(folder))
        reader.add_problem("job", "run", f"is not a folder: {path}.{hint}")
    elif not os.path.isfile(os.path.join(path, "job.ini")):
        reader.add_problem("job", "run", f"contains no job.ini: {path}")


def _sibling_jobs(folder: Path) -> list[str]:
    try:
        return sorted(other.parent.name for other in folder.parent.glob("*/job.ini"))
    except OSError:
        return []
