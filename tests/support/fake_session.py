"""A session on paper: machines are names in a file, jobs are lines. For tests of shell and command line only.

It keeps the promises of :class:`orchestrator.session.Session` and refuses what it was not told about. Run as a
program it is ``stratus`` with such a session:  python -m tests.support.fake_session VERB...

``PAPER`` in the environment makes a day bad:
``job-fails``, ``slow-job``, ``host-fails``, ``left``, ``bug``, ``umlauts``.
"""

# ruff: noqa: ARG002 - what a promise takes, paper need not use.
from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from orchestrator.aws.ec2.state_changes import InstanceResult
from orchestrator.cluster.launcher import LaunchReport
from orchestrator.cluster.readiness import HostStartup
from orchestrator.cluster.status import ClusterStatus, InstanceStatus
from orchestrator.cluster.terminate import TerminateReport
from orchestrator.core.errors import ConnectError, JobFailed, UsageError
from orchestrator.core.events import Event, EventHandler, ignore_event
from orchestrator.hosts.commands import CommandOutput, CommandReport
from orchestrator.hosts.tunnels import Dashboard
from orchestrator.hosts.usage import Gpu, GpuProcess, HostProcess, HostUsage, UsageReport
from orchestrator.install.installer import HostInstall, InstallReport, StepResult
from orchestrator.interface.cli import invocation
from orchestrator.interface.cli import main as cli_main
from orchestrator.jobs.kill import HostKill, KillReport
from orchestrator.jobs.record import RunRecord
from orchestrator.jobs.runner import CancelReport
from orchestrator.jobs.runs import RunHandle, RunResult, RunSummary
from orchestrator.services.account import Cost

PRICE = Decimal("0.365")
RUN = "20261120-1412-k3"
BEGAN = datetime(2026, 11, 20, 14, 12, tzinfo=UTC)


