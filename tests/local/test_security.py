"""Every row of the table in docs/security.md: on a real run with secrets everywhere, and against another SSH server."""

from __future__ import annotations

import base64
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import localcloud
from orchestrator.core.errors import ConnectError, HostError
from orchestrator.session import Session
from tests.support.leak_scan import SECRETS, LeakScan, places_with, places_with_wrapped, run_with_secrets
from tests.support.project import Project
from tests.support.ssh.ssh_lab import Lab as SshLab

# A whole run, searched to its last byte.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LeakScan]:
    """One run for all tests; its cloud accepts any credentials, because the secrets are not valid keys."""
    home = tmp_path_factory.mktemp("lenient")
    env = localcloud.up(home, pending=0.2, boot=0.05, bound_to=os.getpid())
    try:
        yield run_with_secrets(env, tmp_path_factory.mktemp("security"))
    finally:
        localcloud.down(home)


def test_the_search_finds_known_text(scene: LeakScan) -> None:
    """Otherwise an empty result would prove nothing."""
    for places in (scene.disks, scene.local_files()):
        assert places_with("the job runs on", places)
    assert places_with("STRATUS_RUN=" + scene.run_id, scene.processes)
    assert places_with(
        SECRETS["password of an index"], {"x": base64.b64encode(b"1" + SECRETS["password of an index"].encode())}
    )


@pytest.mark.parametrize("name", [name for name in SECRETS if name != "password of an index"])
def test_no_aws_key_reaches_a_vm_or_a_file(scene: LeakScan, name: str) -> None:
    """Disks, argv, environment, user data, logs, journal, run records, events."""
    places = scene.disks | scene.processes | {name: text.encode() for name, text in scene.user_data.items()}
    kept = scene.local_files()
    if name.startswith("id "):
        # AWS logs who called, and so does the daemon that plays it.
        kept = {place: content for place, content in kept.items() if not place.endswith("daemon.log")}

    assert places_with(SECRETS[name], places) == []
    assert places_with(SECRETS[name], kept) == []


def test_a_password_in_a_url_is_in_no_record_and_no_log(scene: LeakScan) -> None:
    """The VM needs it to install; readers of the record do not."""
    assert places_with(SECRETS["password of an index"], scene.local_files()) == []
    assert places_with("https://********@pypi.invalid", scene.local_files())


def test_private_keys_are_only_where_they_are_used(scene: LeakScan) -> None:
    """Dask's key on the VMs, readable by their user; a host key on its VM; the login key on this computer."""
    tls = [place for place in scene.disks if place.endswith("/tls/key.pem")]
    secret = b"".join(scene.disks[tls[0]].split(b"\n")[1:3])[40:100].decode()
    host_keys = [place for place in scene.disks if place.endswith("etc/ssh/ssh_host_ed25519_key")]
    everything = scene.processes | scene.local_files()

    assert len(tls) == len(host_keys) == 2
    assert {scene.modes[place] for place in tls + host_keys} == {0o600}
    assert set(places_with_wrapped(secret, scene.disks)) == set(tls)
    assert places_with_wrapped(secret, everything) == []
    for place in host_keys:
        body = b"".join(scene.disks[place].split(b"\n")[1:-2])[-100:-30].decode()
        assert places_with_wrapped(body, scene.disks) == [place]
        assert places_with_wrapped(body, everything | {"user data": "".join(scene.user_data.values()).encode()}) == []
    for text in scene.user_data.values():
        launch = re.sub(r"\\n|\n", "", text.split("PRIVATE KEY-----")[1])[-130:-60]
        assert places_with_wrapped(launch, scene.disks | everything) == []


def test_the_login_key_is_readable_by_its_owner_and_deleted_with_the_cluster(scene: LeakScan) -> None:
    """Mode 0400 in a folder of mode 0700; deleted here and in EC2."""
    mode, folder, owner = scene.key_mode
    assert (oct(mode), oct(folder), owner) == ("0o400", "0o700", os.getuid())
    assert any(name.startswith("stratus-canary-") for name in scene.key_pairs[0])
    assert not any(name.startswith("stratus-canary-") for name in scene.key_pairs[1])
    assert not list((scene.folder / "laptop/keys").glob("*canary*"))


