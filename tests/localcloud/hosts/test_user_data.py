"""What a machine reads in user data, and what it may see of this computer; both without a machine."""

from __future__ import annotations

import base64
import gzip
import subprocess
import sys
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path

import pytest

from localcloud.hosts.process import visible_paths
from localcloud.hosts.process.sandbox import (
    EXECUTE,
    IOCTL_DEV,
    REFER,
    TRUNCATE,
    Confinement,
    handled_rights,
    landlock_abi,
)
from localcloud.hosts.spec import HostSpec
from localcloud.hosts.user_data import UserData, WriteFile, parse

HELLO = b"#cloud-config\nruncmd:\n- echo hello\n"


def test_no_user_data_is_nothing_to_do() -> None:
    assert parse(b"") == parse(b"  \n") == UserData()


def test_commands_become_one_script_so_that_each_sees_what_the_last_one_set() -> None:
    data = parse(b"#cloud-config\nruncmd:\n- cd /x\n- [touch, a b, $HOME]\nbootcmd:\n- 'true'\n")
    assert data.runcmd == "cd /x\ntouch 'a b' '$HOME'\n"
    assert data.bootcmd == "true\n"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{path: /a/b, content: x}", WriteFile("a/b", b"x", 0o644, False)),
        (
            "{path: /a, content: x, permissions: '0600', append: true, owner: root:root}",
            WriteFile("a", b"x", 0o600, True),
        ),
        (
            f"{{path: /a, encoding: b64, content: {base64.b64encode(b'bin').decode()}}}",
            WriteFile("a", b"bin", 0o644, False),
        ),
        (
            f"{{path: /a, encoding: gz+b64, content: {base64.b64encode(gzip.compress(b'zip', mtime=0)).decode()}}}",
            WriteFile("a", b"zip", 0o644, False),
        ),
        ("{path: /../../etc/passwd, content: x}", WriteFile("etc/passwd", b"x", 0o644, False)),
        ("{path: relative/../../up, content: x}", WriteFile("up", b"x", 0o644, False)),
    ],
)
def test_files_keep_content_and_mode_and_stay_below_the_machine_s_folder(entry: str, expected: WriteFile) -> None:
    assert parse(f"#cloud-config\nwrite_files:\n- {entry}\n".encode()).files == (expected,)


@pytest.mark.parametrize(
    "data",
    [
        b"#cloud-config\nwrite_files:\n- {content: no path}\n",
        b"#cloud-config\nwrite_files:\n- {path: /a, encoding: rot13, content: x}\n",
        b"#cloud-config\n{not yaml",
        b"#cloud-config\n- a list\n",
        b"just text",
        b"#cloud-config\npackages: [docker.io]\n",
    ],
)
def test_what_is_not_understood_is_remarked_and_stops_nothing(data: bytes) -> None:
    parsed = parse(data)
    assert len(parsed.warnings) == 1
    assert parsed.files == ()


def test_multipart_and_gzip_user_data_are_opened() -> None:
    message = MIMEMultipart()
    message.attach(MIMEText(HELLO.decode(), "cloud-config"))
    message.attach(MIMEText("#!/bin/sh\necho script\n", "x-shellscript"))
    for data in (message.as_bytes(), gzip.compress(message.as_bytes())):
        parsed = parse(data)
        assert parsed.runcmd == "echo hello\n"
        assert [script.split()[0] for script in parsed.scripts] == [b"#!/bin/sh"]


def test_host_keys_are_taken_by_type() -> None:
    data = parse(b"#cloud-config\nssh_keys: {ed25519_private: secret, ed25519_public: open, ../x_private: no}\n")
    assert data.host_keys == {"ed25519": "secret"}


def test_a_spec_survives_the_wire() -> None:
    spec = HostSpec("i-1", "127.77.0.9", 2222, Path("/d"), "ubuntu", ("k",), b"\x00\xff", {"A": "b"}, 1.5)
    assert HostSpec.from_json(spec.to_json()) == spec


# Reach


def test_all_but_the_hidden_is_reachable_through_neighbours(tmp_path: Path) -> None:
    for folder in ("home/me/.ssh", "home/you", "usr/bin", "opt"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "home/me")
    assert visible_paths.paths_without({tmp_path / "home/me"}, tmp_path) == [
        tmp_path / "home/you",
        tmp_path / "opt",
        tmp_path / "usr",
    ]


def test_the_home_folder_is_never_readable_but_what_is_lent_and_what_pip_is_told_to_use_there_is(
    tmp_path: Path,
) -> None:
    home, cloud = tmp_path / "me", tmp_path / "cloud"
    for folder in (home / "wheels", home / ".config/pip", home / ".ssh", home / "venv", cloud):
        folder.mkdir(parents=True)
    (home / "ca.pem").touch()
    config = home / ".config/pip/pip.conf"
    config.write_text(f"[global]\nfind-links = file://{home}/wheels\n  {home}\ncert = {home}/ca.pem\n")
    lent = f"{home}/venv:{home}:{home}/none"
    readable = visible_paths.readable_paths(cloud, {"HOME": str(home), "LOCALCLOUD_READABLE": lent})
    below_home = {path for path in readable if path.is_relative_to(home)}
    assert below_home == {config, home / "wheels", home / "ca.pem", home / "venv"}
    assert not any(place.is_relative_to(path) for path in readable for place in (home, cloud))


@pytest.mark.skipif(landlock_abi() < 1, reason="this kernel has no Landlock")
@pytest.mark.parametrize("newest", range(1, 8))
def test_every_version_of_landlock_keeps_files_outside_safe(tmp_path: Path, newest: int) -> None:
    (tmp_path / "own").mkdir()
    script = f"""
from pathlib import Path
from localcloud.hosts.process.sandbox import Rules, confine
own = Path({str(tmp_path / "own")!r})
held = confine(Rules((Path("/usr"),), (), (own,)), newest={newest})
(own / "file").write_text("x")
try:
    (own.parent / "file").write_text("x")
except PermissionError:
    print(held)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("confined by Landlock ABI")
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_a_machine_without_confinement_says_so() -> None:
    assert str(Confinement(0)).startswith("NOT confined")
    assert "not signals to your other processes" in str(Confinement(5))


def test_older_kernels_govern_fewer_rights() -> None:
    assert handled_rights(1) & (REFER | TRUNCATE | IOCTL_DEV) == 0
    assert handled_rights(3) & (REFER | TRUNCATE | IOCTL_DEV) == REFER | TRUNCATE
    assert handled_rights(7) & (IOCTL_DEV | EXECUTE) == IOCTL_DEV | EXECUTE
