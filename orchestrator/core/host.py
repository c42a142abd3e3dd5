"""Host record: everything that SSH and jobs need, independent of any cloud."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Host:
    """A host that is reachable over SSH.

    :param name: name for users, such as ``ml-0``.
    :param address: for connections from this computer.
    :param private_address: for connections from other hosts of the cluster.
    :param port: of its SSH server.
    :param user: login name.
    :param key_file: private key for the login.
    :param host_key: its pinned public host key, ``ssh-ed25519 AAAA...``; empty means unknown: no connection is made.
    :param identity: id in the cloud, such as the instance id; known_hosts entries go by it.
    :param boot_key: public host key of the launch, accepted beside ``host_key`` until the rotation is complete; empty
        after that.
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
