"""A container with its own systemd as PID 1, whose cloud-init installs the user data of a launch."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.aws.launch.run_instances import user_data
from orchestrator.aws.launch.time_limits import TimeLimits
from orchestrator.core import remote_scripts
from orchestrator.crypto import ssh_keys
from tests.support.script_host import ScriptHost
from tests.support.waiting import wait_until

USER = "debian"
BOOT_TIMEOUT_S = 300.0
POLL_S = 0.5
COMMAND_TIMEOUT_S = 120
# What systemd needs in a container; without SYS_TIME, because the clock is that of this computer.
OPTIONS = (
    *("--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE", "--cap-drop", "SYS_TIME"),
    *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
    *("--security-opt", "systempaths=unconfined", "--cgroupns", "private"),
    *("--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp", "--volume", "/var/lib/docker"),
    *("--volume", "/var/lib/containerd"),
)


def docker(*arguments: str, stdin: bytes = b"") -> str:
    """Run the Docker client and return its output."""
    done = subprocess.run(["docker", *arguments], input=stdin, capture_output=True, timeout=COMMAND_TIMEOUT_S)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


@dataclass(frozen=True)
class SystemVM:
    """A running container, and the login key of its user.

    :param folder: of this computer, with the key and the known host key.
    """

    container: str
    folder: Path

    @property
    def run_id(self) -> str:
        """A run of its own: tests on this computer signal all processes of theirs, and see those of containers."""
        return f"r{self.container[:8]}"

    @property
    def login(self) -> ScriptHost:
        """The login user over SSH, in a session of its own for each command."""
        address = docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", self.container)
        options = ["BatchMode=yes", "HostKeyAlias=vm", "LogLevel=ERROR", f"UserKnownHostsFile={self.folder}/known"]
        shell = ["ssh", "-i", f"{self.folder}/key", *(f"-o{option}" for option in options), f"{USER}@{address}"]
        return ScriptHost(self.folder, shell=tuple(shell))

    def root(self, command: str) -> str:
        """Run a command as root, without a login; return its output."""
        return docker("exec", self.container, "sh", "-c", command)

    def extend(self, *arguments: str) -> int:
        """Set the timer over SSH; return the time of the shutdown that then holds."""
        mark, until, *_ = self.login.run(remote_scripts.inline_command("extend.sh", *arguments)).split()
        assert mark == "@@until"
        return int(until)

    @property
    def until(self) -> int:
        """The time of the shutdown, as it is on the disk."""
        return int(self.file("/var/lib/stratus/until"))

    @property
    def seconds_left(self) -> float:
        """Seconds until the shutdown."""
        return self.until - time.time()

    def file(self, path: str) -> str:
        """Return the text of a file, which a container that is off has, too."""
        done = subprocess.run(["docker", "cp", f"{self.container}:{path}", "-"], capture_output=True, check=True)
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            member = archive.extractfile(archive.getmembers()[0])
            assert member
            return member.read().decode().strip()

    def put(self, files: Mapping[str, str], *, age_s: float = 0.0) -> None:
        """Write files, absolute path -> text, last changed some seconds ago; it may be off."""
        docker("cp", "-", f"{self.container}:/", stdin=_tar(files, time.time() - age_s))

    def trust(self, public_key: str) -> None:
        """Accept this host key only from now on."""
        (self.folder / "known").write_text(f"vm {public_key}\n")

    @property
    def host_key(self) -> str:
        """The host key that is accepted."""
        return (self.folder / "known").read_text().removeprefix("vm ").strip()

    @property
    def is_running(self) -> bool:
        """True until the system has shut down."""
        return docker("inspect", "--format", "{{.State.Running}}", self.container) == "true"

    def wait_off(self, timeout_s: float) -> float:
        """Wait until the system has shut down; return that time."""
        wait_until(lambda: not self.is_running, timeout_s=timeout_s, pause_s=POLL_S)
        return time.time()

    def wait_booted(self) -> None:
        """Wait until the boot is complete and logins are possible."""
        # cloud-init writes the file last; its own command takes a second of processor time.
        ready = "test -s /run/cloud-init/result.json && ss -Hltn 'sport = :22' | grep -q :22"
        wait_until(lambda: self._exec_ok(ready), timeout_s=BOOT_TIMEOUT_S, pause_s=2.0)

    def reboot(self) -> None:
        """Cut the power and boot again; memory file systems begin empty."""
        docker("kill", self.container)
        self.start()

    def stop(self) -> None:
        """Shut the system down, as StopInstances does."""
        self.root("systemctl poweroff")
        self.wait_off(COMMAND_TIMEOUT_S)

    def start(self) -> None:
        """Boot a system that is off."""
        docker("start", self.container)
        self.wait_booted()

    def _exec_ok(self, command: str) -> bool:
        try:
            subprocess.run(
                ["docker", "exec", self.container, "sh", "-c", command], check=True, timeout=COMMAND_TIMEOUT_S
            )
        except subprocess.SubprocessError:
            return False
        return True


Boot = Callable[..., AbstractContextManager[SystemVM]]
"""Boots the system under test: limits, further options of the engine, ``setup``."""


@contextlib.contextmanager
def booted(image: str, folder: Path, limits: TimeLimits, *options: str, setup: str = "") -> Iterator[SystemVM]:
    """Boot a container with the user data of a launch; it is removed afterwards.

    :param options: of ``docker create``.
    :param setup: shell code that changes the system before it boots.
    """
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")], check=True)
    host_key = ssh_keys.generate_host_key()
    # Through a shell: the image's command is the same.
    command = ("sh", "-c", f"{setup or ':'}; exec /sbin/init")
    container = docker("create", "--hostname", "ip-10-0-0-9", *OPTIONS, *options, image, *command)
    vm = SystemVM(container, folder)
    vm.trust(host_key.public)
    try:
        vm.put(_seed(vm, user_data(host_key, limits)))
        docker("start", container)
        vm.wait_booted()
        yield vm
    finally:
        docker("rm", "--force", "--volumes", container)


def _seed(vm: SystemVM, text: str) -> dict[str, str]:
    """Return the files from which cloud-init's NoCloud datasource reads."""
    public = (vm.folder / "key.pub").read_text().strip()
    meta = {"instance-id": vm.container[:12], "local-hostname": "ip-10-0-0-9", "public-keys": [public]}
    folder = "/var/lib/cloud/seed/nocloud"
    return {f"{folder}/user-data": text, f"{folder}/meta-data": json.dumps(meta)}


def _tar(files: Mapping[str, str], changed_at: float) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, text in files.items():
            member = tarfile.TarInfo(path.lstrip("/"))
            member.size, member.mtime = len(text.encode()), changed_at
            tar.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()
