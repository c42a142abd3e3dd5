"""Boot of a process host, in the stages of cloud-init."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from localcloud.hosts.process.children import Children, Command, StandardStreams
from localcloud.hosts.spec import HostLayout, HostSpec
from localcloud.hosts.user_data import UserData, WriteFile

_KEY_TYPE = "ed25519"
_KEYS_BEGIN = "-----BEGIN SSH HOST KEY KEYS-----"
_KEYS_END = "-----END SSH HOST KEY KEYS-----"


class Console:
    """Console of a host: its own lines, stamped with the seconds since power-on, and the output of boot scripts."""

    def __init__(self, path: Path) -> None:
        self._start = time.monotonic()
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def log(self, text: str) -> None:
        """Write a stamped line."""
        self.write_line(f"[{time.monotonic() - self._start:12.6f}] {text}")

    def write_line(self, text: str) -> None:
        """Write a line as it is."""
        os.write(self.descriptor, (text + "\n").encode())


@dataclass(frozen=True)
class Boot:
    """One boot.

    :param data: parsed user data.
    :param environment: variables of the scripts.
    """

    spec: HostSpec
    data: UserData
    environment: Mapping[str, str]
    children: Children
    console: Console

    @property
    def layout(self) -> HostLayout:
        """Paths of the host."""
        return HostLayout(self.spec.folder, self.spec.user)

    def claim_stage(self, stage: str) -> bool:
        """Return True the first time this instance gets to ``stage``. A stage that was interrupted is not repeated."""
        marker = self.layout.cloud / "instance/sem" / stage
        marker.parent.mkdir(parents=True, exist_ok=True)
        try:
            # cloud-init's semaphores: they are on the disk, and survive stop and start.
            marker.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    async def run_early(self) -> list[asyncssh.SSHKey]:
        """Run what comes before SSH: host keys, login keys, files, ``bootcmd``.

        :returns: the host keys.
        """
        if self.claim_stage("init"):
            for warning in self.data.warnings:
                self.console.log(f"cloud-init: {warning}")
            self._authorize()
            self._write_files()
            self._make_host_keys()
        keys = self.host_keys()
        self._print_host_keys(keys)
        if (self.spec.folder / "etc/fstab").exists():
            await self._run([str(self.layout.bin / "mount"), "-a"])
        if self.data.bootcmd:
            await self._run_text("bootcmd", self.data.bootcmd)
        return keys

    async def run_final(self) -> bool:
        """Run what comes after SSH is up: per-boot scripts and, at the first boot, ``runcmd`` and the user's scripts.

        :returns: True if every script succeeded.
        """
        folder = self.layout.cloud / "scripts"
        codes = [await self._run([str(script)]) for script in _runnable(folder / "per-boot")]
        if self.claim_stage("final"):
            codes += [await self._run([str(script)]) for script in _runnable(folder / "per-instance")]
            if self.data.runcmd:
                codes.append(await self._run_text("runcmd", self.data.runcmd))
            codes += [await self._run_whole(number, script) for number, script in enumerate(self.data.scripts, start=1)]
        return not any(codes)

    def _authorize(self) -> None:
        file = self.layout.authorized_keys
        keys = [*self.spec.authorized_keys, *self.data.authorized_keys]
        file.write_text("".join(key.strip() + "\n" for key in keys))
        file.chmod(0o600)

    def _write_files(self) -> None:
        for file in self.data.files:
            try:
                _write(self.spec.folder, file)
            except OSError as error:
                self.console.log(f"cloud-init: write_files: /{file.path}: {error.strerror}")

    def _make_host_keys(self) -> None:
        # cloud-init deletes those of the image first (ssh_deletekeys).
        for path in self.layout.host_keys.glob("ssh_host_*"):
            path.unlink()
        imported = {kind: self._import_key(kind, text) for kind, text in self.data.host_keys.items()}
        keys = {kind: key for kind, key in imported.items() if key is not None}
        for kind, key in (keys or {_KEY_TYPE: asyncssh.generate_private_key("ssh-ed25519")}).items():
            key.set_comment(f"root@{self.spec.hostname}")
            path = self.layout.host_keys / f"ssh_host_{kind}_key"
            _write_private(path, key.export_private_key())
            path.with_name(path.name + ".pub").write_bytes(key.export_public_key())

    def _import_key(self, kind: str, text: str) -> asyncssh.SSHKey | None:
        try:
            return asyncssh.import_private_key(text)
        except asyncssh.KeyImportError as error:
            self.console.log(f"cloud-init: ssh_keys: {kind}_private: {error}")
            return None

    def host_keys(self) -> list[asyncssh.SSHKey]:
        """Return the host keys that are on the disk now; invalid ones are skipped."""
        keys = []
        for path in sorted(self.layout.host_keys.glob("ssh_host_*_key")):
            with contextlib.suppress(asyncssh.KeyImportError, OSError):
                keys.append(asyncssh.read_private_key(path))
        return keys

    def _print_host_keys(self, keys: list[asyncssh.SSHKey]) -> None:
        lines = [key.export_public_key().decode().strip() for key in keys]
        self.console.write_line("\n".join([_KEYS_BEGIN, *lines, _KEYS_END]))

    async def _run_text(self, name: str, text: str) -> int:
        script = self.layout.cloud / "instance/scripts" / name
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(f"#!/bin/sh\n{text}")
        return await self._run(["/bin/sh", str(script)])

    async def _run_whole(self, number: int, content: bytes) -> int:
        script = self.layout.cloud / "instance/scripts" / f"part-{number:03}"
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_bytes(content)
        script.chmod(0o700)
        return await self._run([str(script)])

    async def _run(self, argv: list[str]) -> int:
        out = self.console.descriptor
        try:
            child = self.children.spawn(
                Command(argv, self.environment, self.spec.folder), StandardStreams(subprocess.DEVNULL, out, out)
            )
        except OSError as error:
            self.console.log(f"cloud-init: failed to run {argv[-1]}: {error.strerror}")
            return 1
        code = await child.ended
        if code:
            self.console.log(f"cloud-init: {argv[-1]} failed: exit code {code}")
        return code


def _runnable(folder: Path) -> list[Path]:
    """Return the programs of a folder in the order of their names, as run-parts(8) does."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and os.access(path, os.X_OK))


def _write(root: Path, file: WriteFile) -> None:
    path = root / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab" if file.append else "wb") as out:
        out.write(file.content)
    path.chmod(file.mode)


def _write_private(path: Path, content: bytes) -> None:
    # Not overwritten in place: an existing file would keep its mode, and may be a link.
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(content)
