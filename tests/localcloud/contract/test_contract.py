"""What the embedded cloud takes to be true of AWS: written down, referred to, and checked on the embedded cloud."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import boto3
import pytest

import localcloud
from localcloud.contract import assumptions
from localcloud.contract.check_context import CheckContext
from localcloud.contract.checks.catalog import CHECKS
from localcloud.scenarios.scenario import Scenario, make_fault
from tests.support.embedded_cloud import boto
from tests.support.paths import ROOT

ASSUMED = assumptions.read()


@pytest.fixture(scope="module")
def lab(cloud: dict[str, str]) -> Iterator[CheckContext]:
    """A place for checks on the embedded cloud, cleaned up in the end."""
    session = boto3.Session(cloud["AWS_ACCESS_KEY_ID"], cloud["AWS_SECRET_ACCESS_KEY"], region_name="us-west-2")
    context = CheckContext(session, poll_s=0.05, endpoint_url=cloud["AWS_ENDPOINT_URL"])
    yield context
    assert context.clean_up() == []


@pytest.mark.parametrize("name", CHECKS)
def test_an_assumption_holds_on_the_embedded_cloud(cloud: dict[str, str], lab: CheckContext, name: str) -> None:
    # It takes any key; that some are unknown is one of its bad days.
    day = Scenario(0, (make_fault("bad-keys"),)) if name == "unknown-keys-have-a-code-per-service" else None
    localcloud.scenario(day, cloud["LOCALCLOUD_HOME"])
    try:
        CHECKS[name](lab)
    finally:
        localcloud.scenario(None, cloud["LOCALCLOUD_HOME"])


@pytest.mark.parametrize("one", ASSUMED.values(), ids=lambda one: one.name)
def test_an_assumption_has_a_source_and_one_check(one: assumptions.Assumption) -> None:
    assert one.statement.endswith(".")
    assert "https://" in one.source
    assert (one.name in CHECKS) != bool(one.test)
    if one.test:
        file, _, function = one.test.partition("::")
        assert f"def {function}(" in (ROOT / file).read_text(encoding="utf-8")


def test_checks_and_comments_name_existing_assumptions() -> None:
    named = set(CHECKS)
    for path in (ROOT / "localcloud").rglob("*.py"):
        for found in re.finditer(r"[Cc]ontract: ([a-z0-9-]+(?:, [a-z0-9-]+)*)", path.read_text(encoding="utf-8")):
            named |= set(found[1].split(", "))

    assert named <= set(ASSUMED)


def real_aws(*words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The command behind scripts/real-aws, in an environment that leads to the embedded cloud."""
    return subprocess.run(
        [sys.executable, "-m", "localcloud.contract", *words],
        env={"PATH": os.environ["PATH"], **env},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_without_consent_to_the_price_no_call_is_made(cloud: dict[str, str]) -> None:
    before = localcloud.calls(cloud["LOCALCLOUD_HOME"])
    done = real_aws(env=cloud)

    assert done.returncode == 2
    assert "below $0.05" in done.stderr
    assert localcloud.calls(cloud["LOCALCLOUD_HOME"]) == before


def test_the_command_reports_each_check_and_terminates_its_instances(cloud: dict[str, str]) -> None:
    bad = make_fault("error", code="InternalError", action="DeleteKeyPair, DescribeVpcs")
    localcloud.scenario(Scenario(0, (bad,)), cloud["LOCALCLOUD_HOME"])
    names = ["a-launch-numbers-its-instances", "answers-carry-the-date", "key-pairs-take-ed25519"]
    done = real_aws("--yes-spend-cents", "--only", *names, env=cloud)
    localcloud.scenario(None, cloud["LOCALCLOUD_HOME"])
    tag = re.search(r"tag (stratus-contract-\w+)", done.stdout)

    assert tag is not None, done.stderr
    ec2 = boto(cloud, "ec2")
    pages = ec2.describe_instances(Filters=[{"Name": "tag:stratus-contract", "Values": [tag[1]]}])["Reservations"]
    assert {one["State"]["Name"] for page in pages for one in page["Instances"]} == {"terminated"}
    assert "holds  a-launch-numbers-its-instances" in done.stdout
    assert "FAILS  answers-carry-the-date: ClientError: An error occurred (InternalError)" in done.stdout
    assert (done.returncode, f"key {tag[1]}" in done.stderr) == (4, True)
    ec2.delete_key_pair(KeyName=tag[1])