def test_no_security_group_rule_is_open_to_the_world(scene: LeakScan) -> None:
    """SSH from one address, everything within the cluster, nothing else."""
    group = next(one for one in scene.rules if one["GroupName"].startswith("stratus-canary-"))
    sources = [each["CidrIp"] for rule in group["IpPermissions"] for each in rule["IpRanges"]]
    ssh, inside = sorted(group["IpPermissions"], key=lambda rule: str(rule["IpProtocol"]), reverse=True)

    assert sources == ["127.0.0.1/32"]
    assert not [each for rule in group["IpPermissions"] for each in rule.get("Ipv6Ranges", [])]
    assert (ssh["IpProtocol"], ssh["FromPort"], ssh["ToPort"]) == ("tcp", *[int(scene.env["REHEARSAL_SSH_PORT"])] * 2)
    assert [pair["GroupId"] for pair in inside["UserIdGroupPairs"]] == [group["GroupId"]]
    assert len(group["IpPermissions"]) == 2


def test_jobs_listen_on_private_addresses_only(scene: LeakScan) -> None:
    """A port scan from outside the cluster finds nothing open."""
    assert len(scene.outside) >= 5  # scheduler, its dashboard, workers, their nannies
    for address, places in scene.listeners.items():
        assert {place for place, _ in places} == {address}
    assert set(scene.outside.values()) == {"ConnectionRefusedError"}


def test_dask_refuses_clients_without_the_runs_certificate(scene: LeakScan) -> None:
    """On the private address, too."""
    assert re.search("(?i)certificate required|alert|closed|reset|EOF", scene.tls_without_certificate)


def test_every_launch_requests_imdsv2_and_encrypted_disks(scene: LeakScan) -> None:
    """In the requests as sent; `Project.session` checks the same for every launch of every test."""
    assert scene.launches
    for launch in scene.launches:
        (disk,) = launch["BlockDeviceMappings"]
        ebs = disk["Ebs"]
        assert launch["MetadataOptions"] == {
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
            "HttpEndpoint": "enabled",
        }
        assert (ebs["Encrypted"], ebs["DeleteOnTermination"], ebs["VolumeType"]) == (True, True, "gp3")
        assert launch["InstanceInitiatedShutdownBehavior"] == "terminate"
        kinds = {one["ResourceType"] for one in launch["TagSpecifications"]}
        assert kinds == {"instance", "volume", "network-interface"}


@pytest.fixture
def impostor(cloud: dict[str, str], tmp_path: Path) -> Iterator[tuple[Project, SshLab, Session]]:
    """A running host, and a second SSH server with another key at its address."""
    project = Project(tmp_path, "twin", cloud)
    project.job("single = true\n")
    with project.session() as first:
        first.cluster.launch(first.cluster.plan(1))
        (host,) = first.inventory.hosts()
    other = SshLab(tmp_path / "impostor", addresses=[host.address])
    text = project.config.read_text()
    project.config.write_text(text.replace(f"port = {cloud['REHEARSAL_SSH_PORT']}", f"port = {other.ports[0]}"))
    with project.session() as fooled:
        yield project, other, fooled
    other.stop()
    project.config.write_text(text)
    with project.session() as cleaner:
        assert cleaner.cluster.terminate().remaining == ()


def test_another_server_at_a_hosts_address_receives_no_byte_of_any_command(
    impostor: tuple[Project, SshLab, Session],
) -> None:
    """For every kind of access; the error has both fingerprints and the instance id."""
    _, other, fooled = impostor
    (host,) = fooled.inventory.hosts()
    failures = [fooled.jobs.install().failed[host.name]]
    for use in (
        fooled.jobs.runs,
        fooled.jobs.fetch,
        fooled.jobs.cancel,
        lambda: fooled.jobs.start(multi=False),
        lambda: list(fooled.jobs.logs()),
        lambda: fooled.context.ssh.fetch(host, "stratus", fooled.jobs.context.runs_folder),
        lambda: fooled.context.ssh.forward(host, 80),
    ):
        with pytest.raises(HostError) as caught:
            use()
        failures.append(caught.value)
    plain = subprocess.run(
        [*fooled.hosts.ssh_command(host.name), "echo secret"], capture_output=True, text=True, timeout=20, check=False
    )

    found = str(failures[0])
    assert isinstance(failures[0], ConnectError)
    assert failures[0].kind == "host-key"
    assert len(set(re.findall(r"SHA256:[A-Za-z0-9+/]+", found))) == 2
    assert host.identity in found
    assert plain.returncode == 255
    assert "secret" not in plain.stdout
    assert other.count("connect") >= len(failures) + 1
    assert set(other.events()) == {"connect"}
