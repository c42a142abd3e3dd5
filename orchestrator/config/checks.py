"""What no option can tell by itself: settings that contradict each other, and files that are not there."""

from __future__ import annotations

import os.path
import sys
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

from orchestrator.config import aws_catalog, ini
from orchestrator.config.options import ClusterSettings, Settings
from orchestrator.config.schema import SettingsReader


def replace_retired_type(reading: SettingsReader, cluster: ClusterSettings) -> ClusterSettings:
    """Return the cluster with the nearest living type in place of one that EC2 has retired; a warning says so."""
    living = aws_catalog.RETIRED_TYPES.get(cluster.instance_type)
    if living is None:
        return cluster
    reading.add_warning("cluster", "instance_type", f"is retired: {living}, the nearest that EC2 has, is used instead")
    return replace(cluster, instance_type=living)


def check(reading: SettingsReader, settings: Settings) -> None:
    """Complain about values that are right each by itself and wrong together."""
    _region(reading, settings)
    _key_pair(reading)
    _access(reading, settings)
    _registry(reading, settings)
    if reading.is_valid("disk", "type"):
        _disk(reading, settings)


def _region(reading: SettingsReader, settings: Settings) -> None:
    # Another cloud behind endpoint_url may call its regions as it likes.
    if reading.is_valid("aws", "region", "endpoint_url") and not settings.aws.endpoint_url:
        region = settings.aws.region
        if region not in aws_catalog.REGIONS:
            reading.add_problem("aws", "region", f"is no AWS region.{ini.suggest(region, aws_catalog.REGIONS)}")


def _key_pair(reading: SettingsReader) -> None:
    if not (reading.is_valid("aws", "key_name") and reading.is_valid("ssh", "private_key")):
        return
    key_name, private_key = reading.is_set("aws", "key_name"), reading.is_set("ssh", "private_key")
    if key_name and not private_key:
        reading.add_problem("aws", "key_name", "needs its file: add private_key = ... under [ssh], or delete this line")
    if private_key and not key_name:
        reading.add_problem("ssh", "private_key", "needs its name in EC2: add key_name = ... under [aws]")


def _access(reading: SettingsReader, settings: Settings) -> None:
    if not reading.is_valid("aws", "ssh_from") or not reading.is_set("aws", "ssh_from"):
        return
    if _is_wide(settings.aws.ssh_from):
        reading.add_warning(
            "aws", "ssh_from", "lets the whole world try the VMs' SSH port: auto admits this machine alone"
        )
    if settings.aws.security_group_id:
        reading.add_warning("aws", "ssh_from", "has no effect: the group named by security_group_id is never changed")


def _registry(reading: SettingsReader, settings: Settings) -> None:
    names = ("registry_user", "registry_password_env")
    if not reading.is_valid("install", "registry", *names):
        return
    registry = settings.install.registry
    for name in names:
        if reading.is_set("install", name) and registry in ("", "ecr"):
            what = "needs its host: add registry = ..." if not registry else "is not for ecr: AWS makes that login"
            reading.add_problem("install", name, what)
        elif registry not in ("", "ecr") and not reading.is_set("install", name):
            reading.add_problem("install", "registry", f"needs {name} = ... as well")


def _is_wide(ssh_from: str) -> bool:
    """Tell whether networks admit so many that it could be anybody: two halves of the world are the world, too."""
    networks = [ip_network(word.strip(), strict=False) for word in ssh_from.split(",") if "/" in word]
    return any(network.prefixlen < 8 for network in networks)


def _disk(reading: SettingsReader, settings: Settings) -> None:
    disk, limits = settings.disk, aws_catalog.VOLUME_TYPES[settings.disk.type]
    low, high = limits.size_gib
    if reading.is_valid("disk", "size") and not low <= disk.size <= high:
        reading.add_problem("disk", "size", f"is out of range: {low} to {high} GiB for {disk.type}")
    elif reading.is_valid("disk", "iops", "size"):
        _iops(reading, settings, limits)
    if disk.throughput and reading.is_valid("disk", "throughput"):
        _throughput(reading, settings, limits)


