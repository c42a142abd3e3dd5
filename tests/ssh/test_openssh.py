"""What plain ssh is told: enough to reach a host by name, and nothing that a hostile value could bend."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import UsageError
from orchestrator.core.host import Host
from orchestrator.ssh.openssh import command_line, write_ssh_config
from tests.support.ssh.ssh_lab import Lab

needs_ssh = pytest.mark.skipif(shutil.which("ssh") is None, reason="OpenSSH's client is not installed")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIFFqmdLKM9Fkbhk1cQOAIVBC1d6tvBDAfJHhcgZG0cP"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    lab = Lab(tmp_path_factory.mktemp("open ssh 100%"), hosts=2, first=140)
    yield lab
    lab.stop()


def record(**changes: Any) -> Host:
    facts: dict[str, Any] = {
        "name": "ml-0",
        "address": "203.0.113.7",
        "private_address": "10.0.0.7",
        "port": 22,
        "user": "ubuntu",
        "key_file": Path("/keys/ml.key"),
        "host_key": KEY,
        "identity": "i-0abc",
    }
    return Host(**{**facts, **changes})


def ssh(words: list[str], command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*words, command], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)


@needs_ssh
def test_the_command_line_opens_a_session_with_plain_ssh(lab: Lab, tmp_path: Path) -> None:
    done = ssh(command_line(lab.host(), tmp_path / "a folder 50%", REAL_CLOCK), "echo in")

    assert (done.stdout, done.returncode) == ("in\n", 0)


@needs_ssh
def test_the_config_file_makes_names_work(lab: Lab, tmp_path: Path) -> None:
    config = write_ssh_config([lab.host(0), lab.host(1)], tmp_path / "a folder 50%", REAL_CLOCK)

    for name in ("ml-0", "ml-1"):
        done = ssh(["ssh", "-F", str(config), name], "pwd")
        assert done.stdout.strip() == str(lab.homes[int(name[-1])])


@needs_ssh
def test_plain_ssh_refuses_another_host_key_without_asking(lab: Lab, tmp_path: Path) -> None:
    before = lab.count("exec")

    done = ssh(command_line(lab.host(host_key=KEY), tmp_path, REAL_CLOCK), "echo in")

    assert done.returncode == 255
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr
    assert lab.count("exec") == before


def test_keys_are_pinned_under_the_machines_own_id_beside_those_of_others(tmp_path: Path) -> None:
    other = KEY.replace("AAAAII", "AAAAIJ")
    command_line(record(), tmp_path, REAL_CLOCK)
    command_line(record(name="ml-1", identity="i-0def"), tmp_path, REAL_CLOCK)
    command_line(record(host_key=other + " a comment"), tmp_path, REAL_CLOCK)

    assert (tmp_path / "known_hosts").read_text().splitlines() == [f"i-0def {KEY}", f"i-0abc {other}"]
    assert (tmp_path / "known_hosts").stat().st_mode & 0o777 == 0o600


def test_strictness_is_told_in_so_many_words(tmp_path: Path) -> None:
    words = command_line(record(), tmp_path, REAL_CLOCK)

    told = {"StrictHostKeyChecking=yes", "IdentitiesOnly=yes", "HostKeyAlias=i-0abc", "ForwardAgent=no"}
    assert told <= set(words)
    assert f'UserKnownHostsFile="{tmp_path}/known_hosts"' in words
    assert words[:3] == ["ssh", "-F", "none"]


def test_the_home_of_the_users_own_ssh_is_left_alone(tmp_path: Path) -> None:
    write_ssh_config([record()], tmp_path / "ours", REAL_CLOCK)

    assert {path.name for path in (tmp_path / "ours").iterdir()} == {"clusters", "config", "known_hosts", ".lock"}


def test_a_name_of_two_clusters_is_the_one_that_was_written_last(tmp_path: Path) -> None:
    def addresses() -> list[str]:
        lines = (tmp_path / "config").read_text().splitlines()
        return [line.split()[1] for line in lines if "HostName" in line]

    write_ssh_config([record()], tmp_path, REAL_CLOCK, cluster="rehearsal")
    newer = write_ssh_config([record(address="203.0.113.8")], tmp_path, REAL_CLOCK, cluster="aws")
    assert addresses() == ["203.0.113.8", "203.0.113.7"]

    write_ssh_config([], tmp_path, REAL_CLOCK, cluster="aws")
    assert addresses() == ["203.0.113.7"]
    assert newer == tmp_path / "config"


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "-oProxyCommand=touch x"},
        {"name": "ml-0\n    ProxyCommand touch x"},
        {"name": "*"},
        {"address": "-oProxyCommand=touch x"},
        {"address": "a b"},
        {"user": "me\nProxyCommand touch x"},
        {"user": ""},
        {"identity": "i 1"},
        {"key_file": Path('/keys/a"b')},
        {"key_file": Path("/keys/${HOME}")},
        {"key_file": Path("/keys/a\nProxyCommand touch x")},
        {"host_key": ""},
        {"host_key": "ssh-ed25519"},
        {"host_key": "@cert-authority * ssh-ed25519 AAAA"},
    ],
)
def test_values_that_would_bend_the_config_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    for tell in (
        lambda host: command_line(host, tmp_path, REAL_CLOCK),
        lambda host: write_ssh_config([host], tmp_path, REAL_CLOCK),
    ):
        with pytest.raises(UsageError):
            tell(record(**changes))
