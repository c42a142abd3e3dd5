"""Seconds per host and phase of a run, from the launch of its hosts to the fetched results."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.core import json_file

FILE = "waterfall.json"

PHASES = ("api", "pending", "boot", "ssh", "install", "start", "first line", "job", "fetch")
"""In the order in which a host goes through them.

`api`: the request to EC2; `pending`, `boot`, `ssh`: until the host answers; `install`: all installs of the job;
`start`: upload of the code and start of the run; `first line`: from there to its first line of output; `job`: the rest
of its time; `fetch`: outputs and logs to this computer.
"""


@dataclass(frozen=True)
class HostPhases:
    """One host.

    :param seconds: by phase, in their order; only those that are known.
    """

    host: str
    seconds: Mapping[str, float]

    @property
    def total_s(self) -> float:
        """Seconds of all phases."""
        return sum(self.seconds.values())


@dataclass(frozen=True)
class Waterfall:
    """Seconds of hosts by phase.

    :param run_id: empty for a launch without a run.
    """

    run_id: str
    job: str
    hosts: tuple[HostPhases, ...]

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases that are known of one host at least."""
        return tuple(phase for phase in PHASES if any(phase in host.seconds for host in self.hosts))

    def slowest(self, phase: str) -> HostPhases:
        """Return the host that took longest for a phase."""
        return max(self.hosts, key=lambda host: host.seconds.get(phase, -1.0))


def begin(folder: Path, hosts: Iterable[str], before: Mapping[str, Mapping[str, float]], start_s: float) -> None:
    """Write the phases of the hosts of a run up to its start.

    :param folder: of the run.
    :param before: host -> seconds per phase of launch and installs.
    :param start_s: seconds from the request to the started run.
    """
    seconds = {host: {**before.get(host, {}), "start": start_s} for host in hosts}
    # A full disk: the run stands without them.
    with suppress(OSError):
        json_file.save(folder, FILE, {"hosts": seconds})


def note(folder: Path, phase: str, seconds: Mapping[str, float]) -> None:
    """Add a phase of some hosts; nothing for a run that was started from another computer.

    :param seconds: by host.
    """
    known = _read(json_file.load(folder, FILE).get("hosts"))
    changed = {host: {**phases, phase: seconds[host]} if host in seconds else phases for host, phases in known.items()}
    if changed != known:
        with suppress(OSError):
            json_file.save(folder, FILE, {"hosts": changed})


def of_run(folder: Path, job: str) -> Waterfall:
    """Return the waterfall of a run; without hosts if nothing was recorded.

    :param folder: of the run.
    """
    return _waterfall(folder.name, job, _read(json_file.load(folder, FILE).get("hosts")))


def of_launch(before: Mapping[str, Mapping[str, float]]) -> Waterfall:
    """Return the waterfall of a launch, by host and phase."""
    return _waterfall("", "", before)


def _waterfall(run_id: str, job: str, hosts: Mapping[str, Mapping[str, float]]) -> Waterfall:
    return Waterfall(
        run_id, job, tuple(HostPhases(host, _in_order(phases)) for host, phases in hosts.items() if phases)
    )


def _in_order(phases: Mapping[str, float]) -> dict[str, float]:
    seconds = {phase: phases[phase] for phase in PHASES if phase in phases}
    if "job" in seconds:
        # The job's time contains that until its first line.
        seconds["job"] = max(0.0, seconds["job"] - seconds.get("first line", 0.0))
    return seconds


def _read(hosts: Any) -> dict[str, dict[str, float]]:
    """Return the content of a file, which a user may edit: what is no duration is left out."""
    return {str(host): _durations(phases) for host, phases in hosts.items()} if isinstance(hosts, dict) else {}


def _durations(phases: Any) -> dict[str, float]:
    items = phases.items() if isinstance(phases, dict) else ()
    return {
        str(phase): float(value)
        for phase, value in items
        if isinstance(value, int | float) and math.isfinite(value) and value >= 0
    }
