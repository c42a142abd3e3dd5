"""SSH keys, checked by the programs and libraries that have to accept them."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from orchestrator.core.errors import UsageError
from orchestrator.crypto import ssh_keys

needs_ssh_keygen = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="OpenSSH is not installed")


def ssh_keygen(*words: str) -> str:
    return subprocess.run(["ssh-keygen", *words], check=True, capture_output=True, text=True, timeout=20).stdout.strip()


def test_every_host_key_is_new_and_its_two_keys_match(tmp_path: Path) -> None:
    first, second = ssh_keys.generate_host_key(), ssh_keys.generate_host_key()
    (tmp_path / "key").write_text(first.private)

    assert first.public.startswith("ssh-ed25519 AAAA")
    assert len(first.public.split()) == 2
    assert first != second
    assert ssh_keys.read_public_key(tmp_path / "key") == first.public


def test_the_private_key_is_not_in_the_representation() -> None:
    assert "PRIVATE" not in repr(ssh_keys.generate_host_key())


@needs_ssh_keygen
def test_openssh_reads_our_keys_and_prints_the_same_fingerprint(tmp_path: Path) -> None:
    public = ssh_keys.generate_login_key(tmp_path / "login")

    assert ssh_keygen("-y", "-f", str(tmp_path / "login")).split()[:2] == public.split()
    assert ssh_keys.fingerprint(public) in ssh_keygen("-l", "-f", str(tmp_path / "login"))


def test_a_login_key_is_readable_by_its_owner_only_and_never_writable(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        public = ssh_keys.generate_login_key(tmp_path / "keys" / "login")
    finally:
        os.umask(old)

    assert stat.S_IMODE((tmp_path / "keys" / "login").stat().st_mode) == 0o400
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["login"]
    assert ssh_keys.read_public_key(tmp_path / "keys" / "login") == public


def test_a_login_key_never_replaces_a_file_or_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "login").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")

    for name in ("login", "link"):
        with pytest.raises(FileExistsError):
            ssh_keys.generate_login_key(tmp_path / name)

    assert (tmp_path / "login").read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"login", "link"}


@pytest.mark.parametrize("form", [PrivateFormat.OpenSSH, PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_the_public_half_of_an_rsa_key_is_found_in_any_form_of_file(tmp_path: Path, form: PrivateFormat) -> None:
    key = rsa.generate_private_key(65537, 2048)
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, form, NoEncryption()))
    expected = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()

    assert ssh_keys.read_public_key(tmp_path / "key.pem") == expected


@pytest.mark.parametrize("form", [PrivateFormat.OpenSSH, PrivateFormat.PKCS8])
def test_a_key_with_a_passphrase_is_named_as_such(tmp_path: Path, form: PrivateFormat) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    (tmp_path / "key").write_bytes(key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"secret")))

    with pytest.raises(UsageError, match=r"key: the private key is protected by a passphrase"):
        ssh_keys.read_public_key(tmp_path / "key")


@pytest.mark.parametrize(
    "content", [b"", b"ssh-ed25519 AAAA me@here\n", b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n"]
)
def test_a_file_that_is_not_a_private_key_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)

    with pytest.raises(UsageError, match=r"key: not a private key in OpenSSH or PEM format"):
        ssh_keys.read_public_key(tmp_path / "key")


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing\.pem: the private key cannot be read: No such file"):
        ssh_keys.read_public_key(tmp_path / "missing.pem")
