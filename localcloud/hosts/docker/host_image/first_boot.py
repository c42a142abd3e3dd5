"""First boot of a docker host, in the stages of cloud-init: user, keys, files, scripts.

The user data was parsed by the owner, and arrives here as plain values (see ``localcloud.hosts.docker.host_config``).
"""

from __future__ import annotations

import base64
import json
import os
import pwd
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLOUD = Path("/var/lib/cloud")
SSH = Path("/etc/ssh")
# As on Ubuntu.
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KEYS_BEGIN = "-----BEGIN SSH HOST KEY KEYS-----"
_KEYS_END = "-----END SSH HOST KEY KEYS-----"
# Variables that programs run by sudo need for access to the cloud.
_SUDO_KEEPS = "AWS_* *_PROXY *_proxy PIP_* LANG"


@dataclass(frozen=True)
class Boot:
    """One boot.

    :param config: configuration of the host, from ``localcloud.hosts.docker.host_config``.
    :param environment: variables of the scripts.
    """

    config: Mapping[str, Any]
    environment: Mapping[str, str]
    started_at: float

    def log(self, text: str) -> None:
        """Write a stamped line to the console."""
        print(f"[{time.monotonic() - self.started_at:12.6f}] {text}", flush=True)

    def claim_stage(self, stage: str) -> bool:
        """Return True the first time this instance gets to ``stage``. A stage that was interrupted is not repeated."""
        marker = CLOUD / "instance/sem" / stage
        marker.parent.mkdir(parents=True, exist_ok=True)
        try:
            marker.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def run_early(self) -> None:
        """Run what comes before SSH: login user, host keys, login keys, files, ``bootcmd``."""
        _write_environment(self.config["environment"])
        if self.claim_stage("init"):
            for warning in self.config["warnings"]:
                self.log(f"cloud-init: {warning}")
            self._add_user()
            self._write_files()
            self._make_host_keys()
        _configure_sshd(self.config["port"])
        _configure_engine(self.config["engine"])
        # EC2 users read the keys from the console output, between these lines.
        public = [path.read_text().strip() for path in sorted(SSH.glob("ssh_host_*_key.pub"))]
        print("\n".join([_KEYS_BEGIN, *public, _KEYS_END]), flush=True)
        if self.config["bootcmd"]:
            self._run_text("bootcmd", self.config["bootcmd"])

    def run_final(self) -> bool:
        """Run what comes after SSH is up: per-boot scripts and, at the first boot, ``runcmd`` and the user's scripts.

        :returns: True if every script succeeded.
        """
        codes = [self._run([str(script)]) for script in _runnable(CLOUD / "scripts/per-boot")]
        if self.claim_stage("final"):
            codes += [self._run([str(script)]) for script in _runnable(CLOUD / "scripts/per-instance")]
            if self.config["runcmd"]:
                codes.append(self._run_text("runcmd", self.config["runcmd"]))
            for number, script in enumerate(self.config["scripts"], start=1):
                codes.append(self._run_whole(f"part-{number:03}", base64.b64decode(script)))
        return not any(codes)

    def _add_user(self) -> None:
        user, keys = self.config["user"], self.config["authorized_keys"]
        try:
            pwd.getpwnam(user)
        except KeyError:
            groups = ["--groups", "docker"] if "docker:" in Path("/etc/group").read_text() else []
            _call("useradd", "--create-home", "--shell", "/bin/bash", *groups, user)
        rules = Path("/etc/sudoers.d/90-cloud-init-users")
        rules.write_text(f'{user} ALL=(ALL) NOPASSWD:ALL\nDefaults env_keep += "{_SUDO_KEEPS}"\n')
        # sudo ignores files that others may write.
        rules.chmod(0o440)
        entry = pwd.getpwnam(user)
        folder = Path(entry.pw_dir, ".ssh")
        folder.mkdir(mode=0o700, exist_ok=True)
        file = folder / "authorized_keys"
        file.write_text("".join(key.strip() + "\n" for key in keys))
        file.chmod(0o600)
        for path in (folder, file):
            os.chown(path, entry.pw_uid, entry.pw_gid)

    def _write_files(self) -> None:
        for entry in self.config["files"]:
            path = Path("/", entry["path"])
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("ab" if entry["append"] else "wb") as out:
                    out.write(base64.b64decode(entry["content"]))
                path.chmod(entry["mode"])
            except OSError as error:
                self.log(f"cloud-init: write_files: {path}: {error.strerror}")

    def _make_host_keys(self) -> None:
        imported = 0
        for kind, text in self.config["host_keys"].items():
            path = SSH / f"ssh_host_{kind}_key"
            path.write_text(text.rstrip("\n") + "\n")
            path.chmod(0o600)
            process = subprocess.run(["ssh-keygen", "-y", "-f", str(path)], capture_output=True, text=True, check=False)
            if process.returncode:
                self.log(f"cloud-init: ssh_keys: {kind}_private: {process.stderr.strip()}")
                path.unlink()
                continue
            path.with_name(path.name + ".pub").write_text(f"{process.stdout.strip()} root@{os.uname().nodename}\n")
            imported += 1
        if not imported:
            _call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(SSH / "ssh_host_ed25519_key"))

    def _run_text(self, name: str, text: str) -> int:
        return self._run_whole(name, f"#!/bin/sh\n{text}".encode())

    def _run_whole(self, name: str, content: bytes) -> int:
        script = CLOUD / "instance/scripts" / name
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_bytes(content)
        script.chmod(0o700)
        return self._run([str(script)])

    def _run(self, argv: list[str]) -> int:
        try:
            # Output goes to the console, not to a pipe: children that a script leaves behind must not hold up the boot.
            process = subprocess.run(argv, env=dict(self.environment), cwd="/", stdin=subprocess.DEVNULL, check=False)
        except OSError as error:
            self.log(f"cloud-init: failed to run {argv[-1]}: {error.strerror}")
            return 1
        if process.returncode:
            self.log(f"cloud-init: {argv[-1]} failed: exit code {process.returncode}")
        return process.returncode


