"""What cloud-init does on a host, as far as a rehearsal needs it: users, keys, files, scripts.

The user data was read by whoever made the host; here it comes as plain values
(see ``localcloud.hosts.docker.host_config``).
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
# What a program that runs as root must know of the cloud.
_KEPT = "AWS_* *_PROXY *_proxy PIP_* LANG"


@dataclass(frozen=True)
class Boot:
    """One boot.

    :param orders: what the host is to be.
    :param environment: of the scripts it runs.
    """

    orders: Mapping[str, Any]
    environment: Mapping[str, str]
    began: float

    def say(self, text: str) -> None:
        """Put a stamped line on the console."""
        print(f"[{time.monotonic() - self.began:12.6f}] {text}", flush=True)

    def first(self, stage: str) -> bool:
        """Whether this instance has never done ``stage``; true once. A stage that was cut off is not repeated."""
        marker = CLOUD / "instance/sem" / stage
        marker.parent.mkdir(parents=True, exist_ok=True)
        try:
            marker.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def early(self) -> None:
        """What comes before SSH: login user, host keys, login keys, files, ``bootcmd``."""
        _write_environment(self.orders["environment"])
        if self.first("init"):
            for remark in self.orders["remarks"]:
                self.say(f"cloud-init: {remark}")
            self._add_user()
            self._write_files()
            self._make_host_keys()
        _configure_sshd(self.orders["port"])
        _configure_engine(self.orders["engine"])
        public = [path.read_text().strip() for path in sorted(SSH.glob("ssh_host_*_key.pub"))]
        print("\n".join([_KEYS_BEGIN, *public, _KEYS_END]), flush=True)
        if self.orders["bootcmd"]:
            self._run_text("bootcmd", self.orders["bootcmd"])

    def final(self) -> bool:
        """What comes after SSH is up: scripts of every boot, then, on the first, ``runcmd`` and the user's scripts.

        :returns: whether every script ended well.
        """
        codes = [self._run([str(script)]) for script in _runnable(CLOUD / "scripts/per-boot")]
        if self.first("final"):
            codes += [self._run([str(script)]) for script in _runnable(CLOUD / "scripts/per-instance")]
            if self.orders["runcmd"]:
                codes.append(self._run_text("runcmd", self.orders["runcmd"]))
            for number, script in enumerate(self.orders["scripts"], start=1):
                codes.append(self._run_whole(f"part-{number:03}", base64.b64decode(script)))
        return not any(codes)

    def _add_user(self) -> None:
        user, keys = self.orders["user"], self.orders["authorized_keys"]
        try:
            pwd.getpwnam(user)
        except KeyError:
            groups = ["--groups", "docker"] if "docker:" in Path("/etc/group").read_text() else []
            _call("useradd", "--create-home", "--shell", "/bin/bash", *groups, user)
        rules = Path("/etc/sudoers.d/90-cloud-init-users")
        rules.write_text(f'{user} ALL=(ALL) NOPASSWD:ALL\nDefaults env_keep += "{_KEPT}"\n')
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
        for entry in self.orders["files"]:
            path = Path("/", entry["path"])
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("ab" if entry["append"] else "wb") as out:
                    out.write(base64.b64decode(entry["content"]))
                path.chmod(entry["mode"])
            except OSError as error:
                self.say(f"cloud-init: write_files: {path}: {error.strerror}")

    def _make_host_keys(self) -> None:
        given = 0
        for kind, text in self.orders["host_keys"].items():
            path = SSH / f"ssh_host_{kind}_key"
            path.write_text(text.rstrip("\n") + "\n")
            path.chmod(0o600)
            made = subprocess.run(["ssh-keygen", "-y", "-f", str(path)], capture_output=True, text=True, check=False)
            if made.returncode:
                self.say(f"cloud-init: ssh_keys: {kind}_private: {made.stderr.strip()}")
                path.unlink()
                continue
            path.with_name(path.name + ".pub").write_text(f"{made.stdout.strip()} root@{os.uname().nodename}\n")
            given += 1
        if not given:
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
            # A script that leaves children behind must not hold up the boot: they have the console, not a pipe.
            code = subprocess.run(argv, env=dict(self.environment), cwd="/", stdin=subprocess.DEVNULL, check=False)
        except OSError as error:
            self.say(f"cloud-init: failed to run {argv[-1]}: {error.strerror}")
            return 1
        if code.returncode:
            self.say(f"cloud-init: {argv[-1]} failed: exit code {code.returncode}")
        return code.returncode


def _call(*argv: str) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)


def _runnable(folder: Path) -> list[Path]:
    """The programs of a folder in the order of their names, as run-parts(8)."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and os.access(path, os.X_OK))


def _write_environment(variables: Mapping[str, str]) -> None:
    """PAM gives these to every session."""
    lines = [f'{name}="{value}"\n' for name, value in sorted({"PATH": SEARCH_PATH, **variables}.items())]
    Path("/etc/environment").write_text("".join(lines))


def _configure_sshd(port: int) -> None:
    keys = "".join(f"HostKey {path}\n" for path in sorted(SSH.glob("ssh_host_*_key")))
    text = f"Port {port}\nPasswordAuthentication no\nPermitRootLogin no\nUseDNS no\n{keys}"
    (SSH / "sshd_config.d/50-cloud-init.conf").write_text(text)


def _configure_engine(given: Mapping[str, Any]) -> None:
    """Settings for an engine on this host, now or later; whoever has written some of their own keeps them.

    What an engine starts counts as this host's: it is frozen, and goes, with it.
    """
    file = Path("/etc/docker/daemon.json")
    own = _cgroup()
    settings = dict(given) if own is None else {**given, "cgroup-parent": f"{own.rstrip('/')}/engine"}
    text = json.dumps(settings, indent=1) + "\n"
    mark = CLOUD / "instance/engine.json"
    if file.exists() and (not mark.exists() or file.read_text() != mark.read_text()):
        return
    for path in (file, mark):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _cgroup() -> str | None:
    """The group of this host in version 1 of cgroups; None in version 2, where a host sees its own alone."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return path
    return None
