"""Observe an install: SSH channels opened, and places where no secret may appear."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.config.settings import SshSettings
from orchestrator.core.clock import Clock
from orchestrator.ssh import SshClient
from tests.support.leak_scan import encodings


@dataclass
class ChannelCounter:
    """Records the host of every SSH channel that a session opens."""

    hosts: list[str] = field(default_factory=list)

    def connect(self, ssh: SshSettings, clock: Clock) -> SshClient:
        opened = self.hosts

        class Counting(SshClient):
            def _start_command(self, host: Any, command: str, *args: Any, **options: Any) -> Any:
                opened.append(host.name)
                return super()._start_command(host, command, *args, **options)

        return Counting(clock, connect_timeout_s=ssh.connect_timeout)


class ProcessWatch:
    """Searches arguments and environment of all processes, repeatedly, for a secret."""

    def __init__(self, secret: str) -> None:
        self.secret = secret.encode()
        self.findings: list[str] = []
        self.rounds = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> ProcessWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(30)

    def _look(self) -> None:
        while not self._over.is_set():
            for name in ("cmdline", "environ"):
                for path in Path("/proc").glob(f"[0-9]*/{name}"):
                    try:
                        content = path.read_bytes()
                    except OSError:
                        continue
                    if self.secret in content:
                        self.findings.append(f"{path}: {content[:200]!r}")
            self.rounds += 1


def files_containing(folder: Path, secret: str) -> list[str]:
    """Return the files below a folder that contain a secret, plain or in base64."""
    paths = []
    for path in folder.rglob("*"):
        if path.is_file() and any(form in path.read_bytes() for form in encodings(secret)):
            paths.append(str(path))
    return paths
