"""Durations of a cluster's last launch and of its installs, kept on this computer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator.cluster.context import ClusterContext
from orchestrator.cluster.launcher import LaunchReport
from orchestrator.core import json_file

PHASES = ("pending", "boot", "ssh")
_INSTALLS = "installs"  # job -> seconds


@dataclass(frozen=True)
class PhaseTimings:
    """Durations by phase, in ``timings.json`` of the cluster's folder; for the record of a run, and nothing else."""

    context: ClusterContext

    def read(self, job: str) -> dict[str, float]:
        """Return seconds per phase of the last launch, and of a job's installs since.

        :param job: its name.
        """
        timings = self._load()
        installs = timings.pop(_INSTALLS, {})
        timings.pop("install", None)  # of earlier versions: the sum over all jobs
        return timings | ({"install": installs[job]} if job in installs else {})

    def record_launch(self, report: LaunchReport) -> None:
        """Record a launch, each phase with the duration of its slowest host."""
        slowest = {phase: max((host.phases[phase] for host in report.ready), default=0.0) for phase in PHASES}
        # The report's own duration may include an install that followed on each host.
        startup_s = report.api_s + max((sum(host.phases.values()) for host in report.ready), default=report.seconds)
        self._save({"api": report.api_s, **slowest, "launch": min(report.seconds, startup_s)})

    def record_install(self, job: str, seconds: float) -> None:
        """Add the duration of an install of a job.

        :param job: its name.
        """
        timings = self._load()
        installs = timings.get(_INSTALLS, {})
        self._save(timings | {_INSTALLS: installs | {job: installs.get(job, 0.0) + seconds}})

    def _load(self) -> dict[str, Any]:
        return json_file.load(self.context.folder, "timings.json")

    def _save(self, timings: dict[str, Any]) -> None:
        json_file.save(self.context.folder, "timings.json", timings)
