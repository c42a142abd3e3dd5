"""The verbs on all hosts at once, whichever run they are at; see :mod:`orchestrator.interface.verbs.jobs`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from orchestrator.core.errors import LeftRunning, StratusError, UsageError
from orchestrator.interface.render import hosts
from orchestrator.interface.verbs.base import Work
from orchestrator.interface.verbs.follow import Lines

if TYPE_CHECKING:
    from orchestrator.hosts.commands import CommandReport
    from orchestrator.hosts.usage import UsageReport
    from orchestrator.jobs.kill import KillReport


class HostVerbs(Work):
    """What can be asked of every host, without naming a run."""

    def kill_all(self) -> KillReport:
        """End every run: all processes and containers of all of them, on every VM.

        Also those that nobody follows any more, of shells and computers that are gone. The VMs stay up.

        Example  KillAll()
        Next  RunSingleVMComputing(), or TerminateAll()
        """
        session = self.desk.session()
        with self._at_work("Some may still run.", "KillAll()  again ends the rest"):
            report = session.jobs.cancel_all()
        self._answer(report, hosts.killed(report))
        left = [
            f"{host.host}: {line}" for host in report.hosts if host.left for line in host.stuck or (str(host.left),)
        ]
        left += [f"{name}: nobody knows, {str(error).splitlines()[0]}" for name, error in report.failed.items()]
        if left:
            raise LeftRunning(
                "Not everything ended:", left=left, fix="KillAll() tries again; TerminateAll() ends the VMs"
            )
        return report

    def gpus(self, *names: str) -> UsageReport:
        """Show what each VM is doing: GPUs, cores, memory, and the processes of your runs.

        names  only these hosts (default: all that are up).

        Costs  nothing.
        Example  Gpus()
        """
        report = self.desk.session().hosts.usage(names)
        self._answer(report, hosts.use(report))
        if report.failed:
            raise StratusError(f"{' '.join(report.failed)} did not answer", fix="Status() shows whether they are up")
        return report

    def run_everywhere(self, *command: str, host: str = "", timeout: float = 600.0) -> CommandReport:
        """Run a command on every VM at the same time and show what each says.

        command  one text for the shell, or a program and its arguments.
        host     only this VM.
        timeout  seconds that it may take.

        Costs  nothing beyond the VMs' time.
        Example  Run("nvidia-smi")   or   Run("df -h /", host="ml-1")
        """
        if not command:
            raise UsageError("which command?", fix='Run("nvidia-smi")')
        text = command[0] if len(command) == 1 else shlex.join(command)
        lines = Lines(self.console, named=not host)
        report = self.desk.session().hosts.run_command(
            text, names=(host,) if host else (), timeout_s=timeout, on_line=lines.listener()
        )
        self._answer(report, hosts.command(report))
        bad = [each.host for each in report.hosts if each.exit_status] + list(report.failed)
        if bad:
            raise StratusError(f"{text.splitlines()[0]}: failed on {' '.join(bad)}")
        return report
