"""Preflight checks: all problems are reported at once, within seconds, and nothing is changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import localcloud
from localcloud.scenarios.scenario import Scenario, make_fault
from orchestrator.aws.capacity.offerings import Requirements
from orchestrator.aws.launch.alternatives import find
from orchestrator.aws.pricing.break_even import OwnComputer, Use
from orchestrator.core.errors import CloudRefused, NotReady, StratusError, UsageError
from tests.support.localcloud.clients import boto
from tests.support.project import Project

Play = Callable[..., None]
QUOTA = "L-1216C47A"
SLOW_S = 60
CHANGING = ("Create", "Delete", "Import", "Authorize", "Revoke", "Terminate", "Stop", "Start", "Modify", "Request")


@pytest.fixture
def play(cloud: dict[str, str]) -> Iterator[Play]:
    """Return a function that injects faults until the end of the test."""
    home = cloud["LOCALCLOUD_HOME"]
    yield lambda *project, seed=1: localcloud.scenario(Scenario(seed, project), home)
    localcloud.scenario(None, home)


@pytest.fixture
def project(cloud: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    """A project whose cluster is terminated afterwards."""
    project = Project(tmp_path, "p" + str(abs(hash(request.node.name)) % 10**6), cloud)
    project.job("single = true\n")
    yield project
    localcloud.scenario(None, cloud["LOCALCLOUD_HOME"])
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


def config(project: Project, **lines: str) -> None:
    """Set options in the config file: ``cluster__image="..."``."""
    text = project.config.read_text()
    for name, value in lines.items():
        section, _, option = name.partition("__")
        if f"[{section}]" not in text:
            text += f"\n[{section}]\n"
        kept = [line for line in text.splitlines() if not line.startswith(f"{option} =")]
        kept.insert(kept.index(f"[{section}]") + 1, f"{option} = {value}")
        text = "\n".join(kept)
    project.config.write_text(text + "\n")


def refused(project: Project, kind: type[StratusError], count: int = 2) -> Any:
    """Plan a launch that must be refused without any change; the fault matrix checks the time it takes."""
    project.calls.clear()
    with project.session() as session, pytest.raises(kind) as caught:
        session.cluster.plan(count)
    assert not changes(project)
    return caught.value


def changes(project: Project) -> list[str]:
    """Return the API calls that changed something, dry runs excluded."""
    calls = [call for call in project.calls if not call.endswith("(dry run)")]
    return [call for call in calls if call.startswith(CHANGING) or call == "RunInstances"]


def test_all_mistakes_are_reported_at_once_each_with_its_fix(project: Project) -> None:
    (project.folder / "key").write_text("not a key")
    config(
        project,
        cluster__instance_type="c7i.9xlarge",
        cluster__image="ami-0123456789abcdef0",
        aws__subnet_id="subnet-0123456789abcdef0",
        aws__key_name="nobodys",
        ssh__private_key=str(project.folder / "key"),
    )
    error = refused(project, NotReady)

    told = [str(each) for each in error.problems]
    assert len(told) == 4
    assert {"c7i.9xlarge", "ami-0123456789abcdef0", "subnet-0123456789abcdef0", "key"} == {
        word
        for word in ("c7i.9xlarge", "ami-0123456789abcdef0", "subnet-0123456789abcdef0", "key")
        if any(word in line for line in told)
    }
    assert all(each.fix for each in error.problems)
    assert error.exit_code == 2
    assert str(error).endswith("4 problems. Nothing was launched.")


def test_a_plan_has_its_quota_and_ssh_sources(project: Project) -> None:
    with project.session() as session:
        plan = session.cluster.plan(2)

    assert plan.quota is not None
    assert (plan.quota.needed, plan.quota.limit) == (16, 4096)
    assert plan.ssh_sources == ("127.0.0.1/32",)


@pytest.mark.slow
def test_the_quota_counts_all_instances_of_the_account(project: Project, play: Play) -> None:
    play(
        make_fault("quota", quota=QUOTA, vcpus=32),
        make_fault("colleague", machines=2, tags={"Name": "ml-0"}),
    )
    error = refused(project, CloudRefused, 3)

    assert "quota too small in us-west-2 (Standard on demand, L-1216C47A): 24 vCPU needed, limit 32 (16 in use)" in str(
        error
    )
    assert "RequestLimitIncrease()  asks AWS for 40" in str(error.fix)
    with project.session() as session:
        quota = session.cluster.plan(2).quota
    assert quota
    assert quota.shortfall == 0


def test_a_quota_increase_is_requested_once(project: Project, play: Play) -> None:
    config(project, cluster__market="spot")
    play(make_fault("quota", quota="L-34B43A08", vcpus=8))
    with project.session() as session:
        first = session.account.request_quota_increase(2)
        again = session.account.request_quota_increase(2)
    config(project, cluster__market="on-demand")
    with project.session() as session:
        enough = session.account.request_quota_increase(2)

    assert (first.requested_limit, first.status, first.is_existing) == (16, "PENDING", False)
    assert (again.requested_limit, again.status, again.is_existing) == (16, "PENDING", True)
    assert enough.status == "not needed"


@pytest.mark.slow
@pytest.mark.parametrize("action", ["RunInstances", "CreateSecurityGroup", "ImportKeyPair", "CreateTags"])
def test_a_missing_permission_is_reported_before_any_change(project: Project, play: Play, action: str) -> None:
    play(make_fault("denied", action=action))
    error = refused(project, CloudRefused)

    assert f"ec2:{action}" in str(error)
    assert error.code == "UnauthorizedOperation"


@pytest.mark.slow
def test_permission_to_change_an_existing_group_is_checked_before(project: Project, play: Play) -> None:
    """When the user's address has changed."""
    with project.session() as session:
        session.cluster.launch(session.cluster.plan(1))
    config(project, aws__ssh_from="127.0.0.0/8")
    play(make_fault("denied", action="AuthorizeSecurityGroupIngress"))
    error = refused(project, CloudRefused)

    assert "ec2:AuthorizeSecurityGroupIngress" in str(error)


