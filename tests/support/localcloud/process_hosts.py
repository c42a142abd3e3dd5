"""Process hosts for tests: hosts on addresses of their own, and SSH clients for them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import asyncssh

from localcloud.hosts.process.hosts import ProcessHosts
from localcloud.hosts.spec import HostSpec

NEEDS_OPENSSH = "the OpenSSH client is not installed"
_numbers = count(1)


def free_port() -> int:
    """Return a port that is free on the addresses of these tests."""
    with socket.create_server(("127.77.240.255", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@dataclass
class HostRig:
    """Process hosts in a temporary folder, and the key that may log in."""

    folder: Path
    hosts: ProcessHosts
    key: asyncssh.SSHKey
    shut_down: list[str] = field(default_factory=list)

    @property
    def key_file(self) -> Path:
        """File of the private key."""
        return self.folder / "key"

    def spec(self, *, user_data: str | bytes = b"", boot_seconds: float = 0.0, **variables: str) -> HostSpec:
        """Return the specification of a new host."""
        number = next(_numbers)
        return HostSpec(
            instance_id=f"i-{number:017x}",
            address=f"127.77.240.{number}",
            port=PORT,
            folder=self.folder / "machines" / str(number),
            user="ubuntu",
            authorized_keys=(self.key.export_public_key().decode(),),
            user_data=user_data.encode() if isinstance(user_data, str) else user_data,
            environment=variables,
            boot_seconds=boot_seconds,
        )

    def start(self, spec: HostSpec) -> RunningHost:
        """Start a host and wait until its SSH server is up."""
        self.hosts.start(spec)
        assert self.hosts.wait(spec.instance_id, "running", deadline_s=10), (spec.folder / "console.log").read_text()
        return RunningHost(self, spec)

    def boot(self, *, user_data: str | bytes = b"", **variables: str) -> RunningHost:
        """Start a new host."""
        return self.start(self.spec(user_data=user_data, boot_seconds=0.0, **variables))


PORT = free_port()


@dataclass(frozen=True)
class RunningHost:
    """A host whose SSH server is up."""

    rig: HostRig
    spec: HostSpec

    @property
    def home(self) -> Path:
        """Home folder of the login user."""
        return self.spec.folder / "home" / self.spec.user

    @property
    def console(self) -> str:
        """Boot messages."""
        return (self.spec.folder / "console.log").read_text()

    def ssh_command(self, *options: str) -> list[str]:
        """Return an OpenSSH command line that pins the host key on the host's console."""
        known = self.rig.folder / f"known-{self.spec.instance_id}"
        name = f"[{self.spec.address}]:{self.spec.port}"
        lines = self.console.split("-----BEGIN SSH HOST KEY KEYS-----\n")[-1].split("-----END")[0].splitlines()
        known.write_text("".join(f"{name} {' '.join(line.split()[:2])}\n" for line in lines))
        settings = {
            "IdentityFile": self.rig.key_file,
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": known,
            "BatchMode": "yes",
            "LogLevel": "ERROR",
        }
        pairs = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        return ["ssh", "-F", os.devnull, "-p", str(self.spec.port), *pairs, *options, f"ubuntu@{self.spec.address}"]

    def run(self, command: str, *, stdin: bytes = b"", timeout: float = 20) -> subprocess.CompletedProcess[bytes]:
        """Run a command through the OpenSSH client."""
        return subprocess.run([*self.ssh_command(), command], input=stdin, capture_output=True, timeout=timeout)

    def output_of(self, command: str) -> str:
        """Return the output of a command, which must succeed."""
        process = self.run(command)
        assert process.returncode == 0, process.stderr.decode()
        return process.stdout.decode().strip()

    def connect(self, user: str = "ubuntu", key: asyncssh.SSHKey | None = None) -> asyncssh.misc._ACMWrapper:  # type: ignore[type-arg]
        """Return an asyncssh connection, to be awaited or entered."""
        return asyncssh.connect(
            self.spec.address,
            self.spec.port,
            username=user,
            client_keys=[key or self.rig.key],
            known_hosts=None,
            agent_path=None,
            config=None,
        )

    def restart(self) -> RunningHost:
        """Stop the host and start it again on the same folder."""
        self.rig.hosts.stop(self.spec.instance_id)
        return self.rig.start(replace(self.spec))


def open_rig(folder: Path, environ: Mapping[str, str] | None = None) -> Iterator[HostRig]:
    """Yield a rig; its hosts with all of their processes are gone afterwards."""
    shut_down: list[str] = []
    key = asyncssh.generate_private_key("ssh-ed25519")
    (folder / "key").touch(0o600)
    (folder / "key").write_bytes(key.export_private_key())
    with ProcessHosts(folder / "cloud", on_shutdown=shut_down.append, environ=environ) as hosts:
        yield HostRig(folder, hosts, key, shut_down)
    assert processes_of(folder) == []


def processes_of(folder: Path) -> list[int]:
    """Return every process, zombies aside, of the cloud or the hosts in ``folder``."""
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _belongs(pid, folder)]


def _belongs(pid: int, folder: Path) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        return pid != os.getpid() and (str(folder).encode() in environment and b"LOCALCLOUD_" in environment)
    except OSError:
        return False


def accepts_connections(spec: HostSpec) -> bool:
    """Return whether the SSH port of a host accepts connections."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((spec.address, spec.port)) == 0


def has_openssh() -> bool:
    """Return whether the ``ssh`` command is installed."""
    return shutil.which("ssh") is not None
