"""Cells for settings that the user must fix: reported within 5 s, nothing changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from localcloud.aws.images import IMAGES
from orchestrator.aws.identity import ClusterId
from tests.chaos.fault_matrix.cell import Cell
from tests.chaos.fault_matrix.cells.common import KEYS, LAUNCH, reported_at_once
from tests.chaos.invariants import OUR_ARN

OUR_NAME = ClusterId("ml", OUR_ARN, "123456789012", "us-west-2").resource_name
X86_IMAGE = next(image.id("us-west-2") for image in IMAGES if image.architecture == "x86_64")


def _config() -> Iterator[Cell]:
    """F10, F11: mistakes in the config file."""
    mistakes = (
        ("unknown key", "[cluster]\nnmae = ml\n[aws]\nregion = us-west-2\n", ("config.ini:2", "nmae", "name")),
        ("wrong type", "[cluster]\nname = ml\ncount = two\n", ("config.ini:3", "count", "two")),
        ("stray blank", "[cluster]\nname = ml\n  count = 2\n", ("config.ini:3", "count")),
        ("two at once", "[cluster]\ncount = 0\nmax_hours = x\n", ("config.ini:2", "config.ini:3", "2 mistakes")),
        ("no section", "name = ml\n", ("config.ini:1",)),
        ("two keys of one name", "[cluster]\nname = a\nname = b\n", ("config.ini:3", "name")),
    )
    for phase, text, output in mistakes:
        for command in (LAUNCH, "terminate"):
            yield reported_at_once("F10", phase, command, 2, (*output, "othing was launched"), config_text=text)
    yield reported_at_once(
        "F11",
        "unknown region",
        LAUNCH,
        2,
        ("us-wset-2", "us-west-2", "[aws] region"),
        real_credentials=True,
        environment=KEYS,
        settings={"aws.region": "us-wset-2"},
    )
    yield reported_at_once(
        "F11", "blank in the name", LAUNCH, 2, ("us west-2", "config.ini"), settings={"aws.region": "us west-2"}
    )


def _names() -> Iterator[Cell]:
    """F16-F23, F27, F32: names that AWS does not know, and requests that it refuses."""
    names: tuple[tuple[str, str, dict[str, str], tuple[str, ...], int], ...] = (
        (
            "F16",
            "unknown type",
            {"cluster.instance_type": "c7i.2xlrge"},
            ("c7i.2xlrge", "c7i.2xlarge", "instance_type"),
            2,
        ),
        ("F16", "retired type", {"cluster.instance_type": "zz9.large"}, ("zz9.large", "instance_type"), 2),
        ("F17", "unknown alias", {"cluster.image": "ubunto-24.04"}, ("ubunto-24.04", "ubuntu-24.04", "image"), 2),
        ("F17", "unknown id", {"cluster.image": "ami-0123456789abcdef0"}, ("ami-0123456789abcdef0", "image"), 2),
        ("F17", "malformed id", {"cluster.image": "ami-12"}, ("ami-12", "image"), 2),
        (
            "F17",
            "wrong architecture",
            {"cluster.instance_type": "c7g.2xlarge", "cluster.image": X86_IMAGE},
            ("image", "x86_64", "arm64", "instance_type"),
            2,
        ),
        (
            "F18",
            "subnet missing",
            {"aws.subnet_id": "subnet-0123456789abcdef0"},
            ("subnet-0123456789abcdef0", "InvalidSubnetID.NotFound", "existing subnets: subnet-"),
            2,
        ),
        (
            "F18",
            "VPC missing",
            {"aws.vpc_id": "vpc-0123456789abcdef0"},
            ("vpc-0123456789abcdef0", "existing subnets: subnet-"),
            2,
        ),
        (
            "F18",
            "group missing",
            {"aws.security_group_id": "sg-0123456789abcdef0"},
            ("sg-0123456789abcdef0", "InvalidGroup", "existing groups: sg-"),
            2,
        ),
        (
            "F21",
            "key pair absent",
            {"aws.key_name": "mine", "ssh.private_key": "{key}"},
            ("mine", "InvalidKeyPair.NotFound"),
            2,
        ),
        ("F21", "no private key named", {"aws.key_name": "mine"}, ("mine", "private_key"), 2),
        ("F22", "profile missing", {"aws.instance_profile": "nobody"}, ("nobody", "instance_profile"), 3),
    )
    for fault, phase, config, output, code in names:
        yield reported_at_once(fault, phase, LAUNCH, code, output, settings=config)
    for refusal_code in ("InvalidAMIID.Unavailable", "AuthFailure"):
        gone = {"kind": "image-unavailable", "code": refusal_code}
        output = (refusal_code, "[cluster] image")
        yield reported_at_once("F17", f"RunInstances: {refusal_code}", LAUNCH, 3, output, faults=(gone,))
    yield from _late_profiles()
    for refusal_code, message, hint in (
        ("IdempotentParameterMismatch", "Arguments on this idempotent request are inconsistent", "stratus status"),
        ("InvalidUserData.Malformed", "User data is limited to 16384 bytes", "InvalidUserData.Malformed"),
        ("InvalidParameter", "Security group sg-1 and subnet subnet-1 belong to different networks.", "one VPC"),
    ):
        fault = {"IdempotentParameterMismatch": "F27", "InvalidUserData.Malformed": "F23", "InvalidParameter": "F19"}[
            refusal_code
        ]
        refused = {
            "kind": "error",
            "code": refusal_code,
            "message": message,
            "action": "RunInstances",
            "when": "from call 2",
        }
        yield Cell(
            fault,
            f"RunInstances: {refusal_code}",
            LAUNCH,
            "U",
            3,
            (refusal_code, hint),
            (refused,),
            instances=0,
            next_command="terminate",
        )
    for kind, hint in (("group", "security_group_id"), ("key", "key_name")):
        foreign = {"kind": "colleague", "machines": 0, kind: OUR_NAME, "tags": {"stratus:owner": "another owner"}}
        yield Cell(
            "F32",
            f"another owner's {kind} has our name",
            LAUNCH,
            "U",
            3,
            (".Duplicate", "not tagged as this cluster's", hint),
            (foreign,),
            instances=0,
        )


def _late_profiles() -> Iterator[Cell]:
    """F22: an instance profile that exists in IAM and is not known to EC2 yet."""
    profile, waiting = (
        {"aws.instance_profile": "rehearsal"},
        "waiting until EC2 accepts instance profile rehearsal",
    )
    refused = ("InvalidParameterValue", "instance_profile")
    for hint in ("name", "roles"):
        unknown_yet = {"kind": "profile-late", "words": hint}
        known_soon = {**unknown_yet, "when": "until 20 s"}
        yield Cell(
            "F22", f"{hint}, for 20 s", LAUNCH, "W", 0, (waiting, "2 of 2 ready"), (known_soon,), profile, instances=2
        )
        yield Cell(
            "F22",
            f"{hint}, permanently",
            LAUNCH,
            "U",
            3,
            (waiting, *refused),
            (unknown_yet,),
            profile,
            instances=0,
            changes=0,
            max_s=70.0,
        )
    no_iam = ({"kind": "profile-late"}, {"kind": "denied", "action": "iam:GetInstanceProfile"})
    yield reported_at_once("F22", "no permission to ask IAM", LAUNCH, 3, refused, faults=no_iam, settings=profile)
    message = "Value (rehearsal) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"
    refusal: dict[str, Any] = {
        "kind": "error",
        "code": "InvalidParameterValue",
        "message": message,
        "action": "RunInstances",
    }
    refusal |= {"when": "from call 2", "times": 2}
    yield Cell("F22", "RunInstances: name, again", LAUNCH, "R", 0, ("2 of 2 ready",), (refusal,), profile, instances=2)


def cells() -> Iterator[Cell]:
    """Yield the cells."""
    yield from _config()
    yield from _names()
