"""Use cases on runs wherever they run: on hosts, or on a managed service."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep
from orchestrator.jobs.managed.runs import ManagedRuns
from orchestrator.jobs.record import RunRecord
from orchestrator.jobs.runner import CancelReport
from orchestrator.jobs.runs import RunResult, RunSummary

OnLine = Callable[[str, str], None]
OnHosts = Callable[[Sequence[str]], None]


class HostRuns(Protocol):
    """Runs on hosts."""

    def follow(self, run_id: str, *, on_line: OnLine, on_hosts: OnHosts) -> RunResult:
        """Pass on a run's output until it ends."""
        ...

    def cancel(self, run_id: str = "") -> CancelReport:
        """End every process of a run."""
        ...

    def fetch(self, run_id: str = "") -> RunRecord:
        """Fetch a run's outputs and logs."""
        ...

    def logs(self, run_id: str = "", *, host: str = "", follow: bool = False) -> Iterator[tuple[str, str]]:
        """Yield (host, line) of a run's logs."""
        ...

    def runs(self) -> list[RunSummary]:
        """Return the runs that the hosts report."""
        ...


class RunService:
    """Runs of all kinds, by their ids.

    :param managed: those of services, each of its own kind.
    """

    def __init__(self, hosts: HostRuns, managed: Sequence[ManagedRuns]) -> None:
        self.hosts = hosts
        self.managed = managed

    def _find(self, run_id: str) -> tuple[ManagedRuns, str] | None:
        """Return a service's kind of runs and the id of its run; None if it runs on hosts."""
        for managed in self.managed:
            if full_id := managed.find(run_id):
                return managed, full_id
        return None

    def check_on_vms(self, run_id: str) -> None:
        """Check that a run is not one of a managed service, for what only VMs have.

        :raises UsageError: it is.
        """
        if match := self._find(run_id):
            fix = NextStep("Logs", match[1]) + "  shows its lines, " + NextStep("FetchResults", match[1]) + " its files"
            raise UsageError(f"{match[1]} is a run on SageMaker: this is for runs on VMs", fix=fix)

    def follow(self, run_id: str, *, on_line: OnLine, on_hosts: OnHosts) -> RunResult:
        """Pass on a run's output from its beginning as it comes, until it ends.

        :param run_id: its id, or the end of it; the newest when empty.
        :param on_line: called with (host, line).
        :param on_hosts: called before the first line with the names of the hosts whose output follows.
        :raises JobFailed: it ended badly.
        """
        if match := self._find(run_id):
            managed, full_id = match
            return managed.follow(full_id, on_line=on_line, on_hosts=on_hosts)
        return self.hosts.follow(run_id, on_line=on_line, on_hosts=on_hosts)

    def cancel(self, run_id: str = "") -> CancelReport:
        """End a run everywhere.

        :param run_id: its id, or the end of it; the newest when empty.
        """
        match = self._find(run_id)
        return match[0].cancel(match[1]) if match else self.hosts.cancel(run_id)

    def fetch(self, run_id: str = "") -> RunRecord:
        """Fetch a run's outputs and logs to ``runs/<id>/`` and complete its record.

        :param run_id: its id, or the end of it; the newest when empty.
        """
        match = self._find(run_id)
        return match[0].fetch(match[1]) if match else self.hosts.fetch(run_id)

    def logs(self, run_id: str = "", *, host: str = "", follow: bool = False) -> Iterator[tuple[str, str]]:
        """Yield (host, line) of a run's logs.

        :param run_id: its id, or the end of it; the newest when empty.
        :param host: only this host's.
        :param follow: until the run ends; otherwise the present content only.
        """
        if match := self._find(run_id):
            managed, full_id = match
            return managed.logs(full_id, host=host, follow=follow)
        return self.hosts.logs(run_id, host=host, follow=follow)

    def runs(self) -> list[RunSummary]:
        """Return the runs that hosts and the managed service report, oldest first."""
        managed = [run for kind in self.managed for run in kind.runs()]
        try:
            own = self.hosts.runs()
        except UsageError:
            # No VM is up: that is no mistake of a user whose runs need none.
            if not managed:
                raise
            own = []
        return sorted([*own, *managed], key=lambda run: run.run_id)
