"""EC2 instance types: what a machine has, and in which zones it is offered."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.aws import client, errors
from orchestrator.config import ini
from orchestrator.core.errors import UsageError

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef, InstanceTypeInfoTypeDef


@dataclass(frozen=True)
class InstanceType:
    """What one machine of a type has.

    :param name: such as ``c7i.2xlarge``.
    :param memory_gib: main memory, GiB.
    :param gpus: number of GPUs.
    :param gpu: what they are, ``NVIDIA L4``; empty without any.
    :param architectures: such as ``x86_64``; an image must have one of them.
    :param zones: where the region offers it, sorted. Offered does not mean free.
    """

    name: str
    vcpus: int
    memory_gib: float
    architectures: tuple[str, ...]
    gpus: int = 0
    gpu: str = ""
    zones: tuple[str, ...] = ()


def guess_architecture(name: str) -> str:
    """Guess what images a type boots by its name, ahead of EC2's answer: a ``g`` after the generation is Graviton.

    https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html
    """
    return "arm64" if re.match(r"([a-z]+[0-9]+[a-z]*g|a1\.)", name.partition(".")[0] + ".") else "x86_64"


def find(clients: client.Clients, name: str) -> InstanceType:
    """Return what the region knows of a type: two calls.

    :raises UsageError: the region has no such type; the nearest names are in the message.
    """
    info, zones = clients.in_parallel(lambda: _info(clients, name), lambda: _zones(clients, name))
    if not zones:
        raise UsageError(
            f"instance type {name} is not offered in any zone of {clients.region} open to this account",
            fix="choose another [cluster] instance_type or [aws] region",
        )
    return _type(info, zones)


def _type(info: InstanceTypeInfoTypeDef, zones: tuple[str, ...]) -> InstanceType:
    gpus = info.get("GpuInfo", {}).get("Gpus", [])
    return InstanceType(
        name=info["InstanceType"],
        vcpus=info["VCpuInfo"]["DefaultVCpus"],
        memory_gib=info["MemoryInfo"]["SizeInMiB"] / 1024,
        architectures=tuple(info["ProcessorInfo"]["SupportedArchitectures"]),
        gpus=sum(gpu["Count"] for gpu in gpus),
        gpu=f"{gpus[0].get('Manufacturer', '')} {gpus[0].get('Name', '')}".strip() if gpus else "",
        zones=zones,
    )


def _info(clients: client.Clients, name: str) -> InstanceTypeInfoTypeDef:
    with clients.translate_errors(f"looking up instance type {name}"):
        try:
            return clients.ec2.describe_instance_types(InstanceTypes=[name])["InstanceTypes"][0]  # type: ignore[list-item]
        except errors.error_types() as error:
            if not errors.code_of(error).startswith("InvalidInstanceType"):
                raise
            hint = ini.suggest(name, _offered(clients))
            raise UsageError(
                f"{name} is no EC2 instance type in {clients.region}.{hint}",
                code=errors.code_of(error),
                fix="correct [cluster] instance_type in the config",
            ) from error


def _zones(clients: client.Clients, name: str) -> tuple[str, ...]:
    with clients.translate_errors(f"asking which zones offer {name}"):
        offers = clients.ec2.describe_instance_type_offerings(
            LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [name]}]
        )
    return tuple(sorted(offer["Location"] for offer in offers["InstanceTypeOfferings"]))


def _offered(clients: client.Clients) -> list[str]:
    pages = clients.ec2.get_paginator("describe_instance_type_offerings").paginate(LocationType="region")
    return sorted(offer["InstanceType"] for page in pages for offer in page["InstanceTypeOfferings"])


def vcpus_by_type(clients: client.Clients, names: Collection[str]) -> dict[str, int]:
    """Return the virtual CPUs of some types; those that the region does not know are left out."""
    if not names:
        return {}
    pages = clients.ec2.get_paginator("describe_instance_types").paginate(
        Filters=[{"Name": "instance-type", "Values": sorted(names)}]
    )
    return {each["InstanceType"]: each["VCpuInfo"]["DefaultVCpus"] for page in pages for each in page["InstanceTypes"]}


def list_types(clients: client.Clients, patterns: Sequence[str], *, vcpus: int = 0) -> list[InstanceType]:
    """Return the current types of the region whose names match; their zones are not asked for.

    :param patterns: such as ``g*.*``; all types when empty.
    :param vcpus: only those with so many; 0 is any number.
    """
    wanted: list[FilterTypeDef] = [{"Name": "current-generation", "Values": ["true"]}]
    wanted += [{"Name": "instance-type", "Values": [*patterns]}] if patterns else []
    wanted += [{"Name": "vcpu-info.default-vcpus", "Values": [str(vcpus)]}] if vcpus else []
    with clients.translate_errors("listing instance types"):
        pages = clients.ec2.get_paginator("describe_instance_types").paginate(Filters=wanted)
        return [_type(each, ()) for page in pages for each in page["InstanceTypes"]]
