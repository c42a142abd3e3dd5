"""Cells for credentials, accounts and permissions that the user must fix: reported within 5 s, nothing changed."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.fault_matrix.cell import Cell
from tests.chaos.fault_matrix.cells.common import AT_ONCE_S, KEYS, LAUNCH, reported_at_once

SSO_ROLE = "sso_account_id = 123456789012\nsso_role_name = r\n"
SSO_START = "sso_region = us-west-2\nsso_start_url = https://example.awsapps.com/start\n"
SSO = f"[default]\nsso_session = us\n{SSO_ROLE}[sso-session us]\n{SSO_START}"
OLD_SSO = f"[default]\n{SSO_ROLE}{SSO_START}"
BROKEN_CHAIN = "[default]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = nobody\n"
VERBS = (LAUNCH, "status", "stop", "terminate")


def _credentials() -> Iterator[Cell]:
    """F01-F07: missing, incomplete, unknown or expired credentials, and a wrong clock."""
    for command in VERBS:
        sources = (
            "no AWS credentials",
            "AWS_ACCESS_KEY_ID",
            "~/.aws/credentials",
            "instance role",
            "aws configure",
        )
        yield reported_at_once("F01", "no credentials", command, 2, sources, real_credentials=True)
        for present, missing in (("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),):
            yield reported_at_once(
                "F02",
                f"only {present}",
                command,
                2,
                (f"{missing} is missing", f"set {missing}"),
                real_credentials=True,
                environment={present: KEYS[present]},
            )
        yield reported_at_once(
            "F03",
            "profile missing",
            command,
            2,
            ("nobody", "available profiles: work", "[aws] profile"),
            real_credentials=True,
            environment={"AWS_SHARED_CREDENTIALS_FILE": "[work]\naws_access_key_id = x\n"},
            settings={"aws.profile": "nobody"},
        )
        yield reported_at_once(
            "F03",
            "broken chain",
            command,
            2,
            ("nobody", "available profiles", "aws configure"),
            real_credentials=True,
            environment={"AWS_CONFIG_FILE": BROKEN_CHAIN},
        )
        yield reported_at_once(
            "F04",
            "SSO",
            command,
            2,
            ("not logged in", "aws sso login"),
            real_credentials=True,
            environment={"AWS_CONFIG_FILE": SSO},
        )
        yield reported_at_once(
            "F04",
            "SSO, legacy format",
            command,
            2,
            ("not logged in", "aws sso login"),
            real_credentials=True,
            environment={"AWS_CONFIG_FILE": OLD_SSO},
        )
        yield reported_at_once(
            "F05",
            "unknown keys",
            command,
            3,
            ("AWS does not accept these keys", "InvalidClientTokenId", "aws configure"),
            faults=({"kind": "bad-keys"},),
        )
        yield reported_at_once(
            "F06",
            "session expired from the start",
            command,
            3,
            ("the session has expired", "ExpiredToken", "aws sso login"),
            faults=({"kind": "expired-keys"},),
        )
        for seconds, side in (("600 s", "behind"), ("-600 s", "ahead")):
            skewed = {"kind": "clock-skew", "seconds": seconds}
            yield reported_at_once(
                "F07",
                f"clock {side}",
                command,
                3,
                ("this computer's clock is", f"s {side}", "SignatureDoesNotMatch", "set-ntp"),
                faults=(skewed,),
            )


def _account() -> Iterator[Cell]:
    """F08, F09: an account that is blocked or not ready, and missing permissions."""
    for code, hint in (
        ("OptInRequired", "console.aws.amazon.com"),
        ("Blocked", "aws.amazon.com/contact-us"),
        ("PendingVerification", "try again later"),
    ):
        fault = {"kind": "error", "code": code, "message": f"message of {code}", "action": "ec2:*"}
        yield reported_at_once("F09", code, LAUNCH, 3, (code, hint), faults=(fault,))
        yield reported_at_once("F09", code, "status", 3, (code, hint), faults=(fault,))
        dry_run = {**fault, "action": "RunInstances"}
        yield reported_at_once("F09", f"{code}, DryRun", LAUNCH, 3, (code, hint), faults=(dry_run,))
        launch = {**dry_run, "when": "from call 2"}
        yield Cell(
            "F09",
            f"RunInstances: {code}",
            LAUNCH,
            "U",
            3,
            (code, hint),
            (launch,),
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
        yield reported_at_once(
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
        max_s=AT_ONCE_S,
        note="the policy depends on the tags of the group, so the group must exist: it is created and deleted again",
    )
    for by, hint in (("scp", "explicit deny"), ("boundary", "permissions boundary")):
        yield reported_at_once(
            "F08",
            f"RunInstances by {by}",
            LAUNCH,
            3,
            ("UnauthorizedOperation", "ec2:RunInstances", hint),
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


def cells() -> Iterator[Cell]:
    """Yield the cells."""
    yield from _credentials()
    yield from _account()