def _iops(reading: SettingsReader, settings: Settings, limits: aws_catalog.VolumeLimits) -> None:
    disk = settings.disk
    if not limits.iops:
        if disk.iops:
            reading.add_problem("disk", "iops", f"cannot be set for {disk.type}: delete the line, or use type = gp3")
        return
    low, high = limits.iops
    # Every gp3 volume has its 3000, however small it is.
    most = min(high, max(limits.default_iops, limits.iops_per_gib * disk.size))
    if not disk.iops and not limits.default_iops:
        reading.add_problem("disk", "type", f"needs iops = {low} to {most} (at {disk.size} GiB)")
    elif disk.iops and not low <= disk.iops <= most:
        bound = f"at most {limits.iops_per_gib} for each of {disk.size} GiB" if most < high else disk.type
        reading.add_problem("disk", "iops", f"is out of range: {low} to {most} ({bound})")


def _throughput(reading: SettingsReader, settings: Settings, limits: aws_catalog.VolumeLimits) -> None:
    disk, (low, high) = settings.disk, aws_catalog.GP3_THROUGHPUT
    needed = int(disk.throughput / aws_catalog.GP3_THROUGHPUT_PER_IOPS)
    if disk.type != "gp3":
        reading.add_problem("disk", "throughput", f"cannot be set for {disk.type}: delete the line, or use type = gp3")
    elif not low <= disk.throughput <= high:
        reading.add_problem("disk", "throughput", f"is out of range: {low} to {high} MiB/s")
    elif reading.is_valid("disk", "iops") and (disk.iops or limits.default_iops) < needed:
        reading.add_problem("disk", "throughput", f"needs iops = {needed} or more (each carries 0.25 MiB/s)")


def check_files(reading: SettingsReader, settings: Settings) -> None:
    """Complain about files that the settings name and that are not there."""
    _private_key(reading, settings.ssh.private_key)
    if settings.install.ca_bundle and not os.path.isfile(settings.install.ca_bundle):
        reading.add_problem("install", "ca_bundle", f"is no file: {settings.install.ca_bundle}")
    if reading.is_set("job", "run"):
        _job(reading, settings.job.run)


def _private_key(reading: SettingsReader, path: str) -> None:
    if path.endswith(".pub"):
        reading.add_problem("ssh", "private_key", "is the public half; name the file without .pub")
    elif path and not os.path.isfile(path):
        # The original project's files all name ~/.ssh/id_rsa; whoever has none today still gets as far as the plan.
        old = reading.document.values["ssh", "private_key"].section != "ssh"
        (reading.add_warning if old else reading.add_problem)("ssh", "private_key", f"is no file: {path}")


def job_folder(path: str, typed_path: str) -> str:
    """Return the job's folder: where the config file says, or the example of that name that came with Stratus."""
    if os.path.exists(path) or not typed_path.startswith("examples/"):
        return path
    checkout = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    installed = os.path.join(sys.prefix, "share", "stratus")
    shipped = (os.path.join(folder, typed_path) for folder in (checkout, installed))
    return next(filter(os.path.exists, shipped), path)


def _job(reading: SettingsReader, path: str) -> None:
    if path.endswith(".ini") and os.path.isfile(path):
        return
    if not os.path.isdir(path):
        folder = Path(path)
        near = ini.suggest(folder.name, _jobs_beside(folder))
        reading.add_problem("job", "run", f"is no folder: {path}.{near}")
    elif not os.path.isfile(os.path.join(path, "job.ini")):
        reading.add_problem("job", "run", f"holds no job.ini: {path}")


def _jobs_beside(folder: Path) -> list[str]:
    try:
        return sorted(other.parent.name for other in folder.parent.glob("*/job.ini"))
    except OSError:
        return []
