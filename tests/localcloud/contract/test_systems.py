"""The table of distributions against the embedded cloud's instances, and what an interrupted run leaves."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import boto3
import pytest

import localcloud
from localcloud.contract import distributions
from localcloud.contract.check_context import UBUNTU, CheckContext
from localcloud.contract.distributions import Distribution
from localcloud.contract.journal import Journal
from localcloud.contract.systems import SystemChecks
from tests.support.localcloud.clients import boto
from tests.support.paths import ROOT

NOTHING = Distribution(
    "other",
    user="x",
    image=UBUNTU,
    manager="x",
    python="x",
    venv="",
    pythons=(),
    docker="",
    ssh="x",
    selinux="x",
    tmp="x",
    sources=(),
)


def context_of(cloud: dict[str, str]) -> CheckContext:
    session = boto3.Session(cloud["AWS_ACCESS_KEY_ID"], cloud["AWS_SECRET_ACCESS_KEY"], region_name="us-west-2")
    return CheckContext(session, instance_type="t3.micro", poll_s=0.05, endpoint_url=cloud["AWS_ENDPOINT_URL"])


def real_aws(cloud: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    """Run the command behind scripts/real-aws against the embedded cloud."""
    return subprocess.run(
        [sys.executable, "-m", "localcloud.contract", *args],
        env={"PATH": os.environ["PATH"], **cloud},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def live_instances(cloud: dict[str, str]) -> list[str]:
    pages = boto(cloud, "ec2").describe_instances(Filters=[{"Name": "tag-key", "Values": ["stratus-contract"]}])
    instances = [instance for page in pages["Reservations"] for instance in page["Instances"]]
    return [instance["InstanceId"] for instance in instances if instance["State"]["Name"] != "terminated"]


def actual_row(cloud: dict[str, str]) -> Distribution:
    """Return the row of the embedded cloud's hosts, from the differences that a wrong row has."""
    context, lines = context_of(cloud), list[str]()
    try:
        assert SystemChecks(context, lines.append, timeout_s=60, poll_s=0.1).run([NOTHING]) == ["other"]
    finally:
        assert context.clean_up() == []
    facts = dict(re.findall(r"(\w+) is (\S+), not \w+", lines[0]))
    known = {name: value for name, value in facts.items() if name not in ("venv", "engine") and value != "unknown"}
    docker = distributions.ENGINE_PRESENT if facts.get("engine") == "present" else ""
    return replace(NOTHING, **known, docker=docker)


@pytest.mark.slow
def test_the_command_compares_each_system_and_terminates_its_instances(cloud: dict[str, str], tmp_path: Path) -> None:
    row = actual_row(cloud)
    rows = {"here": row, "older": replace(row, python="2.7"), "gone": replace(row, image="/no/such/parameter")}
    table, journal = tmp_path / "table.toml", tmp_path / "journal"
    table.write_text("".join(f"[{name}]\n{toml(row)}\n" for name, row in rows.items()))
    before = localcloud.calls(cloud["LOCALCLOUD_HOME"])
    arguments = ["--systems", "--table", str(table), "--journal", str(journal)]
    dry = real_aws(cloud, *arguments)
    assert localcloud.calls(cloud["LOCALCLOUD_HOME"]) == before
    process = real_aws(cloud, *arguments, "--yes-spend-cents")

    assert dry.returncode == 2
    assert "cents" in dry.stderr
    assert "in all, at most" in dry.stderr
    assert "holds  here\n" in process.stdout, process.stdout + process.stderr
    assert re.search(r"FAILS  older: python is 3\.\d+, not 2\.7\n", process.stdout)
    assert "FAILS  gone: ParameterNotFound" in process.stdout
    assert process.returncode == 1
    assert live_instances(cloud) == []
    assert list(Journal(journal).unfinished("us-west-2")) == []


def toml(row: Distribution) -> str:
    values = {name: value for name, value in vars(row).items() if name != "name"}
    return "".join(
        f"{name} = {list(value) if isinstance(value, tuple) else value!r}\n" for name, value in values.items()
    )


@pytest.mark.slow
def test_what_a_killed_run_left_is_terminated_by_the_next(cloud: dict[str, str], tmp_path: Path) -> None:
    killed, journal = context_of(cloud), Journal(tmp_path / "journal")
    journal.begin("us-west-2", killed.tag)
    killed.launch(1, SecurityGroupIds=[killed.group])
    (tmp_path / "journal").open("a").write('{"begin": "stratus-con')
    assert live_instances(cloud)
    arguments = ["--yes-spend-cents", "--only", "answers-carry-the-date", "--journal", str(tmp_path / "journal")]
    process = real_aws(cloud, *arguments)

    assert process.returncode == 0, process.stdout + process.stderr
    assert live_instances(cloud) == []
    groups = boto(cloud, "ec2").describe_security_groups(Filters=[{"Name": "group-name", "Values": [killed.tag]}])
    assert groups["SecurityGroups"] == []


def test_the_table_in_the_docs_is_up_to_date() -> None:
    _, _, rest = (ROOT / "docs/distributions.md").read_text(encoding="utf-8").partition("<!-- rows -->\n")

    assert rest.partition("<!-- end -->")[0] == distributions.reference(), "run scripts/docs-tables"
