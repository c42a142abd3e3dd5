"""User data: cloud-config, scripts, multipart, gzip."""

from __future__ import annotations

import base64
import gzip
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import pytest

from localcloud.hosts.user_data import UserData, WriteFile, parse

HELLO = b"#cloud-config\nruncmd:\n- echo hello\n"


def test_empty_user_data_has_no_contents() -> None:
    assert parse(b"") == parse(b"  \n") == UserData()


def test_commands_become_one_script_that_keeps_its_state() -> None:
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
def test_files_keep_content_and_mode_and_stay_in_the_hosts_folder(entry: str, expected: WriteFile) -> None:
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
def test_unsupported_user_data_is_a_warning(data: bytes) -> None:
    parsed = parse(data)
    assert len(parsed.warnings) == 1
    assert parsed.files == ()


def test_multipart_and_gzip_user_data_are_read() -> None:
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
