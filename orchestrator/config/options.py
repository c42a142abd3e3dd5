"""The options of ``config/config.ini``: the one table behind the loader, the template and the manual."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.config import aws_value_types
from orchestrator.config.schema import Secret, Tables, boolean, choice, file_path, integer, number, option, text
from orchestrator.core.errors import Problem


@dataclass(frozen=True)
class ClusterSettings:
    """What LaunchInstances() starts."""

    name: str = option(
        "ml",
        text("[a-z][a-z0-9-]{0,30}", "a lower-case letter, then up to 30 lower-case letters, digits or -"),
        "of the cluster; its VMs are called ml-0, ml-1, ...",
        essential=True,
    )
    count: int = option(1, integer(1, 1000), "VMs to launch; LaunchInstances(2) launches 2", essential=True)
    instance_type: str = option("c7i.2xlarge", aws_value_types.instance_type(), "EC2 type of every VM", essential=True)
    image: str = option(
        "ubuntu-24.04",
        aws_value_types.image(),
        "alias, ami-..., SSM parameter (/aws/...) or name pattern",
        essential=True,
    )
    max_hours: float = option(8.0, number(0, 720, "hours"), "after which each VM ends itself", essential=True)
    max_dollars: float = option(
        0.0, aws_value_types.dollars(), "one launch may cost: its VMs end themselves in time; 0: no cap"
    )
    idle_minutes: int = option(0, integer(0, 43200), "without job, SSH session or GPU use: a VM ends itself; 0: never")
    siblings: str = option(
        "", aws_value_types.instance_types(), "other types that will do when no zone has instance_type"
    )
    market: str = option("on-demand", choice("on-demand", "spot"), "spot costs less and may end at two minutes' notice")
    spot_fallback: bool = option(False, boolean(), "on demand when there is no spot machine; at its price")
    allow_partial: bool = option(False, boolean(), "take fewer VMs when not all can be had")
    owner: str = option("", aws_value_types.tag_value(), "whose VMs these are; empty: who AWS says you are (ARN)")


@dataclass(frozen=True)
class AwsSettings:
    """Where in AWS, and as whom."""

    region: str = option("us-west-2", aws_value_types.region(), "AWS region", essential=True)
    profile: str = option("", text(), "of ~/.aws/config; empty: the usual chain", essential=True)
    endpoint_url: str = option("", aws_value_types.url(), "of an EC2-compatible cloud; empty: AWS itself")
    vpc_id: str = option("", aws_value_types.resource_id("vpc"), "empty: the region's default VPC")
    subnet_id: str = option(
        "", aws_value_types.resource_id("subnet"), "empty: any subnet of the VPC whose zone has the type"
    )
    security_group_id: str = option(
        "", aws_value_types.resource_id("sg"), "never changed; empty: one of the cluster's own"
    )
    key_name: str = option("", text("[ -~]{1,255}", "1 to 255 ASCII characters"), "EC2 key pair; empty: our own")
    instance_profile: str = option("", aws_value_types.instance_profile(), "the VMs' IAM role, such as to read S3")
    ssh_from: str = option(
        "auto", aws_value_types.ipv4_networks(), "who may connect: auto (this machine) or 203.0.113.7/32, ..."
    )
    label: str = option("aws", text("[A-Za-z0-9_.-]{1,20}", "1 to 20 letters, digits, _ . or -"), "word in the prompt")
    sweep: str = option(
        "", aws_value_types.regions_or_all(), "other regions that TerminateAll() looks into, too: all, or their names"
    )
    note: str = option("", text(), "words in the banner at the start")
    legacy_access_key: Secret | None = None
    legacy_secret_key: Secret | None = None


@dataclass(frozen=True)
class SshSettings:
    """How this machine reaches the VMs."""

    user: str = option("", text("[a-z_][a-z0-9_.-]{0,31}", "a Unix user's name"), "login name; empty: by image")
    port: int = option(22, integer(1, 65535), "of the VMs' SSH server")
    private_key: str = option("", file_path("path"), "file of [aws] key_name; empty: a key of the cluster's own")
    address: str = option("auto", choice("auto", "public", "private"), "of a VM to call; auto: public if it has one")
    connect_timeout: float = option(10.0, number(0, 300, "seconds"), "for one attempt to connect")
    ready_timeout: float = option(300.0, number(0, 3600, "seconds"), "from running to the first session")


@dataclass(frozen=True)
class DiskSettings:
    """The VMs' root disk."""

    size: int = option(75, integer(8, 65536, "GiB"), "room for an image, its packages and some data", essential=True)
    type: str = option("gp3", aws_value_types.disk_type(), "EBS volume type", essential=True)
    iops: int = option(0, integer(0, 256000), "of the volume; 0: what the type comes with (gp3: 3000)")
    throughput: int = option(0, integer(0, 2000, "MiB/s"), "gp3 only; 0 stands for what it comes with (125)")
    encrypted: bool = option(True, boolean(), "with the account's default EBS key")


@dataclass(frozen=True)
class InstallSettings:
    """What InstallDeps() needs to know of your network."""

    pip_options: str = option(
        "", aws_value_types.shell_words(), "more words for pip install, such as --index-url https://..."
    )
    ca_bundle: str = option("", file_path("path"), "CA certificates (PEM) for the VMs, behind a corporate proxy")
    build_args: str = option(
        "", aws_value_types.build_args(), "of images that are built: NAME=VALUE ...; BASE=... is an example's base"
    )
    registry: str = option(
        "", aws_value_types.registry(), "of images, to log in to: host, host:port, docker.io; ecr: by AWS"
    )
    registry_user: str = option("", text(r"[^\s:]+", "a name without blanks"), "who logs in there; not for ecr")
    registry_password_env: str = option(
        "", aws_value_types.secret_location(), "where this machine has the password; not for ecr"
    )
    timeout: float = option(1800.0, number(0, 86400, "seconds"), "for everything that is installed on a VM")


@dataclass(frozen=True)
class JobSettings:
    """What RunSingleVMComputing() and RunMultiVMComputing() run."""

    runtime: str = option("", choice("venv", "docker"), "what the job runs in; empty: as its job.ini says")
    run: str = option(
        "examples/cloud_retrieval",
        file_path("folder"),
        "folder with a job.ini, or such a file; from the folder above config/ on",
        essential=True,
    )


TABLES: Tables = {
    "cluster": ClusterSettings,
    "aws": AwsSettings,
    "ssh": SshSettings,
    "disk": DiskSettings,
    "install": InstallSettings,
    "job": JobSettings,
}


@dataclass(frozen=True)
class Settings:
    """All settings; every record can be made without a file too, with the defaults.

    :param path: the file that was read.
    :param warnings: what works but is worth a word: old names, retired types, a door open to the world.
    :param origins: (section, option) -> where its value came from, for those that the file sets.
    """

    path: Path = Path("config/config.ini")
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    aws: AwsSettings = field(default_factory=AwsSettings)
    ssh: SshSettings = field(default_factory=SshSettings)
    disk: DiskSettings = field(default_factory=DiskSettings)
    install: InstallSettings = field(default_factory=InstallSettings)
    job: JobSettings = field(default_factory=JobSettings)
    warnings: tuple[Problem, ...] = ()
    origins: Mapping[tuple[str, str], str] = field(default_factory=dict, repr=False)
