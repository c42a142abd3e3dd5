"""A host: all that SSH and jobs need to know of a machine, and nothing of any cloud."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Host:
    """A machine that answers SSH.

    :param name: what users call it, such as ``ml-0``.
    :param address: where this laptop reaches it.
    :param private_address: where the cluster's other hosts reach it.
    :param port: of its SSH server.
    :param user: login name.
    :param key_file: private key that opens it.
    :param host_key: its pinned public host key, ``ssh-ed25519 AAAA...``; empty means unknown, and unknown is refused.
    :param identity: the cloud's own id of the machine; known_hosts entries are kept by it.
    :param boot_key: the public host key that it was launched with, while that still counts, too; empty once the host
        has one of its own.
    """

    name: str
    address: str
    private_address: str
    port: int
    user: str
    key_file: Path
    host_key: str
    identity: str
    boot_key: str = ""