def _call(*argv: str) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)


def _runnable(folder: Path) -> list[Path]:
    """Return the programs of a folder in the order of their names, as run-parts(8) does."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and os.access(path, os.X_OK))


def _write_environment(variables: Mapping[str, str]) -> None:
    """Write the variables that PAM sets for every session."""
    lines = [f'{name}="{value}"\n' for name, value in sorted({"PATH": SEARCH_PATH, **variables}.items())]
    Path("/etc/environment").write_text("".join(lines))


def _configure_sshd(port: int) -> None:
    keys = "".join(f"HostKey {path}\n" for path in sorted(SSH.glob("ssh_host_*_key")))
    text = f"Port {port}\nPasswordAuthentication no\nPermitRootLogin no\nUseDNS no\n{keys}"
    (SSH / "sshd_config.d/50-cloud-init.conf").write_text(text)


def _configure_engine(options: Mapping[str, Any]) -> None:
    """Write settings for a Docker engine on this host, unless the user has written other ones.

    Containers are put into the host's own cgroup, so that they are frozen and removed with it.
    """
    file = Path("/etc/docker/daemon.json")
    cgroup = _cgroup()
    settings = dict(options) if cgroup is None else {**options, "cgroup-parent": f"{cgroup.rstrip('/')}/engine"}
    text = json.dumps(settings, indent=1) + "\n"
    written_before = CLOUD / "instance/engine.json"
    if file.exists() and (not written_before.exists() or file.read_text() != written_before.read_text()):
        return
    for path in (file, written_before):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _cgroup() -> str | None:
    """Return this host's cgroup of version 1; None with version 2, where a host sees only its own."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return path
    return None
