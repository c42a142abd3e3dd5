"""Two addresses of each VM, and security groups that decide who reaches it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import localcloud
import run_interface
from localcloud.scenarios.scenario import Fault, Scenario, make_fault
from orchestrator.config.settings import Settings
from orchestrator.core.errors import ConnectError, UsageError
from tests.support.localcloud.clients import boto
from tests.support.project import Project

JOB = """multi = echo "own=$STRATUS_ADDRESS all=$STRATUS_HOSTS file=$(tr '\\n' ' ' < $STRATUS_HOSTFILE)"\n"""
ELSEWHERE = "198.51.100.23"

Play = Callable[..., None]


@pytest.fixture
def project(cloud: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    """A project whose cluster is terminated afterwards, with short waits for silent hosts."""
    project = Project(tmp_path, "n" + str(abs(hash(request.node.name)) % 10**6), cloud)
    project.job(JOB)
    text = project.config.read_text().replace("[ssh]\n", "[ssh]\nconnect_timeout = 1\nready_timeout = 20\n")
    project.config.write_text(text)
    yield project
    localcloud.scenario(None, cloud["LOCALCLOUD_HOME"])
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


@pytest.fixture
def play(cloud: dict[str, str]) -> Play:
    """Return a function that injects faults; `project` ends them."""

    def play_faults(*faults: Fault) -> None:
        localcloud.scenario(Scenario(1, faults), cloud["LOCALCLOUD_HOME"])

    return play_faults


def ssh_peers(port: int) -> set[str]:
    """Return the addresses of this process's open connections to an SSH port; proc(5), ``net/tcp``."""
    own = {link.readlink().name for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}
    peers = set()
    for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        address, _, number = fields[2].partition(":")
        if fields[3] == "01" and int(number, 16) == port and f"socket:[{fields[9]}]" in own:
            peers.add(".".join(str(byte) for byte in bytes.fromhex(address)[::-1]))
    return peers


@pytest.mark.slow
def test_jobs_use_private_addresses_and_this_computer_public_ones_which_change_over_a_stop(project: Project) -> None:
    """Nothing that is kept from before the stop leads to the old address."""
    lines: list[str] = []
    with project.session() as session:
        assert not session.cluster.launch(session.cluster.plan(2)).failed
        assert not session.jobs.install().failed
        run = session.jobs.start(multi=True)
        session.jobs.follow(run.run_id, on_line=lambda host, line: lines.append(line))
        hosts = session.inventory.hosts()
        peers = ssh_peers(session.settings.ssh.port)
        session.cluster.stop()
        session.cluster.start()
        again = session.inventory.hosts()
        answers = session.hosts.run_command("echo here")

    private = [host.private_address for host in hosts]
    public = [host.address for host in hosts]
    assert sorted(lines) == sorted(f"own={own} all={','.join(private)} file={' '.join(private)} " for own in private)
    assert peers == set(public)
    assert not set(public) & set(private)
    assert [host.private_address for host in again] == private
    assert not {host.address for host in again} & {*public, *private}
    assert [list(answer.lines) for answer in answers.hosts] == [["here"], ["here"]]


@pytest.mark.slow
def test_on_another_network_hosts_are_silent_until_access_is_refreshed(
    project: Project, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address is looked up as in a rehearsal; the launch allowed another one."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", project.env["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("REHEARSAL_SSH_PORT", project.env["REHEARSAL_SSH_PORT"])
    with project.session(adapt=run_interface.rehearsed) as session:
        assert not session.cluster.launch(session.cluster.plan(1)).failed
    play(make_fault("address-changes", address=ELSEWHERE))
    with project.session(adapt=run_interface.rehearsed) as session:
        failed = session.hosts.run_command("true").failed
        report = session.account.refresh_access()
        answers = session.hosts.run_command("echo here")

    (error,) = failed.values()
    assert isinstance(error, ConnectError)
    assert error.kind == "dropped"
    assert "RefreshAccess()" in str(error.fix)
    assert (report.previous_sources, report.sources) == (("127.0.0.1/32",), (f"{ELSEWHERE}/32",))
    assert [list(answer.lines) for answer in answers.hosts] == [["here"]]


@pytest.fixture
def own_group(project: Project) -> Iterator[str]:
    """Return a security group of the user, without rules, that the project uses."""
    ec2 = boto(project.env, "ec2")
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    group: str = ec2.create_security_group(GroupName=project.name, Description="the user's", VpcId=vpc)["GroupId"]
    text = project.config.read_text().replace("[aws]\n", f"[aws]\nsecurity_group_id = {group}\n")
    project.config.write_text(text.replace("ready_timeout = 20", "ready_timeout = 3"))
    yield group
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()
    ec2.delete_security_group(GroupId=group)


def with_own_lookup(loaded: Settings) -> Settings:
    """Return settings that look this computer's address up at the embedded cloud."""
    return replace(loaded, aws=replace(loaded.aws, address_url=f"{loaded.aws.endpoint_url}/_localcloud/client-address"))


@pytest.mark.slow
def test_a_group_of_the_user_is_checked_before_the_launch_and_what_is_printed_opens_it(
    project: Project, own_group: str
) -> None:
    """Without a rule for SSH nothing is launched; a rule for others is noted, and the VM is silent."""
    ec2, port = boto(project.env, "ec2"), int(project.env["REHEARSAL_SSH_PORT"])
    with project.session(adapt=with_own_lookup) as session, pytest.raises(UsageError) as refused:
        session.cluster.plan(1)
    rule = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": f"{ELSEWHERE}/32"}]}
    ec2.authorize_security_group_ingress(GroupId=own_group, IpPermissions=[rule])
    with project.session(adapt=with_own_lookup) as session:
        plan = session.cluster.plan(1)
        launched = session.cluster.launch(plan)
        (warning,) = plan.warnings
        typed = shlex.split(re.search(r"aws ec2 .*?  ", warning)[0])  # type: ignore[index]
        options = dict(zip(typed[3::2], typed[4::2], strict=True))
        ec2.authorize_security_group_ingress(
            GroupId=options["--group-id"],
            IpProtocol=options["--protocol"],
            FromPort=int(options["--port"]),
            ToPort=int(options["--port"]),
            CidrIp=options["--cidr"],
        )
        assert session.cluster.plan(1).warnings == ()
        answers = session.hosts.run_command("echo here")

    assert f"security group {own_group} has no rule for SSH (TCP port {port})" in str(refused.value)
    assert "--cidr 127.0.0.1/32" in str(refused.value.fix)
    assert typed[:3] == ["aws", "ec2", "authorize-security-group-ingress"]
    (error,) = launched.failed.values()
    assert isinstance(error, ConnectError)
    assert error.kind == "dropped"
    assert [list(answer.lines) for answer in answers.hosts] == [["here"]]
