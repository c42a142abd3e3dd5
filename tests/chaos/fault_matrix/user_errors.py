"""The cells that the user has to mend: said at once, within 5 s, and without changing anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from localcloud.aws.images import IMAGES
from orchestrator.aws.identity import ClusterId
from tests.chaos.fault_matrix.cell_runner import Cell
from tests.chaos.invariants import OUR_ARN

LAUNCH = "launch -n 2 --yes"
SOON = 5.0
OUR_NAME = ClusterId("ml", OUR_ARN, "123456789012", "us-west-2").resource_name
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
}
ROLE = "sso_account_id = 123456789012\nsso_role_name = r\n"
START = "sso_region = us-west-2\nsso_start_url = https://example.awsapps.com/start\n"
SSO = f"[default]\nsso_session = us\n{ROLE}[sso-session us]\n{START}"
OLD_SSO = f"[default]\n{ROLE}{START}"
CHAIN = "[default]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = nobody\n"
X86 = next(image.id("us-west-2") for image in IMAGES if image.architecture == "x86_64")
VERBS = (LAUNCH, "status", "stop", "terminate")


def _user(fault: str, phase: str, typed: str, code: int, says: tuple[str, ...], **options: Any) -> Cell:
    return Cell(
        fault, f"{phase}, {typed.split()[0]}", typed, "U", code, says, changes=0, instances=0, max_s=SOON, **options
    )


def _credentials() -> Iterator[Cell]:
    for typed in VERBS:
        places = (
            "no AWS credentials",
            "AWS_ACCESS_KEY_ID",
            "~/.aws/credentials",
            "role of this machine",
            "aws configure",
        )
        yield _user("F01", "nothing anywhere", typed, 2, places, real_credentials=True)
        for have, lacking in (("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),):
            yield _user(
                "F02",
                f"only {have}",
                typed,
                2,
                (f"{lacking} is missing", f"set {lacking}"),
                real_credentials=True,
                environment={have: KEYS[have]},
            )
        yield _user(
            "F03",
            "profile missing",
            typed,
            2,
            ("nobody", "profiles there are: work", "[aws] profile"),
            real_credentials=True,
            environment={"AWS_SHARED_CREDENTIALS_FILE": "[work]\naws_access_key_id = x\n"},
            settings={"aws.profile": "nobody"},
        )
        yield _user(
            "F03",
            "broken chain",
            typed,
            2,
            ("nobody", "profiles there are", "aws configure"),
            real_credentials=True,
            environment={"AWS_CONFIG_FILE": CHAIN},
        )
        yield _user(
            "F04",
            "SSO",
            typed,
            2,
            ("not logged in", "aws sso login"),
            real_credentials=True,
            environment={"AWS_CONFIG_FILE": SSO},
        )
        yield _user(
            "F04",
            "SSO of the old form",
            typed,
            2,
            ("not logged in", "aws sso login"),
            real_credentials=True,
            environment={"AWS_CONFIG_FILE": OLD_SSO},
        )
        yield _user(
            "F05",
            "keys unknown",
            typed,
            3,
            ("AWS does not accept these keys", "InvalidClientTokenId", "aws configure"),
            faults=({"kind": "bad-keys"},),
        )
        yield _user(
            "F06",
            "session over from the start",
            typed,
            3,
            ("the session has expired", "ExpiredToken", "aws sso login"),
            faults=({"kind": "expired-keys"},),
        )
        for seconds, side in (("600 s", "behind"), ("-600 s", "ahead")):
            skewed = {"kind": "clock-skew", "seconds": seconds}
            yield _user(
                "F07",
                f"clock {side}",
                typed,
                3,
                ("this computer's clock is", f"s {side}", "SignatureDoesNotMatch", "set-ntp"),
                faults=(skewed,),
            )


def _account() -> Iterator[Cell]:
    for code, words in (
        ("OptInRequired", "console.aws.amazon.com"),
        ("Blocked", "aws.amazon.com/contact-us"),
        ("PendingVerification", "try again later"),
    ):
        fault = {"kind": "error", "code": code, "message": f"said AWS {code}", "action": "ec2:*"}
        yield _user("F09", code, LAUNCH, 3, (code, words), faults=(fault,))
        yield _user("F09", code, "status", 3, (code, words), faults=(fault,))
        asked = {**fault, "action": "RunInstances"}
        yield _user("F09", f"{code}, DryRun", LAUNCH, 3, (code, words), faults=(asked,))
        later = {**asked, "when": "from call 2"}
        yield Cell(
            "F09",
            f"RunInstances: {code}",
            LAUNCH,
            "U",
            3,
            (code, words),
            (later,),
            instances=0,
            next_command="terminate",
        )
    for action in (
        "DescribeInstances",
        "DescribeSubnets",
        "DescribeImages",
        "DescribeInstanceTypes",
        "DescribeSecurityGroups",
        "DescribeKeyPairs",
        "RunInstances",
        "CreateSecurityGroup",
        "ImportKeyPair",
        "CreateTags",
    ):
        yield _user(
            "F08",
            action,
            LAUNCH,
            3,
            ("UnauthorizedOperation", f"ec2:{action}", '"Effect": "Allow"'),
            faults=({"kind": "denied", "action": action},),
        )
    yield Cell(
        "F08",
        "AuthorizeSecurityGroupIngress, launch",
        LAUNCH,
        "U",
        3,
        ("UnauthorizedOperation", "ec2:AuthorizeSecurityGroupIngress", '"Effect": "Allow"'),
        ({"kind": "denied", "action": "AuthorizeSecurityGroupIngress"},),
        instances=0,
        changes=2,
        max_s=SOON,
        note="policies go by the tags of the group, so it has to be there: it is made, and removed again at once",
    )
    for by, words in (("scp", "explicit deny"), ("boundary", "permissions boundary")):
        yield _user(
            "F08",
            f"RunInstances by {by}",
            LAUNCH,
            3,
            ("UnauthorizedOperation", "ec2:RunInstances", words),
            faults=({"kind": "denied", "action": "RunInstances", "by": by},),
        )
    # Images can be found by their names as well.
    yield Cell(
        "F08",
        "GetParameter",
        LAUNCH,
        "F",
        0,
        ("2 of 2 ready",),
        ({"kind": "denied", "action": "GetParameter"},),
        instances=2,
    )


def _config() -> Iterator[Cell]:
    mistakes = (
        ("unknown key", "[cluster]\nnmae = ml\n[aws]\nregion = us-west-2\n", ("config.ini:2", "nmae", "name")),
        ("wrong type", "[cluster]\nname = ml\ncount = two\n", ("config.ini:3", "count", "two")),
        ("stray blank", "[cluster]\nname = ml\n  count = 2\n", ("config.ini:3", "count")),
        ("two at once", "[cluster]\ncount = 0\nmax_hours = x\n", ("config.ini:2", "config.ini:3", "2 mistakes")),
        ("no section", "name = ml\n", ("config.ini:1",)),
        ("two keys of one name", "[cluster]\nname = a\nname = b\n", ("config.ini:3", "name")),
    )
    for phase, text, says in mistakes:
        for typed in (LAUNCH, "terminate"):
            yield _user("F10", phase, typed, 2, (*says, "othing was launched"), config_text=text)
    yield _user(
        "F11",
        "unknown region",
        LAUNCH,
        2,
        ("us-wset-2", "us-west-2", "[aws] region"),
        real_credentials=True,
        environment=KEYS,
        settings={"aws.region": "us-wset-2"},
    )
    yield _user(
        "F11", "blank in the name", LAUNCH, 2, ("us west-2", "config.ini"), settings={"aws.region": "us west-2"}
    )


def _names() -> Iterator[Cell]:
    made: tuple[tuple[str, str, dict[str, str], tuple[str, ...], int], ...] = (
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
            {"cluster.instance_type": "c7g.2xlarge", "cluster.image": X86},
            ("image", "x86_64", "arm64", "instance_type"),
            2,
        ),
        (
            "F18",
            "subnet missing",
            {"aws.subnet_id": "subnet-0123456789abcdef0"},
            ("subnet-0123456789abcdef0", "InvalidSubnetID.NotFound", "there are: subnet-"),
            2,
        ),
        (
            "F18",
            "VPC missing",
            {"aws.vpc_id": "vpc-0123456789abcdef0"},
            ("vpc-0123456789abcdef0", "there are: subnet-"),
            2,
        ),
        (
            "F18",
            "group missing",
            {"aws.security_group_id": "sg-0123456789abcdef0"},
            ("sg-0123456789abcdef0", "InvalidGroup", "there are: sg-"),
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
    for fault, phase, config, says, code in made:
        yield _user(fault, phase, LAUNCH, code, says, settings=config)
    for code in ("InvalidAMIID.Unavailable", "AuthFailure"):
        gone = {"kind": "image-unavailable", "code": code}
        yield _user("F17", f"RunInstances: {code}", LAUNCH, 3, (code, "[cluster] image"), faults=(gone,))
    yield from _late_profiles()
    for code, message, words in (
        ("IdempotentParameterMismatch", "Arguments on this idempotent request are inconsistent", "stratus status"),
        ("InvalidUserData.Malformed", "User data is limited to 16384 bytes", "InvalidUserData.Malformed"),
        ("InvalidParameter", "Security group sg-1 and subnet subnet-1 belong to different networks.", "one VPC"),
    ):
        fault = {"IdempotentParameterMismatch": "F27", "InvalidUserData.Malformed": "F23", "InvalidParameter": "F19"}[
            code
        ]
        said = {"kind": "error", "code": code, "message": message, "action": "RunInstances", "when": "from call 2"}
        yield Cell(
            fault,
            f"RunInstances: {code}",
            LAUNCH,
            "U",
            3,
            (code, words),
            (said,),
            instances=0,
            next_command="terminate",
        )
    for kind, words in (("group", "security_group_id"), ("key", "key_name")):
        theirs = {"kind": "colleague", "machines": 0, kind: OUR_NAME, "tags": {"stratus:owner": "somebody else"}}
        yield Cell(
            "F32",
            f"a {kind} of somebody else's has our name",
            LAUNCH,
            "U",
            3,
            (".Duplicate", "not tagged as this cluster's", words),
            (theirs,),
            instances=0,
        )


def _late_profiles() -> Iterator[Cell]:
    """F22: IAM has the profile, EC2 does not know it yet."""
    named, waits = {"aws.instance_profile": "rehearsal"}, "waiting for EC2 to hear of rehearsal"
    refused = ("InvalidParameterValue", "instance_profile")
    for words in ("name", "roles"):
        late = {"kind": "profile-late", "words": words}
        soon = {**late, "when": "until 20 s"}
        yield Cell("F22", f"{words}, for 20 s", LAUNCH, "W", 0, (waits, "2 of 2 ready"), (soon,), named, instances=2)
        yield Cell(
            "F22",
            f"{words}, for good",
            LAUNCH,
            "U",
            3,
            (waits, *refused),
            (late,),
            named,
            instances=0,
            changes=0,
            max_s=70.0,
        )
    unasked = ({"kind": "profile-late"}, {"kind": "denied", "action": "iam:GetInstanceProfile"})
    yield _user("F22", "IAM may not be asked", LAUNCH, 3, refused, faults=unasked, settings=named)
    said = "Value (rehearsal) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name"
    once = {"kind": "error", "code": "InvalidParameterValue", "message": said, "action": "RunInstances"}
    once |= {"when": "from call 2", "times": 2}
    yield Cell("F22", "RunInstances: name, once more", LAUNCH, "R", 0, ("2 of 2 ready",), (once,), named, instances=2)


USER = (*_credentials(), *_account(), *_config(), *_names())
