"""Runs on a managed service, as the verbs on runs need them: handed to the service of jobs, which knows no cloud."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from orchestrator.jobs.record import RunRecord
from orchestrator.jobs.runner import CancelReport
from orchestrator.jobs.runs import RunResult, RunSummary


class ManagedRuns(Protocol):
    """Runs of jobs on a managed service."""

    def find(self, run_id: str) -> str:
        """Return the id of a run of this service; empty if it has none of that id.

        Makes no call to the service unless this computer, or the settings, use it.

        :param run_id: its id, or the end of it; empty for the newest run, whose id is returned if it is one of these.
        """
        ...

    def follow(
        self, run_id: str, *, on_line: Callable[[str, str], None], on_hosts: Callable[[Sequence[str]], None]
    ) -> RunResult:
        """Pass on a run's output until it ends.

        :raises JobFailed: it ended badly.
        """
        ...

    def cancel(self, run_id: str) -> CancelReport:
        """End a run, and wait for it."""
        ...

    def fetch(self, run_id: str) -> RunRecord:
        """Fetch a run's results and complete its record."""
        ...

    def logs(self, run_id: str, *, host: str, follow: bool) -> Iterator[tuple[str, str]]:
        """Yield (host, line) of a run's output."""
        ...

    def runs(self) -> list[RunSummary]:
        """Return the runs of this service, oldest first."""
        ...
