"""SSH keys, always generated on this computer: host keys and login keys."""

from __future__ import annotations

import os
import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core.errors import UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True)
class HostKey:
    """An ed25519 SSH host key.

    :param private: OpenSSH private key text; never shown.
    :param public: ``ssh-ed25519 AAAA...``, without a comment.
    """

    private: str = field(repr=False)
    public: str


def generate_host_key() -> HostKey:
    """Generate a host key."""
    key = _ed25519()
    return HostKey(private=_openssh(key), public=_public_line(key))


def generate_login_key(path: Path) -> str:
    """Generate an ed25519 login key in a new file of mode 0400 and return its public key.

    The file is created atomically and never replaces another one.

    :raises FileExistsError: there is already a file at ``path``.
    """
    key = _ed25519()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Under a draft name first: a crash never leaves a partial key under the real one.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(file, "w", encoding="ascii") as stream:
            stream.write(_openssh(key))
            stream.flush()
            os.fsync(file)
            os.fchmod(file, 0o400)
        # link, unlike rename, fails when the name is taken: two processes may generate the key at the same time.
        os.link(draft, path)
    finally:
        draft.unlink()
    return _public_line(key)


def read_public_key(path: Path) -> str:
    """Return the public key, ``type base64``, of a private key file (OpenSSH or PEM).

    :raises UsageError: the file is missing, unreadable, protected by a passphrase or not a private key.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key as load_openssh

    data = _read(path)
    load = load_openssh if b"BEGIN OPENSSH PRIVATE KEY" in data else load_pem_private_key
    try:
        public = load(data, password=None).public_key()
        return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()  # type: ignore[call-arg, unused-ignore]
    except Exception as error:  # cryptography has no common base class for errors of a broken file
        raise _unusable(path, error) from error


def fingerprint(public: str) -> str:
    """Return ``SHA256:...`` of a public key line, as ``ssh-keygen -l`` prints it."""
    digest = sha256(b64decode(public.split()[1])).digest()
    return "SHA256:" + b64encode(digest).decode().rstrip("=")


def _ed25519() -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate()


def _openssh(key: Ed25519PrivateKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def _public_line(key: Ed25519PrivateKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _read(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except OSError as error:
        raise UsageError(f"the private key cannot be read: {error.strerror or error}", where=str(path)) from error


def _unusable(path: Path, error: Exception) -> UsageError:
    # cryptography reports an encrypted key as a TypeError, or as a ValueError that mentions the password.
    if isinstance(error, TypeError) or "password" in str(error).lower():
        return UsageError(
            "the private key is protected by a passphrase, and Stratus does not ask for one",
            where=str(path),
            fix="leave [aws] key_name and [ssh] private_key empty: Stratus then creates a key for the cluster",
        )
    return UsageError(
        "not a private key in OpenSSH or PEM format",
        where=str(path),
        fix="set [ssh] private_key to a private key file; or leave it and key_name empty: Stratus then creates a key",
    )