@pytest.mark.slow
def test_a_launch_waits_for_a_new_instance_profile_and_reports_it(project: Project, play: Play) -> None:
    """It exists in IAM, with its role; EC2 knows it some seconds later."""
    config(project, aws__instance_profile="rehearsal")
    play(make_fault("profile-late", times=2))
    with project.session() as session:
        session.cluster.plan(1)

    assert [event.text for event in project.events] == ["waiting until EC2 accepts instance profile rehearsal"]
    assert project.calls.count("RunInstances (dry run)") == 3
    assert not changes(project)


@pytest.mark.slow
@pytest.mark.parametrize("action", ["servicequotas:*", "pricing:*"])
@pytest.mark.parametrize("how", ["denied", "error", "slow"])
def test_optional_lookups_never_stop_a_launch(project: Project, play: Play, action: str, how: str) -> None:
    details: dict[str, dict[str, Any]] = {"error": {"code": "InternalFailure"}, "slow": {"seconds": SLOW_S}}
    play(make_fault(how, action=action, **details.get(how, {})))
    began = time.monotonic()
    with project.session() as session:
        plan = session.cluster.plan(1)

    assert time.monotonic() - began < SLOW_S, "it waited for the answer"
    assert plan.quota is None or plan.quota.limit in (None, 4096)
    assert plan.price is not None


def test_a_foreign_group_with_our_name_is_reported_before_the_key_pair_is_created(project: Project) -> None:
    ec2 = boto(project.env, "ec2")
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    with project.session() as session:
        name = session.context.cluster_id.resource_name
    group = ec2.create_security_group(GroupName=name, Description="not ours", VpcId=vpc)["GroupId"]
    try:
        error = refused(project, CloudRefused)
    finally:
        ec2.delete_security_group(GroupId=group)

    assert name in str(error)


