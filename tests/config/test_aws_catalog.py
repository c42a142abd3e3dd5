"""What a config file can be judged by without asking AWS agrees with what AWS publishes in botocore."""

from __future__ import annotations

import functools
import re
from typing import Any

import botocore.session
import pytest

from orchestrator.aws.ec2 import images
from orchestrator.config import aws_catalog


@functools.cache
def model() -> Any:
    return botocore.session.Session().get_service_model("ec2")


def test_every_region_that_botocore_knows_is_known() -> None:
    session = botocore.session.Session()
    regions = {
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("ec2", partition)
    }

    assert regions <= set(aws_catalog.REGIONS)
    assert len(aws_catalog.REGIONS) == len(set(aws_catalog.REGIONS))


def test_every_instance_type_has_the_shape_that_is_asked_for() -> None:
    assert [name for name in model().shape_for("InstanceType").enum if not aws_catalog.is_instance_type(name)] == []


@pytest.mark.parametrize("name", ["c7i.2xlrage", "c7i", "c7i.", ".large", "C7i.large", "c7i.large.x", "c7i large", ""])
def test_other_words_have_not(name: str) -> None:
    assert not aws_catalog.is_instance_type(name)


def test_suggestions_and_replacements_are_types_that_exist() -> None:
    known = set(model().shape_for("InstanceType").enum)

    assert (
        set(aws_catalog.instance_types()) | set(aws_catalog.RETIRED_TYPES) | set(aws_catalog.RETIRED_TYPES.values())
        <= known
    )
    assert not set(aws_catalog.RETIRED_TYPES) & (
        set(aws_catalog.instance_types()) | set(aws_catalog.RETIRED_TYPES.values())
    )


@pytest.mark.parametrize("name", aws_catalog.VOLUME_TYPES)
def test_disks_have_the_limits_of_the_api_reference(name: str) -> None:
    members = model().shape_for("EbsBlockDevice").members
    disk = aws_catalog.VOLUME_TYPES[name]

    assert limits(members["VolumeSize"].documentation, name) == disk.size_gib
    assert limits(members["Iops"].documentation, name) == disk.iops
    throughput = re.findall(r"Minimum value of (\d+)\. Maximum value of ([\d,]+)", members["Throughput"].documentation)
    assert [(int(low), int(high.replace(",", ""))) for low, high in throughput] == [aws_catalog.GP3_THROUGHPUT]


def limits(documentation: str, name: str) -> tuple[int, ...]:
    """Return the bounds that stand behind a volume type in the API reference; none where it is not listed."""
    plain = re.sub(r"<[^>]+>", "", documentation)
    found = re.search(rf"{name}(?: and \w+)?: ([\d,]+) ?- ?([\d,]+) ", plain) or re.search(
        rf"\w+ and {name}: ([\d,]+) ?- ?([\d,]+) ", plain
    )
    return tuple(int(bound.replace(",", "")) for bound in found.groups()) if found else ()


def test_successors_of_retired_images_are_aliases_that_exist() -> None:
    assert set(aws_catalog.RETIRED_IMAGES.values()) <= set(images.ALIASES)
    assert not set(aws_catalog.RETIRED_IMAGES) & set(images.ALIASES)
