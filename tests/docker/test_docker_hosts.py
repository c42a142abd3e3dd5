"""The embedded cloud with containers for hosts: what a VM has, they have, and nothing of them is left afterwards."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import asyncssh
import pytest

import localcloud
from localcloud.core.home import find_home
from localcloud.hosts.docker.network import NoSystemdError
from localcloud.scenarios.scenario import Fault, Scenario, make_fault
from localcloud.server import daemon
from localcloud.server.registry import Registry
from orchestrator.core.errors import HostError
from orchestrator.session import Session
from orchestrator.ssh import CommandResult
from tests.support.docker.boot_probe import probe
from tests.support.localcloud.clients import TYPE, boto, instances, wait_for_state, wait_until
from tests.support.localcloud.clients import image as image_id
from tests.support.localcloud.iam_enforcement import enforce
from tests.support.localcloud.instances import allow_ssh
from tests.support.project import Project

pytestmark = pytest.mark.slow

# curl signs requests itself, so that a host needs no AWS library for this.
READ_S3 = """
field() { echo "$keys" | sed -n "s/.*\\"$1\\": \\"\\([^\\"]*\\)\\".*/\\1/p"; }
imds=http://169.254.169.254/
token=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "${imds}latest/api/token") || exit 11
keys=$(curl -sf -H "X-aws-ec2-metadata-token: $token" \
    "${imds}latest/meta-data/iam/security-credentials/rehearsal") || exit 12
exec curl -sf --aws-sigv4 aws:amz:us-west-2:s3 --user "$(field AccessKeyId):$(field SecretAccessKey)" \
    -H "x-amz-content-sha256: $(sha256sum </dev/null | cut -d' ' -f1)" \
    -H "x-amz-security-token: $(field Token)" "$AWS_ENDPOINT_URL/scenes/a"
"""

DEEP_LEARNING = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"

Run = Callable[[str, str], CommandResult]


def engine_lists(*words: str) -> list[str]:
    """What a docker command lists, one word a line."""
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout.split()


def left_of(home: Path) -> list[str]:
    """All that the engine has of a cloud, running or not."""
    mine = ["--quiet", "--filter", f"label=localcloud.home={home}"]
    lists = (["ps", "--all"], ["volume", "ls"], ["network", "ls"])
    return [one for words in lists for one in engine_lists(*words, *mine)]


@pytest.fixture(scope="module")
def home(host_image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cloud")


@pytest.fixture(scope="module")
def env(home: Path) -> Iterator[dict[str, str]]:
    """A cloud with docker hosts that looks at policies; all of it is gone afterwards."""
    yield enforce(localcloud.up(home, hosts="docker", pending=0.4, boot=0.1, bound_to=os.getpid()))
    localcloud.down(home)
    assert left_of(home) == []


@pytest.fixture(scope="module")
def project(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("lab"), "vm", env)
    made.job("single = true\n")
    return made


@pytest.fixture(scope="module")
def session(project: Project) -> Iterator[Session]:
    """A cluster of two."""
    with project.session() as session:
        assert not session.cluster.launch(session.cluster.plan(2)).failed
        yield session
        assert session.cluster.terminate().remaining == ()


@pytest.fixture(scope="module")
def run(session: Session) -> Run:
    """Run a command on a host, over the session's pinned SSH."""
    # Looked up each time: a public address changes over stop and start.
    return lambda name, command: session.context.ssh.run(session.inventory.hosts([name])[0], command, timeout_s=60)


def test_a_host_is_a_machine_of_its_own_with_sudo_and_no_engine(run: Run) -> None:
    for name, first in (("vm-0", "systemd"), ("vm-1", "systemd")):
        facts = run(name, "whoami; sudo -n whoami; cat /proc/1/comm; command -v docker || echo none").stdout.split()
        assert facts == ["ubuntu", "root", first, "none"]
    assert run("vm-0", "hostname").stdout != run("vm-1", "hostname").stdout
    assert run("vm-0", "cloud-init status --wait").stdout.endswith("status: done\n")


def test_plain_ssh_finds_the_pinned_host_key(session: Session) -> None:
    done = subprocess.run([*session.hosts.ssh_command("vm-0"), "echo here"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "here\n")


def test_hosts_reach_each_other_at_their_private_addresses(session: Session, run: Run) -> None:
    second = session.inventory.hosts(["vm-1"])[0]
    # As on EC2, a host does not see its public address.
    assert run("vm-1", "ip -4 -o address show scope global | awk '{ print $4 }'").stdout.startswith(
        f"{second.private_address}/"
    )
    assert second.address not in run("vm-1", "ip -4 -o address show").stdout
    assert session.context.ssh.run(second, "echo $SSH_CONNECTION").stdout.split()[2] == second.private_address
    assert second.private_address in run("vm-0", f"getent hosts {run('vm-1', 'hostname').stdout}").stdout
    greet = f"import socket; print(socket.create_connection(('{second.private_address}', 22), 10).recv(8).decode())"
    assert run("vm-0", f'python3 -c "{greet}"').stdout == "SSH-2.0-\n"


def test_security_groups_decide_who_reaches_a_running_host(env: dict[str, str], session: Session) -> None:
    ec2, host = boto(env, "ec2"), session.inventory.hosts(["vm-1"])[0]
    (instance,) = instances(ec2, [one.id for one in session.cluster.status().instances if one.name == "vm-1"])
    before = [group["GroupId"] for group in instance["SecurityGroups"]]
    closed = ec2.create_security_group(GroupName="closed", Description="no rules", VpcId=instance["VpcId"])["GroupId"]

    def outcomes() -> tuple[str, str]:
        return knock(host.address), knock(host.private_address)

    with socket.create_connection((host.address, 22), timeout=10) as link:
        ec2.modify_instance_attribute(InstanceId=instance["InstanceId"], Groups=[closed])
        wait_until(lambda: outcomes() == ("dropped", "dropped"))
        # EC2, too, keeps connections that were allowed when they began.
        assert link.recv(4) == b"SSH-"
    inside = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": closed}]}
    ec2.authorize_security_group_ingress(GroupId=closed, IpPermissions=[inside])
    wait_until(lambda: outcomes() == ("dropped", "ssh"))
    allow_ssh(ec2, closed, port=22)
    wait_until(lambda: outcomes() == ("ssh", "ssh"))
    ec2.modify_instance_attribute(InstanceId=instance["InstanceId"], Groups=before)
    ec2.delete_security_group(GroupId=closed)


def test_a_host_reads_s3_with_its_role_and_not_without(env: dict[str, str], run: Run) -> None:
    s3 = boto(env, "s3")
    s3.create_bucket(Bucket="scenes", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    s3.put_object(Bucket="scenes", Key="a", Body=b"seen")
    assert run("vm-0", READ_S3).raise_if_failed("s3").stdout == "seen"
    assert run("vm-0", 'curl -sf "$AWS_ENDPOINT_URL/scenes/a"').exit_status != 0


def test_the_disk_stays_over_stop_and_start_and_a_reboot_typed_on_the_host(session: Session, run: Run) -> None:
    run("vm-1", "echo kept > note").raise_if_failed("note")
    before = session.inventory.hosts(["vm-1"])[0]
    assert not [one for one in session.cluster.stop() if one.error]
    assert not [one for one in session.cluster.start() if one.error]
    host = session.inventory.hosts(["vm-1"])[0]
    assert session.context.ssh.run(host, "cat note").stdout == "kept\n"
    assert host.private_address == before.private_address
    assert host.address not in (before.address, host.private_address)
    assert knock(before.address) == "dropped"
    booted = session.context.ssh.run(host, "ps -o lstart= -p 1").stdout
    # Later, so that the answer is not cut off.
    session.context.ssh.run(host, "sudo systemd-run --quiet --on-active=1 systemctl reboot").raise_if_failed("reboot")
    wait_until(lambda: again(session, booted, "vm-1"), seconds=180)
    assert session.context.ssh.run(host, "cat note").stdout == "kept\n"


@pytest.fixture(scope="module")
def installed_image(
    project: Project, run: Run, image: str, registry_program: None, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The name of an image that an install has pulled, with an engine that it has installed."""
    assert run("vm-0", "command -v docker").exit_status == 1
    with Registry(tmp_path_factory.mktemp("registry"), project.env) as registry:
        name = registry.push(image, "team/tiny:1")
        project.job(f"runtime = docker\nimage = {name}\nsingle = true\n")
        with project.session() as other:
            assert not other.jobs.install().failed
    return name


def test_an_engine_is_installed_and_runs_images_of_a_registry(run: Run, installed_image: str) -> None:
    # What is in the group from now on needs no sudo.
    command = f"sudo docker run --rm --network host {installed_image} echo inside"
    assert run("vm-1", command).raise_if_failed("run").stdout == "inside\n"


def test_the_engine_is_back_after_a_reboot_with_its_images(
    project: Project, session: Session, run: Run, installed_image: str
) -> None:
    before = run("vm-0", "sudo docker images -q").raise_if_failed("images").stdout
    ids = [machine.id for machine in session.cluster.status().instances if machine.name == "vm-0"]
    booted = run("vm-0", "ps -o lstart= -p 1").stdout
    boto(project.env, "ec2").reboot_instances(InstanceIds=ids)
    wait_until(lambda: again(session, booted, "vm-0"), seconds=180)
    host = session.inventory.hosts(["vm-0"])[0]
    assert session.context.ssh.run(host, "cloud-init status --wait").stdout.endswith("status: done\n")
    assert session.context.ssh.run(host, "sudo docker images -q").stdout == before != ""


def again(session: Session, booted: str, name: str) -> bool:
    """Whether a host answers after another boot than the one that began at ``booted``."""
    host = session.inventory.hosts([name])[0]
    try:
        return session.context.ssh.run(host, "ps -o lstart= -p 1", timeout_s=5).raise_if_failed("ps").stdout != booted
    except HostError:
        return False


def test_a_registry_with_login_takes_the_password_that_ecr_gives_out(
    project: Project, session: Session, run: Run, image: str, installed_image: str, tmp_path: Path
) -> None:
    with Registry(tmp_path, project.env, login=True) as registry:
        name = registry.push(image, "secret/tiny:1")
        assert run("vm-0", f"sudo docker pull -q {name}").exit_status != 0
        told = boto(project.env, "ecr").get_authorization_token()["authorizationData"][0]
        user, _, password = base64.b64decode(told["authorizationToken"]).decode().partition(":")
        login = f"sudo docker login -u {user} --password-stdin {told['proxyEndpoint'].removeprefix('http://')}"
        host = session.inventory.hosts(["vm-0"])[0]
        session.context.ssh.run(host, login, stdin=password.encode()).raise_if_failed("login")
        run("vm-0", f"sudo docker pull -q {name}").raise_if_failed("pull")


def launch(env: dict[str, str], count: int, **options: Any) -> list[str]:
    """Start instances by the API, without a toolkit; their ids."""
    order = {"ImageId": image_id(env), "InstanceType": TYPE, "MinCount": count, "MaxCount": count, **options}
    return [one["InstanceId"] for one in boto(env, "ec2").run_instances(**order)["Instances"]]


def state(env: dict[str, str], instance_id: str) -> str:
    """What EC2 says of an instance."""
    found = boto(env, "ec2").describe_instances(InstanceIds=[instance_id])
    name: str = found["Reservations"][0]["Instances"][0]["State"]["Name"]
    return name


def test_shutdown_typed_on_a_host_ends_its_instance(env: dict[str, str], home: Path) -> None:
    script = "#!/bin/sh\ncloud-init status\nshutdown -h now\n"
    (one,) = launch(env, 1, UserData=script, InstanceInitiatedShutdownBehavior="terminate")
    wait_until(lambda: state(env, one) == "terminated", seconds=180)
    assert not engine_lists("ps", "--all", "--quiet", "--filter", f"label=localcloud.instance={one}")


def has_outcome(address: str, outcome: str) -> bool:
    return knock(address) == outcome


def knock(address: str) -> str:
    """What a connection to SSH's port meets."""
    try:
        link = socket.create_connection((address, 22), timeout=1.0)
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "dropped"
    except OSError as error:
        if error.errno != errno.EHOSTUNREACH:
            raise
        # Nobody has the address: on this computer's own network, that is noticed.
        return "dropped"
    with link:
        try:
            return "ssh" if link.recv(4) == b"SSH-" else "closed"
        except TimeoutError:
            return "silent"


def play(home: Path, *faults: Fault) -> None:
    localcloud.scenario(Scenario(1, faults), home)


def host_key(address: str) -> str:
    key = asyncio.run(asyncssh.get_server_host_key(address, 22))
    assert key is not None
    return key.get_fingerprint()


def test_hosts_refuse_drop_stay_silent_freeze_vanish_or_show_another_key(env: dict[str, str], home: Path) -> None:
    private = asyncssh.generate_private_key("ssh-ed25519")
    config = {"ssh_keys": {"ed25519_private": private.export_private_key().decode()}}
    # Types, because hosts are counted anew with each scenario, and the other tests' are among them.
    types = [f"{family}.{size}" for family in ("c7i", "m7i") for size in ("large", "xlarge", "2xlarge")]
    boot = ("ssh-refused", "ssh-dropped", "ssh-silent")
    ec2 = boto(env, "ec2")
    allow_ssh(ec2, port=22)
    play(home, *[make_fault(kind, where=one) for kind, one in zip(boot, types[:3], strict=True)])
    data = {"UserData": "#cloud-config\n" + json.dumps(config)}
    new = [one for kind in types for one in launch(env, 1, InstanceType=kind, **data)]
    try:
        found = [one["PublicIpAddress"] for one in wait_for_state(ec2, new, "running")]
        ours = private.get_fingerprint()
        for one, met in zip(found, ("refused", "dropped", "silent", "ssh", "ssh", "ssh"), strict=True):
            wait_until(partial(has_outcome, one, met), seconds=180)
        wait_until(lambda: b"HOST KEY" in console(env, new[1]), seconds=180)
        assert knock(found[1]) == "dropped"
        assert host_key(found[5]) == ours
        play(
            home,
            make_fault("host-frozen", where=types[3], seconds=15),
            make_fault("host-lost", where=types[4]),
            make_fault("host-key-swapped", where=types[5]),
        )
        wait_until(lambda: knock(found[3]) == "silent")
        wait_until(lambda: knock(found[4]) == "dropped", seconds=180)
        wait_until(lambda: knock(found[5]) == "ssh" and host_key(found[5]) != ours, seconds=180)
        wait_until(lambda: knock(found[3]) == "ssh", seconds=180)
    finally:
        localcloud.scenario(None, home)
        ec2.terminate_instances(InstanceIds=new)
    wait_until(lambda: {state(env, one) for one in new} == {"terminated"}, seconds=180)


def test_a_deep_learning_image_has_an_engine_that_runs(env: dict[str, str]) -> None:
    """Nobody need install one, and the login user needs no sudo."""
    login = asyncssh.generate_private_key("ssh-ed25519")
    made = boto(env, "ec2").import_key_pair(KeyName="dl", PublicKeyMaterial=login.export_public_key())
    (one,) = launch(env, 1, ImageId=image_id(env, DEEP_LEARNING), KeyName=made["KeyName"])
    # With the build of its image.
    wait_until(lambda: b" finished at " in console(env, one), seconds=300)
    (told,) = instances(boto(env, "ec2"), [one])

    async def ask() -> str:
        address = told["PrivateIpAddress"]
        async with asyncssh.connect(address, username="ubuntu", client_keys=[login], known_hosts=None) as link:
            return str((await link.run("docker info --format '{{.OSType}}'", check=True)).stdout)

    assert asyncio.run(ask()) == "linux\n"
    boto(env, "ec2").terminate_instances(InstanceIds=[one])


@pytest.mark.parametrize("sweeper", ["down", "another cloud"])
def test_what_a_killed_cloud_leaves_ends_itself_and_is_swept(
    env: dict[str, str], host_image: str, tmp_path: Path, sweeper: str
) -> None:
    """By whoever cleans up after it, or by the next cloud that comes up, wherever its home is."""
    dead, heir = tmp_path / "a,b dead", tmp_path / "heir"
    other = localcloud.up(dead, hosts="docker", pending=0.1, boot=0.0, bound_to=os.getpid())
    (one,) = launch(other, 1)
    wait_until(lambda: b"Welcome to" in console(other, one), seconds=180)
    pid = daemon.running(find_home(dead))
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    running = ["ps", "--quiet", "--filter", f"label=localcloud.instance={one}"]
    wait_until(lambda: not engine_lists(*running), seconds=180)
    assert len(left_of(dead)) == 4

    if sweeper == "down":
        localcloud.down(dead)
    else:
        localcloud.up(heir, hosts="docker", bound_to=os.getpid())
        localcloud.down(heir)
    assert left_of(dead) == left_of(heir) == []


def console(env: dict[str, str], instance_id: str) -> bytes:
    """What an instance wrote while it booted."""
    told = boto(env, "ec2").get_console_output(InstanceId=instance_id)
    return str(told.get("Output", "")).encode()


def test_without_an_engine_one_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(localcloud.LocalCloudError, match=r"docker hosts need a Docker engine.*systemctl start docker"):
        localcloud.up(tmp_path / "home", hosts="docker")


def test_where_systemd_does_not_run_one_line_says_what_to_do(host_image: str, tmp_path: Path) -> None:
    """Without the capabilities of hosts, as on an engine that does not grant them."""
    with pytest.raises(NoSystemdError, match=r"cannot run systemd in a container \(.*\); use process hosts"):
        probe(host_image, tmp_path, ())
    assert left_of(tmp_path) == []


def test_an_option_that_the_engine_refuses_is_said_the_same_way(host_image: str, tmp_path: Path) -> None:
    with pytest.raises(NoSystemdError, match=r"cannot run systemd in a container \(docker (create|start): .*\); use"):
        probe(host_image, tmp_path, ("--runtime", "none"))
    assert left_of(tmp_path) == []
