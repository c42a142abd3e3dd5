"""Ownership of instances: the table in docs/security.md, row by row, and what several people behind one role see."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from localcloud.scenarios.scenario import Fault, Scenario, make_fault
from orchestrator.aws import owner_id
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import NotReady, UsageError
from orchestrator.interface.render import cluster as render
from orchestrator.interface.render import registry
from orchestrator.session import Session
from tests.support.paths import ROOT
from tests.support.simulated_project import SimulatedProject

Simulate = Callable[..., SimulatedProject]
Project = SimulatedProject

SSO = "AWSReservedSSO_Lab_0123456789abcdef"
LAB = "arn:aws:sts::123456789012:assumed-role/Lab"


def lab(project: Project) -> Project:
    """Return the project in a session of the role with a generated name."""
    return project.as_role("Lab", "botocore-session-1763648000")


def owner_id_ci(project: Project) -> Project:
    return replace(project, cluster="owner_id = ci")


CALLERS: dict[str, Callable[[Project], Project]] = {
    "an IAM user": lambda project: project,
    "the same user": lambda project: project,
    "a session of IAM Identity Center": lambda project: project.as_role(SSO, "ada@example.org"),
    "the same person": lambda project: project.as_role(SSO, "ada@example.org"),
    "another person": lambda project: project.as_role(SSO, "grace@example.org"),
    "a role": lab,
    "the same role": lambda project: project.as_role("Lab", "botocore-session-1763649999"),
    "another role": lambda project: project.as_role("Office", "botocore-session-1763648000"),
    "a role, `owner_id = ci`": lambda project: lab(owner_id_ci(project)),
    "the same role, `owner_id = ci`": lambda project: owner_id_ci(project).as_role("Lab", "build-2"),
    "another role, `owner_id = ci`": lambda project: owner_id_ci(project).as_role("Office", "build-2"),
    "the same role, `owner_id = other`": lambda project: replace(lab(project), cluster="owner_id = other"),
    "a role, `owner = team`": lambda project: replace(lab(project), cluster="owner = team"),
    "another role, `owner = team`": lambda project: CALLERS["another role"](replace(project, cluster="owner = team")),
    # A version without owner ids tagged the ARN alone, as this setting does.
    "a role, earlier version": lambda project: replace(lab(project), cluster=f"owner = {LAB}"),
}


def refused(action: str) -> Fault:
    """Return a refusal of an action, for users and roles."""
    return make_fault("error", code="UnauthorizedOperation", action=action)


def table() -> list[list[str]]:
    """Return the rows of the table in docs/security.md."""
    section = (ROOT / "docs/security.md").read_text().partition("## Whose VMs")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", section, re.M)]
    return rows[2:]


def session_on(project: Project, computer: str) -> Session:
    """Return a session on a computer of the table: the launching one, or another one."""
    if computer == "home unusable":
        (project.folder / "unusable").write_text("a file, no folder")
        return project.session("unusable")
    if computer == "another, has launched":
        earlier = replace(project, config=project.config.replace("name = ml", "name = earlier")).session("desktop")
        earlier.cluster.launch(earlier.cluster.plan(1))
        earlier.cluster.terminate()
    return project.session("laptop" if computer == "the same" else "desktop")


def shown_as(session: Session) -> str:
    """Return in the words of the table how the status lists the only instance that there is."""
    status = session.cluster.status()
    texts = "\n".join(map(str, registry.lines(status, status.at)))
    if status.same_role:
        (other,) = status.same_role
        assert f'TerminateAll(owner="{other.owner}")' in texts
        return "of your role"
    assert (len(status.instances), len(status.other_owners)) in ((1, 0), (0, 1))
    return "yours" if status.instances else "not yours"


@pytest.mark.parametrize("row", table(), ids=lambda row: ", ".join(row[:3]))
def test_the_table_of_owners_holds(simulate: Simulate, row: list[str]) -> None:
    launched_by, asked_by, computer, shown, ended, exit_code = row
    project = simulate()
    launching = CALLERS[launched_by](project).session()
    launching.cluster.launch(launching.cluster.plan(1))
    asking = session_on(CALLERS[asked_by](project), computer)

    assert shown_as(asking) == shown
    report = asking.cluster.terminate()
    assert (len(project.cloud.live_instances()) == 0) == (ended == "yes")
    assert bool(report.remaining) == (exit_code == "4")
    if ended == "yes":
        ec2 = project.cloud.session().client("ec2")
        names = [group["GroupName"] for group in ec2.describe_security_groups()["SecurityGroups"]]
        assert [name for name in names if name.startswith("stratus-ml")] == []
        assert ec2.describe_key_pairs()["KeyPairs"] == []


def test_two_people_behind_one_role_have_resources_of_their_own_and_end_their_own_only(simulate: Simulate) -> None:
    project = lab(simulate())
    ada, grace = project.session("ada"), project.session("grace")
    ada.cluster.launch(ada.cluster.plan(1))
    grace.cluster.launch(grace.cluster.plan(1))

    assert [len(session.cluster.status().instances) for session in (ada, grace)] == [1, 1]
    assert len({session.inventory.hosts()[0].key_file for session in (ada, grace)}) == 2
    report = ada.cluster.terminate()
    (other,) = report.same_role
    assert (report.remaining, other.owner) == ((), grace.context.cluster_id.owner_id)
    assert [machine.name for machine in grace.cluster.status().instances] == ["ml-0"]
    assert grace.inventory.hosts()[0].key_file.exists()


def test_the_price_of_the_same_roles_vms_is_that_of_all_that_is_billed(simulate: Simulate) -> None:
    project = lab(simulate())
    ada, grace = project.session("ada"), project.session("grace")
    ada.cluster.launch(ada.cluster.plan(1))
    up = ada.cluster.status().usd_per_hour
    (running,) = grace.cluster.status().same_role
    ada.cluster.stop()
    (stopped,) = grace.cluster.status().same_role

    assert running.usd_per_hour == up
    assert stopped.usd_per_hour == ada.cluster.status().stopped_usd_per_hour != 0


def test_the_vms_of_another_computer_are_terminated_by_the_command_that_the_message_names(simulate: Simulate) -> None:
    project = lab(simulate())
    step_1, step_2 = project.session("step-1"), project.session("step-2")
    step_1.cluster.launch(step_1.cluster.plan(2))

    report = step_2.cluster.terminate()
    assert "this computer has no record" in str(report.remaining[0])
    (fix,) = render.how_to_end_same_role(report.same_role)
    owner = step_1.context.cluster_id.owner_id
    assert str(fix).startswith(f'TerminateAll(owner="{owner}") terminates them; [cluster] owner_id = {owner} ')
    ended = step_2.cluster.terminate(owner=owner)
    assert ([result.state for result in ended.instances], ended.remaining) == (["terminated"] * 2, ())
    assert (ended.group_state, ended.key_state) == ("gone", "gone")
    assert step_2.cluster.terminate().remaining == ()


def test_a_new_computer_names_the_group_of_vms_that_ec2_does_not_show_yet(simulate: Simulate) -> None:
    project = lab(simulate(make_fault("invisible", seconds=200)))
    step_1, step_2 = project.session("step-1"), project.session("step-2")
    step_1.cluster.launcher.request(step_1.cluster.plan(1))
    owner = step_1.context.cluster_id.owner_id

    report = step_2.cluster.terminate()

    assert report.same_role == ()
    (line,) = map(str, report.remaining)
    assert line.endswith(f'its VMs may not be visible yet; TerminateAll(owner="{owner}") terminates them')
    ended = step_2.cluster.terminate(owner=owner)
    assert (ended.remaining, project.cloud.live_instances()) == ((), [])
    assert step_2.cluster.terminate().remaining == ()


def test_an_owner_without_vms_is_an_error_that_lists_the_owners(simulate: Simulate) -> None:
    project = lab(simulate())
    session = project.session()
    session.cluster.launch(session.cluster.plan(1))

    with pytest.raises(UsageError) as caught:
        session.cluster.terminate(owner="typo")
    assert session.context.cluster_id.owner_id in str(caught.value.fix)
    assert len(project.cloud.live_instances()) == 1


def test_of_several_owners_the_named_one_ends_and_the_others_are_listed(simulate: Simulate) -> None:
    project = lab(plain := simulate())
    ada, grace, user = project.session("ada"), project.session("grace"), plain.session("user")
    for session in (ada, grace, user):
        session.cluster.launch(session.cluster.plan(1))

    report = project.session("desktop").cluster.terminate(owner=ada.context.cluster_id.owner_id)

    assert [result.state for result in report.instances] == ["terminated"]
    assert [other.owner for other in report.same_role] == [grace.context.cluster_id.owner_id]
    assert len(report.other_owners) == 1
    assert len(plain.cloud.live_instances()) == 2
    assert len(user.cluster.terminate().other_owners) == 1
    assert len(plain.cloud.live_instances()) == 1


def test_an_owner_is_named_in_all_regions_of_the_settings(simulate: Simulate) -> None:
    project = lab(simulate())
    there = replace(project, config=project.config.replace("us-west-2", "eu-west-1")).session("ada")
    there.cluster.launch(there.cluster.plan(1))
    owner = there.context.cluster_id.owner_id

    with pytest.raises(UsageError, match=f"{owner} has no VM in cluster ml in us-west-2"):
        project.session("desktop").cluster.terminate(owner=owner)
    report = replace(project, aws="terminate_regions = eu-west-1").session("desktop").cluster.terminate(owner=owner)

    assert [result.state for result in report.instances] == ["terminated"]
    assert project.cloud.live_instances() == []


def test_owners_without_an_id_are_listed_by_name_and_regions_that_are_not_known_are_told(simulate: Simulate) -> None:
    project = replace(simulate(), cluster="owner = team")
    session = project.session()
    session.cluster.launch(session.cluster.plan(1))
    desktop = replace(project, cluster="", aws="terminate_regions = all").session("desktop")
    project.cloud.play(Scenario(7, (make_fault("denied", action="DescribeRegions"),)))

    with pytest.raises(UsageError) as caught:
        desktop.cluster.terminate(owner="typo")
    assert str(caught.value.fix) == "VMs there are of: team"
    (line,) = desktop.cluster.terminate(owner="team").remaining
    assert str(line).startswith("other regions: ")
    assert project.cloud.live_instances() == []


def test_what_earlier_sessions_needed_and_cannot_be_deleted_is_a_warning(simulate: Simulate) -> None:
    project = lab(simulate())
    session = project.session()
    session.cluster.launch(session.cluster.plan(1))
    (project.folder / "laptop" / owner_id.FILE).unlink()
    in_use = make_fault("error", code="DependencyViolation", action="DeleteSecurityGroup")
    earlier = session.context.cluster_id.resource_name

    project.cloud.play(Scenario(7, (in_use, refused("TerminateInstances"))))
    project.session().cluster.terminate()
    assert project.count_calls("DeleteSecurityGroup") == 0

    project.cloud.play(Scenario(7, (in_use,)))
    project.session().cluster.terminate()
    assert sum(text.startswith(f"{earlier}: security group: ") for text in project.warnings) == 1


def test_a_home_without_an_owner_id_is_told_once_and_groups_that_cannot_be_listed_are_told(simulate: Simulate) -> None:
    project = lab(simulate(refused("DescribeSecurityGroups")))
    (project.folder / "laptop").mkdir()
    (project.folder / "laptop" / owner_id.FILE).write_text("\0\0")

    project.session().cluster.terminate()

    assert sum(text.endswith(f"{owner_id.FILE}: damaged") for text in project.warnings) == 1
    assert sum("looking up security groups of the same role" in text for text in project.warnings) == 1


def test_vms_of_a_named_owner_need_no_security_group_to_be_terminated(simulate: Simulate) -> None:
    project = lab(simulate())
    ec2 = project.cloud.session().client("ec2")
    group_id = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group_id, IpProtocol="tcp", FromPort=22, ToPort=22, CidrIp="0.0.0.0/0")
    project.aws = f"security_group_id = {group_id}"
    project.cloud.play(Scenario(7, (refused("CreateSecurityGroup"),)))
    ada = project.session("ada")
    ada.cluster.launch(ada.cluster.plan(1))

    report = project.session("desktop").cluster.terminate(owner=ada.context.cluster_id.owner_id)

    assert [result.state for result in report.instances] == ["terminated"]
    assert project.cloud.live_instances() == []


def test_naming_the_arn_of_a_role_leaves_what_has_an_owner_id(simulate: Simulate) -> None:
    project = lab(simulate())
    grace = project.session("grace")
    grace.cluster.launch(grace.cluster.plan(1))
    earlier = replace(project, cluster=f"owner = {LAB}").session("earlier")
    earlier.cluster.launch(earlier.cluster.plan(1))

    project.session("ada").cluster.terminate(owner=LAB)

    assert len(grace.cluster.status().instances) == 1
    assert len(project.cloud.live_instances()) == 1


def test_a_changed_owner_id_keeps_what_this_computer_launched(simulate: Simulate) -> None:
    project = lab(simulate())
    session = project.session()
    session.cluster.launch(session.cluster.plan(1))
    (project.folder / "laptop" / owner_id.FILE).unlink()

    later = project.session()
    assert len(later.cluster.status().instances) == 1
    assert later.inventory.hosts()[0].key_file.exists()
    report = later.cluster.terminate()
    assert ([result.state for result in report.instances], report.remaining) == (["terminated"], ())
    assert project.cloud.session().client("ec2").describe_key_pairs()["KeyPairs"] == []


def test_a_launch_without_an_owner_id_is_refused(simulate: Simulate) -> None:
    project = lab(simulate())
    (project.folder / "laptop").mkdir()
    (project.folder / "laptop" / owner_id.FILE).write_text("\0\0")
    session = project.session()

    with pytest.raises((NotReady, UsageError), match="owner id") as caught:
        session.cluster.launch(session.cluster.plan(1))
    assert "owner_id" in str(caught.value)
    assert project.cloud.live_instances() == []


def test_the_owner_id_is_made_once_and_is_private(tmp_path: object, simulate: Simulate) -> None:
    home = simulate().folder / "new" / "home"
    first = owner_id.load(home, REAL_CLOCK.new_id)

    assert owner_id.load(home, lambda: "f" * 32) == first
    assert (home / owner_id.FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in home.iterdir()] == [owner_id.FILE]
