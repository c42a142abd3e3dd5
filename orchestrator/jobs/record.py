"""What is written down on this computer: how long a cluster's phases took, and the record of every run.

A run can be followed, fetched and ended without any of it; it makes the record complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator import __version__
from orchestrator.cluster.status import LaunchReport
from orchestrator.config.settings import Settings, to_rows
from orchestrator.core import cost
from orchestrator.jobs import results
from orchestrator.jobs.build import Job
from orchestrator.jobs.results import RunRecord

PHASES = ("pending", "boot", "ssh")


@dataclass(frozen=True)
class Notes:
    """The notes on one cluster.

    :param folder: where they lie.
    """

    folder: Path

    @property
    def logs(self) -> Path:
        """Folder of the hosts' install logs."""
        return self.folder / "logs"

    @property
    def timings(self) -> dict[str, float]:
        """Seconds per phase of the last launch and of all installs since."""
        return results.load(self.folder, "timings.json")

    def launched(self, report: LaunchReport) -> None:
        """Note how long the phases of a launch took, of its slowest host."""
        slowest = {phase: max((getattr(one, phase) for one in report.ready), default=0.0) for phase in PHASES}
        self._note({"api": report.api, **slowest, "launch": report.seconds})

    def installed(self, seconds: float) -> None:
        """Note how long an install took."""
        timings = self.timings
        self._note(timings | {"install": timings.get("install", 0.0) + seconds})

    def _note(self, timings: Mapping[str, float]) -> None:
        results.save(self.folder, "timings.json", timings)

    def begin(self, folder: Path, built: Job, settings: Settings) -> None:
        """Begin a run's record with everything that is needed to run it again.

        :param folder: of the run.
        """
        facts = {
            "run": built.run, "job": built.spec.name, "multi": built.multi, "hosts": list(built.hosts),
            "settings": {f"{section}.{option}": value for section, option, value, _ in to_rows(settings)},
            "commands": {f"{task.host} {task.role}": task.command for task in built.tasks},
            "image": built.spec.table.image if built.spec.runtime == "docker" else "",
            "timings": self.timings, "started": datetime.now(UTC), "stratus": __version__,
        }  # fmt: skip
        results.save(folder, "record.json", facts)
        results.keep_logs(self.logs, folder / "logs", built.hosts)


def complete(record: RunRecord, facts: Mapping[str, Any]) -> None:
    """Complete a run's record with what was fetched.

    :param facts: what was known of it before.
    """
    more = {
        "run": record.run, "job": record.job, "hosts": list(record.hosts), "state": record.state,
        "outputs": list(record.outputs), "timings": dict(record.timings), "cost_usd": record.cost,
        "bill": cost.receipt(record.bill) if record.bill else None,
        "versions": results.versions_of(record.folder),
        "image_digests": list(results.image_of(record.folder)), "fetched": datetime.now(UTC),
    }  # fmt: skip
    results.save(record.folder, "record.json", {**facts, **more})