class PaperSession:
    """Everything that :class:`orchestrator.session.Session` promises, without a cloud."""

    def __init__(self, settings: Any, *, home: Path, runs: Path, tell: EventHandler = ignore_event) -> None:
        self.settings = settings
        self.runs_folder = runs
        self.tell = tell
        self.paper = home / "paper.json"
        self.bad = os.environ.get("PAPER", "").split()
        # One object plays all services: their use cases have different names, but for `start`.
        self.cluster = self.jobs = self.hosts = self.account = self

    @property
    def names(self) -> dict[str, str]:
        return json.loads(self.paper.read_text()) if self.paper.exists() else {}

    @names.setter
    def names(self, found: dict[str, str]) -> None:
        self.paper.parent.mkdir(parents=True, exist_ok=True)
        self.paper.write_text(json.dumps(found))

    def close(self) -> None:
        """Nothing is open."""

    def status(self) -> ClusterStatus:
        if "bug" in self.bad:
            raise KeyError("nobody foresaw this")
        now = datetime.now(UTC)
        machines = tuple(
            InstanceStatus(
                name,
                f"i-{name}",
                "c7i.2xlarge",
                state,
                "us-west-2b",
                f"10.0.3.{number}",
                now - timedelta(hours=1),
                now + timedelta(hours=7),
                PRICE,
                Decimal("0.008"),
                stopped_at=now - timedelta(hours=74) if state == "stopped" else None,
            )
            for number, (name, state) in enumerate(self.names.items())
        )
        return ClusterStatus(self.settings.cluster.name, "us-west-2", "me", machines, now)

    def host_names(self) -> list[str]:
        return list(self.names)

    def plan(self, count: int | None = None) -> Any:
        number = count or self.settings.cluster.count
        return SimpleNamespace(
            count=number,
            instance_type="c7i.2xlarge",
            vcpus=8,
            memory_gib=16,
            gpus=0,
            region="us-west-2",
            disk=SimpleNamespace(type="gp3", size=75, encrypted=True),
            max_hours=8.0,
            hours=8.0,
            capped=False,
            max_dollars=0.0,
            sources=(),
            limit=None,
            notes=(),
            price=None,
            market="on-demand",
            place=SimpleNamespace(zones=("us-west-2a", "us-west-2b")),
            price_per_hour=Decimal("0.357"),
            disk_per_hour=Decimal("0.008"),
            per_hour=PRICE * number,
            at_most=PRICE * number * 8,
        )

    def launch(self, plan: Any) -> LaunchReport:
        names = [f"ml-{number}" for number in range(plan.count)]
        for name in names:
            self.tell(Event(name, "pending", "done", 2.1))
        self.names = self.names | dict.fromkeys(names, "running")
        failed: dict[str, Exception] = {}
        if "host-fails" in self.bad:
            failed[names.pop()] = ConnectError("dropped", "ssh: no answer for 30 s", where="ml-1")
        return LaunchReport(
            "l-1", 0.3, tuple(HostStartup(name, "us-west-2b", 2.1, 1.4, 0.2) for name in names), failed, 3.9
        )

    def install(self, names: Sequence[str] = ()) -> InstallReport:
        self._up()
        steps = (StepResult("python", "done", 0.3), StepResult("requirements", "unchanged", 0.0))
        return InstallReport(tuple(HostInstall(name, steps, 0.4) for name in names or self.names), {}, 0.5)

    def start(self, *, multi: bool | None = None, job: Path | None = None, names: Sequence[str] = ()) -> RunHandle:
        if multi is None:  # of instances, not of a run
            return self._start_instances()  # type: ignore[return-value]
        self._up()
        if job is not None and not job.exists():
            raise UsageError("no such job", where=str(job))
        roles: dict[str, tuple[str, ...]] = dict.fromkeys(self.names, ("worker",)) if multi else {}
        roles["ml-0"] = ("scheduler", "worker", "main") if multi else ("main",)
        return RunHandle(RUN, "cloud_retrieval", multi, roles, multi, self.runs_folder / RUN)

    def follow(self, run: str, *, on_line: Callable[[str, str], None]) -> RunResult:
        self._known(run)
        steps = 200 if "slow-job" in self.bad else 3
        for number in range(1, steps + 1):
            on_line("ml-0", f"scene {number}/{steps}")
            time.sleep(0.05 if steps > 3 else 0)
        if "umlauts" in self.bad:
            on_line("ml-0", "K\u00f6ln \u2713")
        if "job-fails" in self.bad:
            fix = f"logs: stratus logs {RUN}"
            raise JobFailed("failed (exit 3)", exit_status=3, where="cloud_retrieval on ml-0", tail=["oh"], fix=fix)
        return RunResult(RUN, "cloud_retrieval", 61.3)

    def runs(self) -> list[RunSummary]:
        return [RunSummary(RUN, "cloud_retrieval", True, ("ml-0", "ml-1"), "done", BEGAN, 61.3)]

    def logs(self, run: str = "", *, host: str = "", follow: bool = False) -> Iterator[tuple[str, str]]:
        self._known(run)
        yield from [(name, f"hello from {name}") for name in self.names if host in ("", name)]

    def cancel(self, run: str = "") -> CancelReport:
        self._known(run)
        return CancelReport(RUN, dict.fromkeys(self.names, 0), {})

    def cancel_all(self) -> KillReport:
        self._up()
        stuck = ("process 7 of r1: python train.py",) if "left" in self.bad else ()
        return KillReport(tuple(HostKill(name, (RUN,), len(stuck), stuck) for name in self.names), {})

    def usage(self, names: Sequence[str] = ()) -> UsageReport:
        self._up()
        gpu = Gpu(0, "NVIDIA A10G", 97.0, 1234.0, 23028.0, 61.0, (GpuProcess(42, RUN, 1200.0, "python"),))
        task = HostProcess(42, RUN, 99.5, 1_500_000_000, "python train.py")
        hosts = [
            HostUsage(name, 8, 1.5, 4_000_000_000, 16_000_000_000, (gpu,), (task,)) for name in names or self.names
        ]
        return UsageReport(tuple(hosts), {})

    def run_command(
        self, command: str, *, names: Sequence[str] = (), timeout: float = 600.0, on_line: Callable[[str, str], None]
    ) -> CommandReport:
        self._up()
        for name in names or self.names:
            on_line(name, f"{command} on {name}")
        status = 3 if command == "false" else 0
        return CommandReport(command, tuple(CommandOutput(name, status, (), 0.1) for name in names or self.names), {})

    def fetch(self, run: str = "") -> RunRecord:
        self._known(run)
        return RunRecord(
            RUN,
            "cloud_retrieval",
            self.runs_folder / RUN,
            "done",
            ("ml-0",),
            ("outputs/metrics.json",),
            14_200_000,
            0.3,
            {"cloud_mask_accuracy": 0.9784, "notes": "none"},
            {"launch": 3.9, "api": 0.3, "job": 61.3},
            Decimal("0.02"),
        )

    def terminate(self) -> TerminateReport:
        left = "left" in self.bad
        states = [(name, "running" if left and name == "ml-1" else "terminated") for name in self.names]
        results = tuple(
            InstanceResult(name, f"i-{name}", state, "" if state == "terminated" else "OperationNotPermitted")
            for name, state in states
        )
        self.names = {name: state for name, state in states if state != "terminated"}
        word = "kept: machines are left" if left else "gone" if results else "none"
        return TerminateReport(results, word, word, Decimal("0.02"))

    def stop(self) -> tuple[InstanceResult, ...]:
        self.names = dict.fromkeys(self.names, "stopped")
        return tuple(InstanceResult(name, f"i-{name}", "stopped") for name in self.names)

    def _start_instances(self) -> tuple[InstanceResult, ...]:
        self.names = dict.fromkeys(self.names, "running")
        return tuple(InstanceResult(name, f"i-{name}", "running") for name in self.names)

    def experiment(
        self, *, multi: bool, count: int | None = None, on_line: Callable[[str, str], None]
    ) -> tuple[RunRecord, TerminateReport]:
        self.launch(self.plan(count))
        self.follow(RUN, on_line=on_line)
        return self.fetch(RUN), self.terminate()

    def ssh_command(self, name: str) -> list[str]:
        if name not in self.names:
            raise UsageError(f"{name}: no such host")
        return [sys.executable, "-c", "import sys; print('on', sys.argv[1:])", name]

    def dashboard(self, run: str = "") -> Dashboard:
        return Dashboard("http://192.0.2.1:8787/status", lambda: None)

    def cost(self) -> Cost:
        status = self.status()
        return Cost(status.usd_per_hour, status.spent_usd, Decimal("5.84"), status.expires_at)

    def _up(self) -> None:
        if not self.names:
            raise UsageError("no host is up", fix="LaunchInstances()")

    def _known(self, run: str) -> None:
        if not RUN.endswith(run):
            raise UsageError(f"no run {run!r} here")


def main(argv: Sequence[str] | None = None) -> int:
    """Be ``stratus`` on paper."""
    return cli_main.main(argv, invocation.Setup("stratus", opener=PaperSession))  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(main())
