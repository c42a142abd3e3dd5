"""Use cases on runs wherever they run: on hosts, or on a managed service."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from orchestrator.core.errors import UsageError
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
    """Runs of both kinds, by their ids."""

    def __init__(self, hosts: HostRuns, managed: ManagedRuns) -> None:
        self.hosts = hosts
        self.managed = managed

    def follow(self, run_id: str, *, on_line: OnLine, on_hosts: OnHosts) -> RunResult:
        """Pass on a run's output from its beginning as it comes, until it ends.

        :param run_id: its id, or the end of it; the newest when empty.
        :param on_line: called with (host, line).
        :param on_hosts: called before the first line with the names of the hosts whose output follows.
        :raises JobFailed: it ended badly.
        """
        if managed_id := self.managed.find(run_id):
            return self.managed.follow(managed_id, on_line=on_line, on_hosts=on_hosts)
        return self.hosts.follow(run_id, on_line=on_line, on_hosts=on_hosts)

    def cancel(self, run_id: str = "") -> CancelReport:
        """End a run everywhere.

        :param run_id: its id, or the end of it; the newest when empty.
        """
        managed_id = self.managed.find(run_id)
        return self.managed.cancel(managed_id) if managed_id else self.hosts.cancel(run_id)

    def fetch(self, run_id: str = "") -> RunRecord:
        """Fetch a run's outputs and logs to ``runs/<id>/`` and complete its record.

        :param run_id: its id, or the end of it; the newest when empty.
        """
        managed_id = self.managed.find(run_id)
        return self.managed.fetch(managed_id) if managed_id else self.hosts.fetch(run_id)

    def logs(self, run_id: str = "", *, host: str = "", follow: bool = False) -> Iterator[tuple[str, str]]:
        """Yield (host, line) of a run's logs.

        :param run_id: its id, or the end of it; the newest when empty.
        :param host: only this host's.
        :param follow: until the run ends; otherwise the present content only.
        """
        if managed_id := self.managed.find(run_id):
            return self.managed.logs(managed_id, host=host, follow=follow)
        return self.hosts.logs(run_id, host=host, follow=follow)

    def runs(self) -> list[RunSummary]:
        """Return the runs that hosts and the managed service report, oldest first."""
        managed = self.managed.runs()
        try:
            own = self.hosts.runs()
        except UsageError:
            # No VM is up: that is no mistake of a user whose runs need none.
            if not managed:
                raise
            own = []
        return sorted([*own, *managed], key=lambda run: run.run_id)
