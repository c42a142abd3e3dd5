"""The record of a run on this computer: everything that is needed to run it again, and what came of it.

A run can be followed, fetched and cancelled without it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from orchestrator.config.settings import Settings, to_rows
from orchestrator.core import cost, json_file
from orchestrator.core.cost import Bill
from orchestrator.core.version import __version__
from orchestrator.jobs import results
from orchestrator.jobs.build import JobPlan


def start_record(folder: Path, plan: JobPlan, settings: Settings, timings: Mapping[str, float]) -> None:
    """Begin a run's record with everything that is needed to run it again.

    :param folder: of the run.
    :param timings: seconds per phase before the run: of the launch, of the install.
    """
    facts = {
        "run": plan.run_id,
        "job": plan.spec.name,
        "multi": plan.multi,
        "hosts": list(plan.hosts),
        "settings": {f"{section}.{option}": value for section, option, value, _ in to_rows(settings)},
        "commands": {f"{task.host} {task.role}": task.command for task in plan.tasks},
        "image": plan.spec.options.image if plan.spec.runtime == "docker" else "",
        "timings": dict(timings),
        "started": datetime.now(UTC),
        "stratus": __version__,
    }
    json_file.save(folder, "record.json", facts)


def complete_record(record: RunRecord, facts: Mapping[str, Any]) -> None:
    """Complete a run's record with what was fetched.

    :param facts: what was known of it before.
    """
    more = {
        "run": record.run_id,
        "job": record.job,
        "hosts": list(record.hosts),
        "state": record.state,
        "outputs": list(record.outputs),
        "timings": dict(record.timings),
        "cost_usd": record.cost_usd,
        "bill": cost.to_record(record.bill) if record.bill else None,
        "versions": results.read_versions(record.folder),
        "image_digests": list(results.read_image_digests(record.folder)),
        "fetched": datetime.now(UTC),
    }
    json_file.save(record.folder, "record.json", {**facts, **more})


@dataclass(frozen=True)
class RunRecord:
    """A fetched run.

    :param folder: where it lies.
    :param state: done, failed, cancelled, lost, or running (then the outputs are what there was).
    :param outputs: files that came, relative to ``folder``.
    :param bytes: their size as transferred.
    :param metrics: the content of the job's ``metrics.json``, empty without one.
    :param timings: seconds per phase: api, pending, boot, ssh, install, job (what is known of them).
    :param cost: USD for the job's own time on its hosts; None when a price is unknown.
    :param failed: host -> why nothing came from it.
    :param bill: what ``cost`` is made of.
    """

    run_id: str
    job: str
    folder: Path
    state: str
    hosts: tuple[str, ...]
    outputs: tuple[str, ...]
    received_bytes: int
    seconds: float
    metrics: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    cost_usd: Decimal | None = None
    failed: Mapping[str, Exception] = field(default_factory=dict)
    bill: Bill | None = None


def copy_install_logs(log_folder: Path, folder: Path, hosts: Sequence[str]) -> None:
    """Copy the install logs of these hosts into a run's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for host in hosts:
        log = log_folder / f"{host}.install.log"
        if log.exists():
            shutil.copyfile(log, folder / log.name)
