"""Assumptions about AWS: each one is documented, referred to in the code, and checked on the embedded cloud."""

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
from tests.support.localcloud.clients import boto
from tests.support.paths import ROOT

ASSUMED = assumptions.read()


@pytest.fixture(scope="module")
def context(cloud: dict[str, str]) -> Iterator[CheckContext]:
    """Return the context of checks on the embedded cloud; it is cleaned up afterwards."""
    session = boto3.Session(cloud["AWS_ACCESS_KEY_ID"], cloud["AWS_SECRET_ACCESS_KEY"], region_name="us-west-2")
    context = CheckContext(session, poll_s=0.05, endpoint_url=cloud["AWS_ENDPOINT_URL"])
    yield context
    assert context.clean_up() == []


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_an_assumption_holds_on_the_embedded_cloud(cloud: dict[str, str], context: CheckContext, name: str) -> None:
    # The embedded cloud accepts any key, except with this fault.
    scenario = Scenario(0, (make_fault("bad-keys"),)) if name == "unknown-keys-have-a-code-per-service" else None
    localcloud.scenario(scenario, cloud["LOCALCLOUD_HOME"])
    try:
        CHECKS[name](context)
    finally:
        localcloud.scenario(None, cloud["LOCALCLOUD_HOME"])


@pytest.mark.parametrize("assumption", ASSUMED.values(), ids=lambda assumption: assumption.name)
def test_an_assumption_has_a_source_and_a_check(assumption: assumptions.Assumption) -> None:
    """One about AWS has one check; each that a real system settles has a test there, besides or instead."""
    assert assumption.statement.endswith(".")
    assert "https://" in assumption.source
    assert not (assumption.name in CHECKS and assumption.test)
    assert assumption.name in CHECKS or assumption.test or assumption.system
    assert not assumption.system or assumption.system.startswith(("tests/docker/", "tests/systems/"))
    for test in filter(None, (assumption.test, assumption.system)):
        file, _, function = test.partition("::")
        assert f"def {function}(" in (ROOT / file).read_text(encoding="utf-8")


def test_checks_and_comments_name_existing_assumptions() -> None:
    named = set(CHECKS)
    for path in (ROOT / "localcloud").rglob("*.py"):
        for match in re.finditer(r"[Cc]ontract: ([a-z0-9-]+(?:, [a-z0-9-]+)*)", path.read_text(encoding="utf-8")):
            named |= set(match[1].split(", "))

    assert named <= set(ASSUMED)


def real_aws(*args: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the command behind scripts/real-aws against the embedded cloud."""
    return subprocess.run(
        [sys.executable, "-m", "localcloud.contract", *args],
        # Its journal is in the folder of the cloud.
        env={"PATH": os.environ["PATH"], "XDG_STATE_HOME": env["LOCALCLOUD_HOME"], **env},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_without_consent_to_the_price_no_call_is_made(cloud: dict[str, str]) -> None:
    before = localcloud.calls(cloud["LOCALCLOUD_HOME"])
    process = real_aws(env=cloud)

    assert process.returncode == 2
    assert "below $0.05" in process.stderr
    assert localcloud.calls(cloud["LOCALCLOUD_HOME"]) == before


@pytest.mark.slow
def test_the_command_reports_each_check_and_terminates_its_instances(cloud: dict[str, str]) -> None:
    bad = make_fault("error", code="InternalError", action="DeleteKeyPair, DescribeVpcs")
    localcloud.scenario(Scenario(0, (bad,)), cloud["LOCALCLOUD_HOME"])
    names = ["a-launch-numbers-its-instances", "answers-carry-the-date", "key-pairs-take-ed25519"]
    process = real_aws("--yes-spend-cents", "--only", *names, env=cloud)
    localcloud.scenario(None, cloud["LOCALCLOUD_HOME"])
    tag = re.search(r"tag (stratus-contract-\w+)", process.stdout)

    assert tag is not None, process.stderr
    ec2 = boto(cloud, "ec2")
    pages = ec2.describe_instances(Filters=[{"Name": "tag:stratus-contract", "Values": [tag[1]]}])["Reservations"]
    assert {instance["State"]["Name"] for page in pages for instance in page["Instances"]} == {"terminated"}
    assert "holds  a-launch-numbers-its-instances" in process.stdout
    assert "FAILS  answers-carry-the-date: ClientError: An error occurred (InternalError)" in process.stdout
    assert (process.returncode, f"key {tag[1]}" in process.stderr) == (4, True)
    ec2.delete_key_pair(KeyName=tag[1])
