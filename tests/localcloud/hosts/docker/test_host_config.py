"""Boot configuration of docker hosts; needs no Docker engine."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from localcloud.hosts.docker import host_config
from localcloud.hosts.docker.host_config import LivenessEndpoint
from localcloud.hosts.spec import HostSpec

USER_DATA = b"""#cloud-config
ssh_keys: {ed25519_private: secret}
ssh_authorized_keys: [ssh-ed25519 second]
write_files: [{path: /etc/x, content: aGk=, encoding: b64, permissions: '0600'}]
runcmd: [[echo, a b]]
hostname: other
"""


def spec(tmp_path: Path) -> HostSpec:
    return HostSpec(
        "i-1", "172.31.0.4", 22, tmp_path, "ubuntu", ("ssh-ed25519 first",), USER_DATA, {"AWS_REGION": "us-west-2"}
    )


def test_the_boot_configuration_contains_the_user_data_as_values(tmp_path: Path) -> None:
    config = host_config.boot_config(spec(tmp_path), {}, LivenessEndpoint("172.31.0.1", 9, "t"), 12.5)

    assert config["authorized_keys"] == ["ssh-ed25519 first", "ssh-ed25519 second"]
    assert config["host_keys"] == {"ed25519": "secret"}
    assert config["files"] == [{"path": "etc/x", "content": "aGk=", "mode": 0o600, "append": False}]
    assert config["runcmd"] == "echo 'a b'\n"
    assert config["warnings"] == ["hostname: not supported by the embedded cloud"]
    assert (config["user"], config["port"], config["opens_at"]) == ("ubuntu", 22, 12.5)
    assert config["engine"]["insecure-registries"] == ["172.31.0.1/32"]


def test_the_boot_configuration_is_readable_by_root_only(tmp_path: Path) -> None:
    config = host_config.boot_config(spec(tmp_path), {}, LivenessEndpoint("172.31.0.1", 9, "t"), 0.0)
    with tarfile.open(fileobj=io.BytesIO(host_config.to_tar(config))) as tar:
        (member,) = tar.getmembers()
        content = tar.extractfile(member)
        assert content is not None
        assert json.load(content) == config
    assert (member.mode, member.uid) == (0o600, 0)


def test_a_host_uses_the_owners_proxy_except_for_the_cloud(tmp_path: Path) -> None:
    owner = {
        "https_proxy": "http://proxy:3128",
        "no_proxy": "intern",
        "PIP_INDEX_URL": "https://mirror/simple",
        "PIP_EXTRA_INDEX_URL": "file:///srv/wheels",
        "PIP_CERT": "/etc/x.pem",
        "AWS_SECRET_ACCESS_KEY": "s",
    }
    network = host_config.network_variables(owner)
    config = host_config.boot_config(spec(tmp_path), network, LivenessEndpoint("172.31.0.1", 9, "t"), 0.0)[
        "environment"
    ]

    # A path of the owner's means nothing in a container.
    assert network.keys() == {"https_proxy", "no_proxy", "PIP_INDEX_URL"}
    assert config["no_proxy"] == config["NO_PROXY"] == "intern,172.31.0.1,172.31.0.4"
    assert config["AWS_REGION"] == "us-west-2"


def test_name_servers_are_those_that_containers_can_reach(tmp_path: Path) -> None:
    stub, real = tmp_path / "stub", tmp_path / "real"
    stub.write_text("# resolved\nnameserver 127.0.0.53\nsearch x\n")
    real.write_text("nameserver 10.0.0.2\nnameserver fe80::1\n")

    assert host_config.nameservers([stub, real]) == ["10.0.0.2"]
    assert host_config.nameservers([stub, tmp_path / "none"]) == []
