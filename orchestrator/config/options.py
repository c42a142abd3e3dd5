"""The options of ``config/config.ini``: the one table behind the loader, the template and the manual.

A new option is one line here and the code that reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.config import aws_value_types
from orchestrator.config.aws_value_types import OpenPorts
from orchestrator.config.disks import file_systems, volumes
from orchestrator.config.disks.file_systems import FileSystem
from orchestrator.config.disks.volumes import Volume
from orchestrator.config.schema import (
    FREE_FORM,
    NamedLines,
    Secret,
    Tables,
    boolean,
    choice,
    command,
    file_path,
    integer,
    number,
    option,
    text,
    text_lines,
)
from orchestrator.core.errors import Problem

rare = partial(option, rare=True)
"""An option that few users need: the reference page has it, the template does not."""


@dataclass(frozen=True)
class ClusterSettings:
    """VMs that LaunchInstances() starts."""

    name: str = option(
        "ml",
        text("[a-z][a-z0-9-]{0,30}", "a lower-case letter, then up to 30 lower-case letters, digits or -"),
        "cluster name; its VMs are called ml-0, ml-1, ...",
        essential=True,
    )
    count: int = option(1, integer(1, 1000), "VMs to launch; LaunchInstances(2) launches 2", essential=True)
    instance_type: str = option(
        "c7i.2xlarge", aws_value_types.instance_type(), "EC2 instance type of every VM", essential=True
    )
    image: str = option(
        "ubuntu-24.04",
        aws_value_types.image(),
        "alias, ami-..., SSM parameter (/aws/...) or name pattern",
        essential=True,
    )
    max_hours: float = option(8.0, number(0, 720, "hours"), "each VM shuts down after this time", essential=True)
    max_dollars: float = option(
        0.0, aws_value_types.dollars(), "USD per launch; VMs shut down before it is exceeded; 0: no cap"
    )
    idle_minutes: int = option(
        0, integer(0, 43200), "a VM shuts down when unused so long (job, notebook, SSH, GPU); 0: never"
    )
    fallback_instance_types: str = option(
        "", aws_value_types.instance_types(), "types to launch if instance_type is unavailable in every zone"
    )
    market: str = option(
        "on-demand", choice("on-demand", "spot"), "spot costs less; AWS may reclaim it with two minutes' notice"
    )
    spot_fallback: bool = option(False, boolean(), "launch on demand, at its price, if spot is unavailable")
    allow_partial: bool = option(False, boolean(), "accept fewer VMs if not all are available")
    owner: str = option("", aws_value_types.tag_value(), "owner of the VMs; empty: your AWS identity (ARN)")
    owner_id: str = option(
        "",
        text("[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", "1 to 64 letters, digits, . _ @ or -"),
        "tells apart owners behind one IAM role; empty: this computer's own id",
    )


@dataclass(frozen=True)
class AwsSettings:
    """AWS account, region and network."""

    region: str = option("us-west-2", aws_value_types.region(), "AWS region", essential=True)
    profile: str = option("", text(), "profile in ~/.aws/config; empty: default credentials", essential=True)
    endpoint_url: str = option("", aws_value_types.url(), "endpoint of an EC2-compatible cloud; empty: AWS itself")
    vpc_id: str = option("", aws_value_types.resource_id("vpc"), "empty: the region's default VPC")
    subnet_id: str = option(
        "", aws_value_types.resource_id("subnet"), "empty: any subnet of the VPC in a zone that has the type"
    )
    security_group_id: str = option(
        "", aws_value_types.resource_id("sg"), "used as it is, never changed; empty: Stratus creates one"
    )
    key_name: str = option(
        "", text("[ -~]{1,255}", "1 to 255 ASCII characters"), "EC2 key pair; empty: Stratus creates one"
    )
    instance_profile: str = option("", aws_value_types.instance_profile(), "IAM role of the VMs, such as to read S3")
    ssh_from: str = option(
        "auto",
        aws_value_types.ipv4_networks(),
        "allowed to use SSH: auto (this computer) or 203.0.113.7/32, ...",
    )
    open_ports: tuple[OpenPorts, ...] = rare(
        (), aws_value_types.open_ports(), "further ports: 8888 from me, https from anywhere, 8000-8010 from 10.1.0.0/16"
    )
    label: str = option(
        "aws", text("[A-Za-z0-9_.-]{1,20}", "1 to 20 letters, digits, _ . or -"), "word shown in the prompt"
    )
    terminate_regions: str = option(
        "", aws_value_types.regions_or_all(), "further regions for TerminateAll(): all, or their names"
    )
    banner: str = option("", text(), "text shown in the banner")
    # Not options: keys in a file load with a warning, and no template or page mentions them.
    legacy_access_key: Secret | None = None
    legacy_secret_key: Secret | None = None
    # Not an option either: only the embedded cloud has a service of its own for this computer's address.
    address_url: str = "https://checkip.amazonaws.com"


@dataclass(frozen=True)
class SshSettings:
    """SSH connections from this computer to the VMs."""

    user: str = option(
        "", text("[a-z_][a-z0-9_.-]{0,31}", "a Unix user name"), "login name; empty: depends on the image"
    )
    port: int = option(22, integer(1, 65535), "port of the VMs' SSH server")
    private_key: str = option("", file_path("path"), "private key of [aws] key_name; empty: Stratus creates one")
    address: str = option(
        "auto", choice("auto", "public", "private"), "address of a VM to connect to; auto: public if it has one"
    )
    connect_timeout: float = option(10.0, number(0, 300, "seconds"), "for one connection attempt")
    ready_timeout: float = option(300.0, number(0, 3600, "seconds"), "from running to the first session")
    editor: str = option("", choice("vscode", "cursor"), "after a launch, print links that open the VMs in this editor")
    via: str = rare(
        "", aws_value_types.ssh_via(), "way to VMs without public addresses: user@jump[:port], eice-... or ssm"
    )
    via_key: str = rare("", file_path("path"), "private key for the jump host; empty: your own SSH setup")
    via_known_hosts: str = rare("", file_path("path"), "file with the jump host's key; empty: your own known_hosts")


@dataclass(frozen=True)
class DiskSettings:
    """Root disk of the VMs."""

    size: int = option(75, integer(8, 65536, "GiB"), "room for an image, its packages and some data", essential=True)
    type: str = option("gp3", aws_value_types.disk_type(), "EBS volume type", essential=True)
    iops: int = option(0, integer(0, 256000), "IOPS of the volume; 0: the type's default (gp3: 3000)")
    throughput: int = option(0, integer(0, 2000, "MiB/s"), "gp3 only; 0: the type's default (125)")
    encrypted: bool = option(True, boolean(), "encrypt with the account's default EBS key")


@dataclass(frozen=True)
class VmSettings:
    """VMs beyond their type and image."""

    max_price: float = rare(
        0.0, aws_value_types.dollars(), "highest price of one VM on demand, USD per hour, fallbacks too; 0: no ceiling"
    )
    max_spot_price: float = rare(
        0.0,
        aws_value_types.dollars(),
        "highest spot price of one VM, USD per hour; AWS ends VMs above it; 0: no ceiling",
    )
    capacity_reservation: str = rare(
        "", aws_value_types.resource_id("cr"), "capacity reservation or block to launch in, and nowhere else"
    )
    reservation_wait_hours: float = rare(
        24.0, number(0, 8784, "hours", or_equal=True), "longest wait of a launch for the start of the reservation"
    )
    placement: str = rare(
        "", choice("cluster"), "cluster: all VMs next to each other, in a placement group; empty: anywhere"
    )
    efa: bool = rare(
        False, boolean(), "network interfaces with Elastic Fabric Adapter, for MPI and NCCL among large VMs"
    )
    gpu_check: bool = rare(True, boolean(), "check NVIDIA GPUs when a VM is up, and replace one with a bad GPU, once")
    keep_failed_minutes: int = rare(
        0,
        integer(0, 1440),
        "after a failed job, RunExperiment() keeps its VMs up so long, for a look; 0: terminates them",
    )
    baked_images: bool = rare(
        True, boolean(), "launch from the image that BakeImage() made of the same installation, if there is one"
    )


@dataclass(frozen=True)
class InstallSettings:
    """Network and registry for InstallDeps()."""

    pip_options: str = option(
        "", aws_value_types.shell_words(), "further options of pip install, such as --index-url https://..."
    )
    ca_bundle: str = option("", file_path("path"), "CA certificates (PEM) for the VMs, behind a corporate proxy")
    build_args: str = option(
        "",
        aws_value_types.build_args(),
        "build arguments of images: NAME=VALUE ...; BASE=... is an example's base",
    )
    registry: str = option(
        "", aws_value_types.registry(), "container registry to log in to: host, host:port, docker.io; ecr: by AWS"
    )
    registry_user: str = option("", text(r"[^\s:]+", "a name without blanks"), "user name at the registry; not for ecr")
    registry_password_env: str = option(
        "", aws_value_types.secret_location(), "where this computer has the password; not for ecr"
    )
    timeout: float = option(1800.0, number(0, 86400, "seconds"), "for the whole installation on a VM")
    conda: str = option(
        "", text(r"\S+", "a path or a URL"), "for jobs with environment.yml: program on the VMs, or URL of micromamba"
    )


@dataclass(frozen=True)
class JobSettings:
    """Job that RunSingleVMComputing() and RunMultiVMComputing() run."""

    runtime: str = option("", choice("venv", "docker"), "environment of the job; empty: as its job.ini says")
    allow_folders: tuple[str, ...] = option(
        (), text_lines(), "folders outside the job's own that its job.ini may upload data from"
    )
    allow_variables: str = option("", text(), "variables that job.ini may use although they look like credentials")
    allow_files: tuple[str, ...] = option(
        (), text_lines(), "names or patterns of credential-like files that may be uploaded"
    )
    max_fetch_gib: float = option(20.0, number(0, 100_000, "GiB"), "FetchResults() stops at this size of a run")
    max_fetch_files: int = option(200_000, integer(1, 100_000_000), "FetchResults() stops at this number of files")
    notify: str = option("", command(), "shell command here at the end of a watched run: STRATUS_RUN, STRATUS_STATE")
    notify_after: int = option(60, integer(0, 86400, "seconds"), "bell and notify only for runs of this duration")
    run: str = option(
        "examples/cloud_retrieval",
        file_path("folder"),
        "folder with a job.ini, or such a file; from the folder above config/",
        essential=True,
    )


@dataclass(frozen=True)
class SageMakerSettings:
    """Training jobs and endpoints of SageMaker; its verbs only."""

    role: str = rare("", aws_value_types.role(), "execution role of SageMaker's containers: its name or ARN")
    sagemaker_bucket: str = rare(
        "", aws_value_types.bucket(), "bucket for code and results; empty: sagemaker-REGION-ACCOUNT"
    )
    training_image: str = rare(
        "", text(r"\S+", "a name without blanks"), "image of jobs that name none; empty: AWS's own with PyTorch"
    )
    training_instance_type: str = rare("ml.m5.xlarge", aws_value_types.managed_type(), "type of training instances")
    training_instances: int = rare(1, integer(1, 1000), "instances of a training job")
    training_spot: bool = rare(False, boolean(), "train on spot instances: cheaper; AWS may interrupt the job")
    spot_wait_hours: float = rare(24.0, number(0, 672, "hours"), "spot: longest time of waiting and running together")
    keep_alive_minutes: int = rare(
        0, integer(0, 360), "keep instances for the next job (warm pool), which is billed; 0: no"
    )
    volume_gib: int = rare(30, integer(1, 16384, "GiB"), "disk of each training instance")
    training_subnets: str = rare("", aws_value_types.resource_ids("subnet"), "subnets of training jobs; empty: none")
    training_security_groups: str = rare("", aws_value_types.resource_ids("sg"), "their security groups")


TABLES: Tables = {
    "cluster": ClusterSettings,
    "aws": AwsSettings,
    "ssh": SshSettings,
    "disk": DiskSettings,
    "volumes": FREE_FORM,
    "file_systems": FREE_FORM,
    "vms": VmSettings,
    "install": InstallSettings,
    "sagemaker": SageMakerSettings,
    "job": JobSettings,
}

LINES: Mapping[str, NamedLines[Any]] = {
    "volumes": NamedLines(
        volumes.parse,
        "Disks of each VM besides its root disk: NAME = SIZE at FOLDER.",
        {
            "data = 500 GiB at /data": "an EBS volume (gp3) on every VM, deleted with it",
            "data = 2 TiB at /data, io2, 10000 IOPS": "another type; for gp3 also 500 MiB/s",
            "data = 500 GiB at /data, keep": "kept when the VM is terminated, and attached again at the next launch",
            "data = 500 GiB at /data, from snap-0123456789abcdef0": "a copy of a snapshot",
            "data = vol-0123456789abcdef0 at /data": "an existing volume; never deleted, for one VM at a time",
            "scratch = local at /scratch": "the NVMe disks of types like g5 and i4i; empty again after a stop",
        },
    ),
    "file_systems": NamedLines(
        file_systems.parse,
        "Folders that all VMs share: NAME = EFS or FSx for Lustre at FOLDER.",
        {
            "shared = efs at /shared": "made with the cluster, deleted with it; billed by what it holds",
            "shared = efs at /shared, keep": "made with the cluster, kept when that is terminated",
            "lab = efs fs-0123456789abcdef0 at /lab, read-only": "an existing one; never deleted",
            "fast = lustre 1200 GiB at /fast": "FSx for Lustre (scratch), billed by its size",
            "fast = lustre fs-0123456789abcdef0 at /fast": "an existing one; never deleted",
        },
    ),
}
"""Sections with one line for each thing, under a name that the user chooses."""


@dataclass(frozen=True)
class Settings:
    """All settings; each record can also be made without a file, with the defaults.

    :param path: the file that was read.
    :param warnings: valid settings that deserve attention: old names, retired types, SSH open to the world.
    :param origins: (section, option) -> ``file:line``, for those that the file sets.
    """

    path: Path = Path("config/config.ini")
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    aws: AwsSettings = field(default_factory=AwsSettings)
    ssh: SshSettings = field(default_factory=SshSettings)
    disk: DiskSettings = field(default_factory=DiskSettings)
    vms: VmSettings = field(default_factory=VmSettings)
    install: InstallSettings = field(default_factory=InstallSettings)
    job: JobSettings = field(default_factory=JobSettings)
    sagemaker: SageMakerSettings = field(default_factory=SageMakerSettings)
    volumes: tuple[Volume, ...] = ()
    file_systems: tuple[FileSystem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    origins: Mapping[tuple[str, str], str] = field(default_factory=dict, repr=False)
