"""Files that docker hosts boot with; needs no Docker engine."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from localcloud.core.addresses import DOCKER_BLOCKS
from localcloud.hosts import system_files
from localcloud.hosts.docker import host_config
from localcloud.hosts.docker.host_config import UnresponsivePort
from localcloud.hosts.spec import HostSpec

GATEWAY = "172.31.0.1"
BLOCK = DOCKER_BLOCKS[0]


def spec(tmp_path: Path, **changes: Any) -> HostSpec:
    host = HostSpec("i-1", "172.31.0.4", 22, tmp_path, "ubuntu", environment={"AWS_REGION": "us-west-2"})
    return replace(host, **changes)


def test_the_login_user_is_that_of_the_image(tmp_path: Path) -> None:
    def user(**changes: Any) -> dict[str, Any]:
        files = host_config.image_files(spec(tmp_path, **changes), {}, GATEWAY)
        description: dict[str, Any] = json.loads(files["etc/cloud/cloud.cfg.d/95-localcloud.cfg"])
        login: dict[str, Any] = description["system_info"]["default_user"]
        return login

    assert (user()["name"], user()["sudo"]) == ("ubuntu", ["ALL=(ALL) NOPASSWD:ALL"])
    assert "docker" not in user()["groups"]
    assert "docker" in user(user="ec2-user", has_engine=True)["groups"]


def test_sudo_accepts_the_modes_of_the_files(tmp_path: Path) -> None:
    files = host_config.image_files(spec(tmp_path), {}, GATEWAY)
    with tarfile.open(fileobj=io.BytesIO(system_files.to_tar(files))) as tar:
        modes = {member.name: (member.mode, member.uid) for member in tar}

    assert modes["etc/sudoers.d/50-localcloud"] == (0o440, 0)
    assert modes["etc/environment"] == (0o644, 0)


def test_the_metadata_address_leads_to_the_cloud_and_a_port_may_be_blocked(tmp_path: Path) -> None:
    def files(port: UnresponsivePort | None) -> dict[str, str]:
        return host_config.boot_files(spec(tmp_path, port=23), BLOCK, port)

    rules = files(None)["etc/localcloud/iptables"].splitlines()
    assert rules[-2].endswith("-d 169.254.169.254 -p tcp --dport 80 -j DNAT --to-destination 172.31.0.1:4566")
    assert files(None)["etc/ssh/sshd_config.d/50-localcloud.conf"] == "Port 23\n"
    assert "--dport 22 -j DROP" in files(UnresponsivePort(22, accepts=False))["etc/localcloud/iptables"]
    assert files(UnresponsivePort(22, accepts=True))["etc/localcloud/silent-port"] == "22"
    # A file that is left out would stay as the boot before left it.
    assert files(None)["etc/localcloud/silent-port"] == ""


def test_a_public_address_leads_to_the_private_one_and_rules_silence_what_is_not_open(tmp_path: Path) -> None:
    def files(**changes: Any) -> dict[str, str]:
        host = spec(tmp_path, public_address="172.31.16.9", **changes)
        return host_config.boot_files(host, BLOCK, None)

    def silent(**changes: Any) -> list[str]:
        rules = files(**changes)["etc/localcloud/iptables-gate"].splitlines()
        return [rule.split()[3] for rule in rules if rule.endswith("--dport 22 -m conntrack --ctstate NEW -j DROP")]

    translated = "-A PREROUTING -d 172.31.16.9 -j DNAT --to-destination 172.31.0.4"
    assert translated in files()["etc/localcloud/iptables"].splitlines()
    assert files()["etc/localcloud/public-address"] == "172.31.16.9"
    assert host_config.boot_files(spec(tmp_path), BLOCK, None)["etc/localcloud/public-address"] == ""
    # The port is that of clients, even if a fault moves the server to another one.
    assert silent(open_addresses=(), port=23) == ["172.31.0.4", "172.31.16.9"]
    assert silent(open_addresses=("172.31.0.4",)) == ["172.31.16.9"]
    assert silent() == []


def test_a_host_uses_the_owners_proxy_except_for_the_cloud(tmp_path: Path) -> None:
    owner = {
        "https_proxy": "http://a%20b@proxy:3128",
        "no_proxy": "intern",
        "PIP_INDEX_URL": "https://mirror/simple",
        "PIP_EXTRA_INDEX_URL": "file:///srv/wheels",
        "PIP_CERT": "/etc/x.pem",
        "AWS_SECRET_ACCESS_KEY": "s",
    }
    network = host_config.network_variables(owner)
    host = spec(tmp_path, environment={"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://x/", "AWS_REGION": "us-west-2"})
    files = host_config.image_files(host, network, GATEWAY)
    session = files["etc/environment"].splitlines()

    # A path of the owner's means nothing in a container.
    assert network.keys() == {"https_proxy", "no_proxy", "PIP_INDEX_URL"}
    assert 'no_proxy="intern,172.31.0.1,169.254.169.254,172.31.0.4"' in session
    assert 'AWS_REGION="us-west-2"' in session
    assert not [line for line in session if "METADATA" in line]
    services = files["etc/systemd/system.conf.d/50-localcloud.conf"]
    assert 'DefaultEnvironment="https_proxy=http://a%%20b@proxy:3128"' in services


def test_name_servers_are_those_that_containers_can_reach(tmp_path: Path) -> None:
    stub, real = tmp_path / "stub", tmp_path / "real"
    stub.write_text("# resolved\nnameserver 127.0.0.53\nsearch x\n")
    real.write_text("nameserver 10.0.0.2\nnameserver fe80::1\n")

    assert host_config.nameservers([stub, real]) == ["10.0.0.2"]
    assert host_config.nameservers([stub, tmp_path / "none"]) == []
