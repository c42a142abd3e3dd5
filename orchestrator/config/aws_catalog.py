"""Regions, instance types and volume types of AWS, to check a config file without API calls.

:data:`REGIONS` and :data:`VOLUME_TYPES` are complete (service model of botocore 1.44, November 2026). The list of
instance types serves suggestions only: which types a region offers changes, and only AWS knows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_REGIONS = {
    "us": "east-1 east-2 west-1 west-2 gov-east-1 gov-west-1 iso-east-1 iso-west-1",
    "ca": "central-1 west-1",
    "mx": "central-1",
    "sa": "east-1 west-1",
    "eu": "central-1 central-2 north-1 south-1 south-2 west-1 west-2 west-3 isoe-west-1",
    "ap": "east-1 east-2 northeast-1 northeast-2 northeast-3 south-1 south-2 southeast-1 southeast-2 southeast-3 "
    "southeast-4 southeast-5 southeast-6 southeast-7",
    "af": "south-1",
    "il": "central-1",
    "me": "central-1 south-1 west-1",
    "cn": "north-1 northwest-1",
    "eusc": "de-east-1",
    "us-isob": "east-1 west-1",
    "us-isof": "east-1 south-1",
}
REGIONS = tuple(f"{area}-{place}" for area, places in _REGIONS.items() for place in places.split())

#: Matches every type of botocore 1.44 (1437 of them): ``c7i.2xlarge``, ``u7in-32tb.224xlarge``, ``c7i.metal-48xl``.
TYPE_PATTERN = r"[a-z][a-z0-9]*(-[a-z0-9]+)*\.(nano|micro|small|medium|large|[0-9]*xlarge|metal(-[0-9]+xl)?)"

_UP_TO_48 = "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge"
_UP_TO_16 = "large xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge"
_GPU_UP_TO_48 = "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge 24xlarge 48xlarge"
# Common families only; the list need not follow EC2's growth.
_FAMILIES = {
    "t3": "nano micro small medium large xlarge 2xlarge",
    "c5": "large xlarge 2xlarge 4xlarge 9xlarge 12xlarge 18xlarge 24xlarge",
    **dict.fromkeys(("c6i", "m6i", "r6i", "c7g", "m7g", "m5", "r5"), _UP_TO_16),
    **dict.fromkeys(("c7i", "m7i", "r7i", "c7a", "m7a", "r7a", "c8i", "m8i", "r8i", "c8g", "m8g"), _UP_TO_48),
    **dict.fromkeys(("g5", "g6", "g6e"), _GPU_UP_TO_48),
    "g4dn": "xlarge 2xlarge 4xlarge 8xlarge 12xlarge 16xlarge",
    "p4d": "24xlarge",
    "p4de": "24xlarge",
    "p5": "4xlarge 48xlarge",
    "p5e": "48xlarge",
    "p5en": "48xlarge",
}

#: Retired images, as tutorials name them -> nearest available alias.
RETIRED_IMAGES = {
    **dict.fromkeys(("ubuntu-14.04", "ubuntu-16.04", "ubuntu-18.04", "ubuntu-20.04"), "ubuntu-24.04"),
    **dict.fromkeys(("amazon-linux", "amazon-linux-2"), "amazon-linux-2023"),
    **dict.fromkeys(
        ("deep-learning-ubuntu-16.04", "deep-learning-ubuntu-18.04", "deep-learning-ubuntu-20.04"),
        "deep-learning-ubuntu-24.04",
    ),
    "deep-learning-amazon-linux": "deep-learning-amazon-linux-2023",
    "deep-learning-amazon-linux-2": "deep-learning-amazon-linux-2023",
}

#: Retired types -> nearest available type, by number and memory of the GPUs.
RETIRED_TYPES = {
    "p2.xlarge": "g4dn.xlarge",
    "p2.8xlarge": "g4dn.12xlarge",
    "p2.16xlarge": "g5.48xlarge",
    "p3.2xlarge": "g6.xlarge",
    "p3.8xlarge": "g6.12xlarge",
    "p3.16xlarge": "p4d.24xlarge",
    "p3dn.24xlarge": "p4d.24xlarge",
}


def instance_types() -> list[str]:
    """Return common types for computing, for suggestions."""
    return [f"{family}.{size}" for family, sizes in _FAMILIES.items() for size in sizes.split()]


def is_instance_type(name: str) -> bool:
    """Return True if a text has the form of an instance type."""
    return re.fullmatch(TYPE_PATTERN, name) is not None


@dataclass(frozen=True)
class VolumeLimits:
    """Limits of an EBS volume type.

    Sizes, IOPS and throughput: EC2 API reference, EbsBlockDevice (botocore 1.44; since September 2025 a gp3 volume
    reaches 64 TiB, 80,000 IOPS and 2,000 MiB/s). Ratios and booting: EBS user guide, "Amazon EBS volume types".

    :param size_gib: smallest and largest size, GiB.
    :param iops: lowest and highest IOPS that can be requested; empty: IOPS cannot be requested.
    :param iops_per_gib: highest IOPS for each GiB.
    :param default_iops: IOPS without a request; 0: they must be requested.
    :param bootable: True if a VM can boot from it.
    """

    size_gib: tuple[int, int]
    iops: tuple[int, int] | tuple[()] = ()
    iops_per_gib: int = 0
    default_iops: int = 0
    bootable: bool = True


VOLUME_TYPES = {
    "gp3": VolumeLimits((1, 65536), (3000, 80000), 500, 3000),
    "gp2": VolumeLimits((1, 16384)),
    "io1": VolumeLimits((4, 16384), (100, 64000), 50),
    "io2": VolumeLimits((4, 65536), (100, 256000), 1000),
    "st1": VolumeLimits((125, 16384), bootable=False),
    "sc1": VolumeLimits((125, 16384), bootable=False),
}

#: Lowest and highest MiB/s of a gp3 volume, and the highest MiB/s for each of its IOPS.
GP3_THROUGHPUT = (125, 2000)
GP3_THROUGHPUT_PER_IOPS = 0.25
