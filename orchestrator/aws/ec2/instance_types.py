"""EC2 instance types: hardware, and the zones that offer them."""

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
    """Hardware of one instance type.

    :param name: such as ``c7i.2xlarge``.
    :param memory_gib: main memory, GiB.
    :param gpus: number of GPUs.
    :param gpu: manufacturer and model, ``NVIDIA L4``; empty without GPUs.
    :param architectures: such as ``x86_64``; the image must have one of them.
    :param gpu_memory_gib: memory of each GPU, GiB; 0 without GPUs.
    :param network: bandwidth as AWS words it: ``Up to 10 Gigabit``.
    :param zones: Availability Zones that offer it, sorted; an offered type may still lack capacity.
    :param local_disk_gb: size of its own disks (instance store), GB; 0 if it has none.
    :param efa_interfaces: network cards with an Elastic Fabric Adapter; 0 if it has none.
    :param placement_strategies: of the placement groups that it can be in.
    """

    name: str
    vcpus: int
    memory_gib: float
    architectures: tuple[str, ...]
    gpus: int = 0
    gpu: str = ""
    gpu_memory_gib: float = 0.0
    network: str = ""
    zones: tuple[str, ...] = ()
    local_disk_gb: int = 0
    efa_interfaces: int = 0
    placement_strategies: tuple[str, ...] = ()


def guess_architecture(name: str) -> str:
    """Return the likely architecture of a type from its name, without a call: ``g`` after the generation is Graviton.

    https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-names.html
    """
    return "arm64" if re.match(r"([a-z]+[0-9]+[a-z]*g|a1\.)", name.partition(".")[0] + ".") else "x86_64"


def find(clients: client.Clients, name: str) -> InstanceType:
    """Return an instance type; two calls.

    :raises UsageError: the region does not offer it; the message suggests similar names.
    """
    info, zones = clients.in_parallel(lambda: _info(clients, name), lambda: _zones(clients, name))
    # The type exists in the region, but in none of the zones that are enabled for the account.
    if not zones:
        raise UsageError(
            f"instance type {name} is not offered in any zone of {clients.region} open to this account",
            fix="choose another [cluster] instance_type or [aws] region",
        )
    return _type(info, zones)


def _type(info: InstanceTypeInfoTypeDef, zones: tuple[str, ...]) -> InstanceType:
    gpus, network = info.get("GpuInfo", {}).get("Gpus", []), info.get("NetworkInfo", {})
    has_efa = network.get("EfaSupported", False)
    efa_interfaces = network.get("EfaInfo", {}).get("MaximumEfaInterfaces", 1) if has_efa else 0
    return InstanceType(
        name=info["InstanceType"],
        vcpus=info["VCpuInfo"]["DefaultVCpus"],
        memory_gib=info["MemoryInfo"]["SizeInMiB"] / 1024,
        architectures=tuple(info["ProcessorInfo"]["SupportedArchitectures"]),
        gpus=sum(gpu["Count"] for gpu in gpus),
        gpu=f"{gpus[0].get('Manufacturer', '')} {gpus[0].get('Name', '')}".strip() if gpus else "",
        gpu_memory_gib=gpus[0].get("MemoryInfo", {}).get("SizeInMiB", 0) / 1024 if gpus else 0.0,
        network=network.get("NetworkPerformance", ""),
        zones=zones,
        local_disk_gb=info.get("InstanceStorageInfo", {}).get("TotalSizeInGB", 0),
        efa_interfaces=min(efa_interfaces, network.get("MaximumNetworkCards", 1)),
        placement_strategies=tuple(info.get("PlacementGroupInfo", {}).get("SupportedStrategies", [])),
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
                f"{name} is not an EC2 instance type in {clients.region}.{hint}",
                code=errors.code_of(error),
                fix="correct [cluster] instance_type in the config",
            ) from error


def _zones(clients: client.Clients, name: str) -> tuple[str, ...]:
    with clients.translate_errors(f"looking up the zones of {name}"):
        response = clients.ec2.describe_instance_type_offerings(
            LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [name]}]
        )
    return tuple(sorted(offering["Location"] for offering in response["InstanceTypeOfferings"]))


def zones_of(clients: client.Clients, names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return type -> the zones that offer it, of some types; one call."""
    filters: list[FilterTypeDef] = [{"Name": "instance-type", "Values": sorted(names)}]
    pages = clients.ec2.get_paginator("describe_instance_type_offerings").paginate(
        LocationType="availability-zone", Filters=filters
    )
    zones: dict[str, list[str]] = {name: [] for name in names}
    with clients.translate_errors("looking up the zones of instance types"):
        for page in pages:
            for offering in page["InstanceTypeOfferings"]:
                zones.setdefault(offering["InstanceType"], []).append(offering["Location"])
    return {name: tuple(sorted(locations)) for name, locations in zones.items()}


def _offered(clients: client.Clients) -> list[str]:
    pages = clients.ec2.get_paginator("describe_instance_type_offerings").paginate(LocationType="region")
    return sorted(offering["InstanceType"] for page in pages for offering in page["InstanceTypeOfferings"])


def vcpus_by_type(clients: client.Clients, names: Collection[str]) -> dict[str, int]:
    """Return the virtual CPUs of some types; types unknown in the region are omitted."""
    if not names:
        return {}
    pages = clients.ec2.get_paginator("describe_instance_types").paginate(
        Filters=[{"Name": "instance-type", "Values": sorted(names)}]
    )
    return {info["InstanceType"]: info["VCpuInfo"]["DefaultVCpus"] for page in pages for info in page["InstanceTypes"]}


def list_types(
    clients: client.Clients,
    patterns: Sequence[str],
    *,
    vcpus: int = 0,
    only_current: bool = True,
    has_efa: bool = False,
) -> list[InstanceType]:
    """Return the types of the region, without their zones.

    :param patterns: of their names, such as ``g*.*``; empty for all.
    :param vcpus: only types with this number of virtual CPUs; 0 for any.
    :param only_current: leave out those of earlier generations.
    :param has_efa: only types with an Elastic Fabric Adapter.
    """
    filters: list[FilterTypeDef] = [{"Name": "current-generation", "Values": ["true"]}] if only_current else []
    filters += [{"Name": "instance-type", "Values": [*patterns]}] if patterns else []
    filters += [{"Name": "network-info.efa-supported", "Values": ["true"]}] if has_efa else []
    filters += [{"Name": "vcpu-info.default-vcpus", "Values": [str(vcpus)]}] if vcpus else []
    with clients.translate_errors("listing instance types"):
        pages = clients.ec2.get_paginator("describe_instance_types").paginate(Filters=filters)
        return [_type(info, ()) for page in pages for info in page["InstanceTypes"]]
