"""State of the fake session in fake_session: VMs in a file of its home folder."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.core.errors import UsageError
from orchestrator.core.events import EventHandler
from orchestrator.core.next_step import NextStep

RUN = "20261120-1412-k3"
"""Id of the run that the fake session knows."""


class FakeState:
    """What the services of one session share: the VMs, by name and state, and what goes wrong."""

    def __init__(self, settings: Any, home: Path, runs: Path, on_event: EventHandler) -> None:
        self.settings = settings
        self.runs_folder = runs
        self.on_event = on_event
        self.file = home / "vms.json"
        self.bad = os.environ.get("PAPER", "").split()

    @property
    def vms(self) -> dict[str, str]:
        return json.loads(self.file.read_text()) if self.file.exists() else {}

    @vms.setter
    def vms(self, vms: dict[str, str]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(vms))

    def require_vms(self, names: Sequence[str] = ()) -> Sequence[str]:
        if not self.vms:
            raise UsageError("no VM is up", fix=NextStep("LaunchInstances"))
        if unknown := set(names) - set(self.vms):
            raise UsageError(f"{' '.join(sorted(unknown))}: no such host")
        return names or list(self.vms)

    def require_run(self, run_id: str) -> None:
        if not RUN.endswith(run_id):
            raise UsageError(f"no run {run_id!r} here")
