"""Specification of a host, settings that all hosts of a cloud share, and the layout of a host's folder."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class HostSpec:
    """One host.

    :param instance_id: ``i-0123...``; every process of the host has it in its environment, as ``LOCALCLOUD_INSTANCE``.
    :param address: private address, which it keeps over stop and start.
    :param port: port of its SSH server, which listens on all of its addresses.
    :param folder: disk of the host; kept over stop and start.
    :param user: the only login name.
    :param authorized_keys: public keys in OpenSSH format, written to ``authorized_keys`` at the first boot.
    :param user_data: argument of RunInstances, decoded from base64.
    :param environment: AWS and metadata variables for every process of the host.
    :param boot_seconds: time from start to an open SSH port.
    :param has_engine: True if its image contains a Docker engine; docker hosts only.
    :param public_address: address of this start; empty for none.
    :param open_addresses: those at which the SSH port answers; at the others it is silent. None for all.
    :param image_id: image that was made from an instance, which the disk is a copy of; empty for any other image.
    :param local_disks_gib: sizes of the local disks of its instance type; VMs only.
    :param gpus: NVIDIA GPUs of its instance type, ``NAME|MIB`` each; process hosts only.
    :param has_efa_software: True if its image and type have what Elastic Fabric Adapters need; process hosts only.
    :param package_faults: of a scenario, ``KIND SECONDS AMOUNT``: seconds from a boot, 0 for permanently.
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
    public_address: str = ""
    open_addresses: tuple[str, ...] | None = None
    package_faults: tuple[str, ...] = ()
    image_id: str = ""
    local_disks_gib: tuple[int, ...] = ()
    gpus: tuple[str, ...] = ()
    has_efa_software: bool = False

    @property
    def addresses(self) -> tuple[str, ...]:
        """The private address, then the public one if there is another."""
        return tuple(dict.fromkeys(filter(None, (self.address, self.public_address))))

    def is_open(self, address: str) -> bool:
        """Return whether the SSH port answers at one of its addresses."""
        return self.open_addresses is None or address in self.open_addresses

    @property
    def hostname(self) -> str:
        """Private DNS name in the format of EC2, ``ip-127-77-x-y``."""
        return "ip-" + self.address.replace(".", "-")

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON values."""
        return {
            **vars(self),
            "folder": str(self.folder),
            "authorized_keys": list(self.authorized_keys),
            "user_data": base64.b64encode(self.user_data).decode(),
            "environment": dict(self.environment),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> HostSpec:
        """Return the record that :meth:`to_json` wrote."""
        opened = values["open_addresses"]
        return cls(
            **{
                **values,
                "open_addresses": None if opened is None else tuple(opened),
                "folder": Path(values["folder"]),
                "authorized_keys": tuple(values["authorized_keys"]),
                "package_faults": tuple(values["package_faults"]),
                "local_disks_gib": tuple(values["local_disks_gib"]),
                "gpus": tuple(values["gpus"]),
                "user_data": base64.b64decode(values["user_data"]),
            }
        )


@dataclass(frozen=True)
class SharedSettings:
    """Settings that all process hosts of a cloud share.

    :param home: folder of the cloud; contains the shared cache.
    :param python: interpreter of the hosts' ``python3``, outside any virtual environment.
    :param network: variables for this computer's access to the network (proxies, CAs, pip).
    :param readable: paths that a host may read, with everything below.
    :param executable: paths from which a host may run programs.
    """

    home: Path
    python: Path
    network: Mapping[str, str]
    readable: tuple[Path, ...]
    executable: tuple[Path, ...]

    @property
    def cache(self) -> Path:
        """Folder that every host of the cloud may write."""
        return self.home / "cache"

    @property
    def file_systems(self) -> Path:
        """Folder of the file systems that hosts share, which every host of the cloud may write."""
        return self.home / "filesystems"

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON values."""
        return {
            "home": str(self.home),
            "python": str(self.python),
            "network": dict(self.network),
            "readable": [str(path) for path in self.readable],
            "executable": [str(path) for path in self.executable],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SharedSettings:
        """Return the record that :meth:`to_json` wrote."""
        return cls(
            home=Path(values["home"]),
            python=Path(values["python"]),
            network=values["network"],
            readable=tuple(Path(path) for path in values["readable"]),
            executable=tuple(Path(path) for path in values["executable"]),
        )


@dataclass(frozen=True)
class HostLayout:
    """Paths in a host's folder, which is its disk."""

    folder: Path
    user: str

    @property
    def home(self) -> Path:
        """Home folder of the login user."""
        return self.folder / "home" / self.user

    @property
    def tmp(self) -> Path:
        """``TMPDIR``."""
        return self.folder / "tmp"

    @property
    def bin(self) -> Path:
        """Stand-ins for system commands; first in ``PATH``."""
        return self.folder / "bin"

    @property
    def python(self) -> Path:
        """Folder of ``python3``; second in ``PATH``."""
        return self.folder / "python"

    @property
    def run(self) -> Path:
        """State of the current boot."""
        return self.folder / "run"

    @property
    def control(self) -> Path:
        """Named pipe through which ``shutdown`` and ``reboot`` reach the host."""
        return self.run / "control"

    @property
    def cloud(self) -> Path:
        """cloud-init's folder."""
        return self.folder / "var/lib/cloud"

    @property
    def host_keys(self) -> Path:
        """Folder of the SSH server's host keys."""
        return self.folder / "etc/ssh"

    @property
    def authorized_keys(self) -> Path:
        """Public keys that may log in."""
        return self.home / ".ssh/authorized_keys"

    @property
    def console(self) -> Path:
        """Boot messages; GetConsoleOutput returns them."""
        return self.folder / "console.log"
