"""What a rehearsal machine is told: its own facts, those all machines of one cloud share, and where its files lie."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class HostSpec:
    """One machine, as the endpoint asks for it.

    :param instance_id: ``i-0123...``; every process of the machine carries it as ``LOCALCLOUD_INSTANCE``.
    :param address: loopback address its SSH server listens on, ``127.77.x.y``.
    :param port: of that SSH server.
    :param folder: the machine's disk; kept over stop and start.
    :param user: the one login name.
    :param authorized_keys: public keys in OpenSSH form, put into ``authorized_keys`` at the first boot.
    :param user_data: as given to RunInstances, decoded from base64.
    :param environment: AWS and metadata variables for everything that runs on the machine.
    :param boot_seconds: from start to an open SSH port.
    :param engine: whether its image has a Docker engine; docker hosts only.
    """

    instance_id: str
    address: str
    port: int
    folder: Path
    user: str
    authorized_keys: tuple[str, ...] = ()
    user_data: bytes = b""
    environment: Mapping[str, str] = field(default_factory=dict)
    boot_seconds: float = 0.0
    has_engine: bool = False

    @property
    def hostname(self) -> str:
        """The private name EC2 gives to such an address, ``ip-127-77-x-y``."""
        return "ip-" + self.address.replace(".", "-")

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return {
            **vars(self),
            "folder": str(self.folder),
            "authorized_keys": list(self.authorized_keys),
            "user_data": base64.b64encode(self.user_data).decode(),
            "environment": dict(self.environment),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> HostSpec:
        """The record that :meth:`encode` made ``values`` of."""
        return cls(
            **{
                **values,
                "folder": Path(values["folder"]),
                "authorized_keys": tuple(values["authorized_keys"]),
                "user_data": base64.b64decode(values["user_data"]),
            }
        )


@dataclass(frozen=True)
class SharedSettings:
    """What all machines of one cloud share.

    :param home: folder of the cloud; holds the shared cache.
    :param python: the interpreter the machines' ``python3`` runs, outside any virtual environment.
    :param network: variables that tell programs how this computer reaches its network (proxies, CAs, pip).
    :param readable: roots a machine may read.
    :param executable: roots a machine may run programs from.
    """

    home: Path
    python: Path
    network: Mapping[str, str]
    readable: tuple[Path, ...]
    executable: tuple[Path, ...]

    @property
    def cache(self) -> Path:
        """Folder that every machine of the cloud may write."""
        return self.home / "cache"

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return {
            "home": str(self.home),
            "python": str(self.python),
            "network": dict(self.network),
            "readable": [str(path) for path in self.readable],
            "executable": [str(path) for path in self.executable],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SharedSettings:
        """The record that :meth:`encode` made ``values`` of."""
        return cls(
            home=Path(values["home"]),
            python=Path(values["python"]),
            network=values["network"],
            readable=tuple(Path(path) for path in values["readable"]),
            executable=tuple(Path(path) for path in values["executable"]),
        )


@dataclass(frozen=True)
class HostLayout:
    """Where things lie in a machine's folder, its "disk"."""

    folder: Path
    user: str

    @property
    def home(self) -> Path:
        """Home of the login user."""
        return self.folder / "home" / self.user

    @property
    def tmp(self) -> Path:
        """``TMPDIR``."""
        return self.folder / "tmp"

    @property
    def bin(self) -> Path:
        """Stand-ins for system commands; first on ``PATH``."""
        return self.folder / "bin"

    @property
    def python(self) -> Path:
        """The folder of ``python3``; second on ``PATH``."""
        return self.folder / "python"

    @property
    def run(self) -> Path:
        """State of this boot only."""
        return self.folder / "run"

    @property
    def control(self) -> Path:
        """The pipe through which ``shutdown`` and ``reboot`` reach the machine."""
        return self.run / "control"

    @property
    def cloud(self) -> Path:
        """cloud-init's own folder."""
        return self.folder / "var/lib/cloud"

    @property
    def host_keys(self) -> Path:
        """Folder of the SSH server's keys."""
        return self.folder / "etc/ssh"

    @property
    def authorized_keys(self) -> Path:
        """The keys that open this machine."""
        return self.home / ".ssh/authorized_keys"

    @property
    def console(self) -> Path:
        """Boot messages; what GetConsoleOutput returns."""
        return self.folder / "console.log"
