"""A host that is a folder, with the scripts of the automatic shutdown; run by a real sh."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from orchestrator.aws.launch.time_limits import TimeLimits
from orchestrator.core import remote_scripts


@dataclass(frozen=True)
class TimerHost:
    """A host that is a folder; its ``shutdown`` only records its arguments."""

    root: Path

    @classmethod
    def make(cls, root: Path, limits: TimeLimits) -> TimerHost:
        for file in limits.cloud_init_files:
            path = root / file["path"].lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file["content"])
        (root / "bin").mkdir()
        (root / "home/ubuntu").mkdir(parents=True)
        vm = cls(root)
        vm.program("shutdown", f'echo "$*" >>"{root}/shutdowns"')
        vm.program("hostname", "echo 192.0.2.1")
        # A boot starts the idle watcher with it, which would outlive the test.
        vm.program("setsid", "exit 0")
        return vm

    def program(self, name: str, text: str) -> None:
        """Put a shell script on the host's PATH."""
        path = self.root / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    @property
    def env(self) -> dict[str, str]:
        path = f"{self.root}/bin:{os.environ['PATH']}"
        return {"HOME": str(self.root / "home/ubuntu"), "PATH": path, "STRATUS_MINUTE": "1"}

    def boot(self) -> str:
        """Run the script of every boot, without the idle watcher; return its output."""
        return self.run(["sh", str(self.root / "var/lib/cloud/scripts/per-boot/stratus-expire")])

    def extend(self, *arguments: str) -> str:
        """Set the timer as over SSH; return the script's output."""
        return self.run(["sh", "-c", remote_scripts.inline_command("extend.sh", *arguments)])

    def run(self, argv: list[str]) -> str:
        completed = subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=30)
        assert completed.returncode == 0, completed.stderr
        return completed.stdout.strip()

    def watch(self, used: int = 0, end: int = 0) -> subprocess.Popen[bytes]:
        """Start the idle watcher, with minutes that last a second."""
        return subprocess.Popen(
            ["sh", str(self.root / "var/lib/stratus/idle.sh"), str(used), str(end)],
            env=self.env,
            start_new_session=True,
        )

    @property
    def shutdowns(self) -> list[str]:
        """The arguments of each call of ``shutdown``, except for those that cancel one."""
        return [line for line in self.calls if line != "-c"]

    @property
    def calls(self) -> list[str]:
        """The arguments of each call of ``shutdown``."""
        path = self.root / "shutdowns"
        return path.read_text().splitlines() if path.exists() else []

    def state(self, name: str) -> Path:
        """Return a file of the timer."""
        return self.root / "var/lib/stratus" / name

    def pass_time(self, minutes: float) -> None:
        """Have the end and the last sign of life lie that much earlier."""
        until, seen = self.state("until"), self.state("seen")
        until.write_text(f"{int(until.read_text()) - round(minutes * 60)}\n")
        os.utime(seen, (seen.stat().st_atime, seen.stat().st_mtime - minutes * 60))

    def reboot(self, after_minutes: float) -> str:
        """Boot again after some minutes of use; the reboot itself takes no time."""
        self.pass_time(after_minutes)
        self.state("seen").touch()
        return self.boot()

    def set_used(self, minutes: int) -> None:
        """Set the minutes that count as used."""
        (self.root / "var/lib/stratus/used").write_text(f"{minutes}\n")
