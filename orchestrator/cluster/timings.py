"""Durations of a cluster's last launch and of its installs, kept on this computer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.cluster.context import ClusterContext
from orchestrator.cluster.launcher import LaunchReport
from orchestrator.core import json_file

PHASES = ("pending", "boot", "ssh")


@dataclass(frozen=True)
class PhaseTimings:
    """Durations by phase, in ``timings.json`` of the cluster's folder; for the record of a run, and nothing else."""

    context: ClusterContext

    def read(self) -> dict[str, Any]:
        """Return seconds per phase of the last launch, and of all installs since."""
        return json_file.load(self.context.folder, "timings.json")

    def record_launch(self, report: LaunchReport) -> None:
        """Record a launch, each phase with the duration of its slowest host."""
        slowest = {phase: max((host.phases[phase] for host in report.ready), default=0.0) for phase in PHASES}
        self._save({"api": report.api_s, **slowest, "launch": report.seconds})

    def record_install(self, seconds: float) -> None:
        """Add the duration of an install."""
        timings = self.read()
        self._save(timings | {"install": timings.get("install", 0.0) + seconds})

    def _save(self, timings: dict[str, float]) -> None:
        json_file.save(self.context.folder, "timings.json", timings)