def test_a_private_key_that_does_not_match_ec2s_is_reported_before_the_launch(project: Project) -> None:
    from orchestrator.crypto import ssh_keys

    ssh_keys.generate_login_key(project.folder / "mine")
    ssh_keys.generate_login_key(project.folder / "other")
    ec2 = boto(project.env, "ec2")
    ec2.import_key_pair(KeyName="held", PublicKeyMaterial=ssh_keys.read_public_key(project.folder / "other").encode())
    config(project, aws__key_name="held", ssh__private_key=str(project.folder / "mine"))
    try:
        error = refused(project, UsageError)
    finally:
        ec2.delete_key_pair(KeyName="held")

    assert "is not the private key of key pair held" in str(error)


@pytest.mark.slow
def test_refresh_access_allows_the_new_address_only(project: Project) -> None:
    """And does not change a security group that the user configured."""
    with project.session() as session:
        with pytest.raises(UsageError, match="has no security group"):
            session.account.refresh_access()
        session.cluster.launch(session.cluster.plan(1))
    config(project, aws__ssh_from="127.0.0.0/8")
    with project.session() as session:
        report = session.account.refresh_access()
        again = session.account.refresh_access()
    config(project, aws__security_group_id="sg-0123456789abcdef0")
    with project.session() as session, pytest.raises(UsageError, match="your own security group"):
        session.account.refresh_access()

    assert (report.previous_sources, report.sources) == (("127.0.0.1/32",), ("127.0.0.0/8",))
    assert again.previous_sources == again.sources


def test_instance_types_are_listed_cheapest_first(project: Project, play: Play) -> None:
    """Types without quota left are omitted; unknown prices come last."""
    play(make_fault("quota", quota="L-DB2E81BA", vcpus=4))
    with project.session() as session:
        found = session.account.instance_types(Requirements(gpus=1))
        assert session.account.types_exist(Requirements(gpus=1))
        assert not session.account.types_exist(Requirements(gpus=99))

    assert found
    assert all(each.gpus >= 1 and each.launchable != 0 for each in found)
    assert all(each.vcpus <= 4 for each in found if each.type.startswith("g"))
    assert [each.type for each in found][:2] == ["g4dn.xlarge", "g6.xlarge"]
    known = [each.usd_per_hour for each in found if each.usd_per_hour is not None]
    assert known == sorted(known)
    assert [each.usd_per_hour is None for each in found] == sorted(each.usd_per_hour is None for each in found)


def test_instance_types_of_a_family_below_a_price_have_spot_prices_zones_and_gpu_memory(
    project: Project, play: Play
) -> None:
    play(make_fault("quota", quota="L-DB2E81BA", vcpus=64))
    with project.session() as session:
        offers = session.account.instance_types(Requirements(family="g5", max_usd_per_hour=Decimal(2)))
        unknown = session.account.instance_types(Requirements(family="g99"))

    assert offers
    assert unknown == []
    for offer in offers:
        assert offer.type.startswith("g5.")
        assert offer.usd_per_hour is not None
        assert offer.usd_per_hour <= 2
        assert offer.spot_usd_per_hour is not None
        assert offer.spot_usd_per_hour < offer.usd_per_hour
        assert offer.zones
        assert offer.gpu_memory_gib > 20
        assert "Gigabit" in offer.network


def test_buying_is_compared_with_the_prices_of_the_region(project: Project) -> None:
    config(project, cluster__instance_type="g5.xlarge")
    use = Use(Decimal(2), Decimal(3))
    with project.session() as session:
        answer = session.account.break_even(OwnComputer(Decimal(2000), Decimal(450), Decimal("0.17")), use)
        prices, disk = session.context.prices, session.context.settings.disk
        on_demand = prices.per_hour("g5.xlarge", answer.region)
        disk_price = prices.disk_per_hour(disk, answer.region)

    assert on_demand
    assert disk_price
    rented = on_demand.usd + disk_price.usd + Decimal("0.005")
    assert [rental.market for rental in answer.rentals] == ["on demand", "spot"]
    assert answer.rentals[0].usd_per_hour == rented
    assert Decimal(0) < (answer.rentals[1].usd_per_hour or Decimal(0)) < rented
    assert answer.stopped_disk_usd_per_year == disk_price.usd * Decimal("365.25") * 22


@pytest.mark.slow
def test_alternative_types_are_similar_and_within_quota(project: Project, play: Play) -> None:
    """The same vCPUs and GPUs, once to twice the memory, known prices first; none that is configured already."""
    with project.session() as session:
        plan = session.cluster.plan(2)
        cpu = find(session.context.clients, session.context.prices, plan, limit=99)
    config(project, cluster__instance_type="g5.xlarge", cluster__fallback_instance_types="g6.xlarge")
    play(make_fault("quota", quota="L-DB2E81BA", vcpus=8))
    with project.session() as session:
        plan = session.cluster.plan(2)
        gpu = find(session.context.clients, session.context.prices, plan, limit=99)
    play(make_fault("quota", quota="L-DB2E81BA", vcpus=8), make_fault("colleague", type="g5.xlarge"))
    with project.session() as session:
        none = find(session.context.clients, session.context.prices, plan, limit=99)

    assert cpu[0].type == "m7i.2xlarge"
    assert {(each.vcpus, each.gpus) for each in cpu} == {(8, 0)}
    assert all(16 <= each.memory_gib <= 32 and not each.type.startswith(("t", "c7g", "inf")) for each in cpu)
    assert {(each.vcpus, each.gpus) for each in gpu} == {(4, 1)}
    assert not {"g5.xlarge", "g6.xlarge"} & {each.type for each in gpu}
    assert not [each.type for each in none if each.type.startswith("g")]


@pytest.mark.slow
def test_a_spot_plan_shows_both_prices_and_budgets_with_the_higher(project: Project) -> None:
    """The spot price may rise to the on-demand price, so the budget uses that."""
    config(project, cluster__market="spot", cluster__max_dollars="2")
    with project.session() as session:
        plan = session.cluster.plan(2)
        session.cluster.launch(plan)
        status = session.cluster.status()

    assert plan.spot_price is not None
    assert plan.price is not None
    assert plan.spot_price.usd < plan.price.usd
    assert "spot price, asked" in plan.spot_price.source
    assert plan.is_budget_limited
    assert plan.max_cost_usd is not None
    assert plan.max_cost_usd <= 2
    assert all(machine.is_spot for machine in status.up)
    assert status.usd_per_hour is not None
    assert plan.usd_per_hour is not None
    assert status.usd_per_hour < plan.usd_per_hour


@pytest.mark.slow
def test_data_missing_on_s3_is_reported_before_the_launch(project: Project, play: Play) -> None:
    """Data that this computer may not read is a note only: the VMs' role decides."""
    s3 = boto(project.env, "s3")
    s3.create_bucket(Bucket=project.name, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    s3.put_object(Bucket=project.name, Key="scenes/1", Body=b"x")
    sources = (f"{project.name}/scenes -> a", f"{project.name}/sceens -> b", f"no-such-one-{project.name}/x -> c")
    project.job("single = true\ndata =" + "".join(f"\n  s3://{each}" for each in sources) + "\n")
    play(make_fault("denied", action="s3:*"))
    with project.session() as session:
        plan = session.cluster.plan(1)
    play()
    # docs/iam-policy.json lets nobody look at S3; this user may do all.
    project.env = {name: value for name, value in project.env.items() if not name.startswith("TESTS_")}
    error = refused(project, NotReady)

    assert sorted(each.code for each in error.problems) == ["NoSuchBucket", "NoSuchKey"]
    assert f"s3://{project.name}/sceens" in str(error)
    assert len(plan.warnings) == 3
    assert "the VMs' role decides" in plan.warnings[0]
