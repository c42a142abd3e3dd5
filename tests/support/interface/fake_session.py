"""A fake session: VMs are names in a file, jobs are lines. For tests of shell and command line only.

Its services have the methods of :mod:`orchestrator.services` and refuse what they were not given. Run as a program it
is ``stratus`` with such a session:  python -m tests.support.interface.fake_session VERB...

``PAPER`` in the environment states what goes wrong:
``job-fails``, ``bad-job``, ``bad-ini``, ``no-job``, ``slow-job``, ``host-fails``, ``left``,
``bug``, ``umlauts``, ``foreign``, ``bad-gpu``.
"""

# ruff: noqa: ARG002 - the fakes have the signatures of the services.
from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from orchestrator.aws.ec2.state_changes import InstanceResult
from orchestrator.aws.launch.plan import LaunchPlan
from orchestrator.cluster.elsewhere import OtherCluster
from orchestrator.cluster.inventory import SameRoleOwner
from orchestrator.cluster.launcher import LaunchReport
from orchestrator.cluster.machines.gpus import GpuReport
from orchestrator.cluster.readiness import HostStartup
from orchestrator.cluster.recovery import InterruptedLaunch
from orchestrator.cluster.status import ClusterStatus, InstanceStatus
from orchestrator.cluster.terminate import TerminateReport
from orchestrator.core.cost import exactly
from orchestrator.core.errors import ConfigError, ConnectError, JobFailed, Problem, UsageError
from orchestrator.core.events import Event, EventHandler, ignore_event
from orchestrator.core.host import Host
from orchestrator.core.next_step import NextStep
from orchestrator.hosts.commands import CommandOutput, CommandReport
from orchestrator.hosts.gpu_health import HostGpus
from orchestrator.hosts.transfer import HostTransfer
from orchestrator.hosts.tunnels import Dashboard, OpenTunnel, PortTunnel
from orchestrator.hosts.usage import Gpu, GpuProcess, HostProcess, HostUsage, UsageReport
from orchestrator.install.installer import HostInstall, InstallReport, StepResult
from orchestrator.install.sending import HostTransfers
from orchestrator.interface.cli import invocation, startup
from orchestrator.interface.cli import main as cli_main
from orchestrator.jobs import record
from orchestrator.jobs.kill import HostKill, KillReport
from orchestrator.jobs.record import PastRun, RunRecord
from orchestrator.jobs.records.waterfall import HostPhases, Waterfall
from orchestrator.jobs.runner import CancelReport
from orchestrator.jobs.runs import RunHandle, RunResult, RunSummary
from orchestrator.jobs.scripts.script_job import JobSource
from orchestrator.services.account import Cost
from orchestrator.services.ssh_config import SshConfigReport
from tests.support.interface.example_plan import launch_plan
from tests.support.interface.fake_pages import FakeNotebooks, FakeTensorBoard
from tests.support.interface.fake_state import RUN, FakeState
from tests.support.interface.fake_storage import FakeStorage

PRICE = Decimal("0.365")
FOREIGN_LINES = (
    "model.Run(batch, n=2); Status() of stratus terminate",
    '  ready  failed  $5.84/h  Next: InstallDeps() or Attach("k3")  ' + "x" * 200,
    "  | 50%\r  | 100% \x1b[31mred\x1b[0m\x07",
)
"""Output of a job that looks like the tool's own, and like commands to a terminal."""

BEGAN = datetime(2026, 11, 20, 14, 12, tzinfo=UTC)


class FakeCluster:
    """The cluster service."""

    def __init__(self, state: FakeState) -> None:
        self.state = state

    def status(self) -> ClusterStatus:
        if "bug" in self.state.bad:
            raise KeyError("nobody foresaw this")
        now = datetime.now(UTC)
        instances = tuple(self._instance(number, name, now) for number, name in enumerate(self.state.vms))
        return ClusterStatus(self.state.settings.cluster.name, "us-west-2", "me", instances, now)

    def _instance(self, number: int, name: str, now: datetime) -> InstanceStatus:
        state = self.state.vms[name]
        return InstanceStatus(
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
            spent=exactly(PRICE),
        )

    def plan(self, count: int | None = None, checks: object = None) -> LaunchPlan:
        ready = checks is not None or "no-job" not in self.state.bad
        return launch_plan(count or self.state.settings.cluster.count, is_job_ready=ready)

    def launch(self, plan: LaunchPlan) -> LaunchReport:
        names = list(plan.names)
        for name in names:
            self.state.on_event(Event(name, "pending", "done", 2.1))
        self.state.vms = self.state.vms | dict.fromkeys(names, "running")
        failed: dict[str, Exception] = {}
        if "host-fails" in self.state.bad:
            failed[names.pop()] = ConnectError("dropped", "ssh: no answer for 30 s", where="ml-1")
        ready = tuple(HostStartup(name, "us-west-2b", 2.1, 1.4, 0.2) for name in names)
        return LaunchReport("l-1", 0.3, ready, failed, 3.9)

    def terminate(self, *, everywhere: bool = False, owner: str = "", kept: bool = False) -> TerminateReport:
        left = "left" in self.state.bad
        states = {name: "running" if left and name == "ml-1" else "terminated" for name in self.state.vms}
        results = tuple(
            InstanceResult(name, f"i-{name}", state, "" if state == "terminated" else "OperationNotPermitted")
            for name, state in states.items()
        )
        self.state.vms = {name: state for name, state in states.items() if state != "terminated"}
        outcome = "kept: instances are left" if left else "gone" if results else "none"
        return TerminateReport(results, outcome, outcome, exactly(Decimal("0.02")))

    def stop(self) -> tuple[InstanceResult, ...]:
        return self._change("stopped")

    def start(self) -> tuple[InstanceResult, ...]:
        return self._change("running")

    def _change(self, state: str) -> tuple[InstanceResult, ...]:
        self.state.vms = dict.fromkeys(self.state.vms, state)
        return tuple(InstanceResult(name, f"i-{name}", state) for name in self.state.vms)

    def check_gpus(self, names: Sequence[str] = (), *, all_reduce_s: int = 0) -> GpuReport:
        bad = ("Xid 79",) if "bad-gpu" in self.state.bad else ()
        return GpuReport(tuple(HostGpus(x, "p5.48xlarge", 8, True, (), bad) for x in self.state.require_vms(names)), {})

    def elsewhere(self) -> tuple[OtherCluster, ...]:
        return ()

    def same_role(self) -> tuple[SameRoleOwner, ...]:
        return ()

    def interrupted_launches(self) -> tuple[InterruptedLaunch, ...]:
        return ()


class FakeJobs:
    """The job service."""

    def __init__(self, state: FakeState) -> None:
        self.state = state

    def install(self, names: Sequence[str] = (), *, folder: JobSource | None = None) -> InstallReport:
        self._require_ini()
        steps = (StepResult("python", "done", 0.3), StepResult("requirements", "unchanged", 0.0))
        hosts = tuple(HostInstall(name, steps, 0.4) for name in self.state.require_vms(names))
        return InstallReport(hosts, {}, 0.5, job=str(folder or ""))

    def check(self, *, multi: bool, count: int, folder: JobSource | None = None) -> None:
        if "bad-job" in self.state.bad:
            raise UsageError("job.ini has no command for single", where="job", fix="add single = ...")

    def _require_ini(self) -> None:
        if "bad-ini" in self.state.bad:
            raise ConfigError([Problem("job/job.ini", 2, "data does not exist")], consequence="Nothing was run.")

    def start(
        self,
        *,
        multi: bool,
        folder: JobSource | None = None,
        names: Sequence[str] = (),
        follow: bool = False,
    ) -> RunHandle:
        self._require_ini()
        self.state.require_vms(names)
        if isinstance(folder, Path) and not folder.exists():
            raise UsageError("no such job", where=str(folder))
        roles: dict[str, tuple[str, ...]] = dict.fromkeys(self.state.vms, ("worker",)) if multi else {}
        roles["ml-0"] = ("scheduler", "worker", "main") if multi else ("main",)
        return RunHandle(RUN, "cloud_retrieval", multi, roles, multi, self.state.runs_folder / RUN)

    def follow(
        self, run_id: str, *, on_line: Callable[[str, str], None], on_hosts: Callable[[Sequence[str]], None]
    ) -> RunResult:
        self.state.require_run(run_id)
        on_hosts(("ml-0", "ml-1") if "two-hosts" in self.state.bad else ("ml-0",))
        steps = 200 if "slow-job" in self.state.bad else 3
        for number in range(1, steps + 1):
            # With more than a step and values: a terminal prints such a line.
            on_line("ml-0", f"scene {number}/{steps}" + "  cloudy" * (steps > 3))
            time.sleep(0.05 if steps > 3 else 0)
        foreign = FOREIGN_LINES if "foreign" in self.state.bad else ()
        for line in (*foreign, *(["K\u00f6ln \u2713"] if "umlauts" in self.state.bad else [])):
            on_line("ml-0", line)
        if "job-fails" in self.state.bad:
            fix = "logs: " + NextStep("Logs", RUN)
            tail = ["oh", *foreign]
            raise JobFailed(
                "failed (exit 3)", exit_status=3, where="cloud_retrieval on ml-0", tail=tail, fix=fix, run_id=RUN
            )
        return RunResult(RUN, "cloud_retrieval", 61.3)

    def runs(self) -> list[RunSummary]:
        return [RunSummary(RUN, "cloud_retrieval", True, ("ml-0", "ml-1"), "done", BEGAN, 61.3)]

    def history(self) -> list[PastRun]:
        return record.past_runs(self.state.runs_folder)

    def not_fetched(self, instance_ids: Sequence[str]) -> tuple[str, ...]:
        return tuple(path.name for path in record.not_fetched(self.state.runs_folder, instance_ids))

    def note_stopped(self, instance_ids: Sequence[str]) -> tuple[str, ...]:
        return self.not_fetched(instance_ids)

    def started_in(self, run_ids: Sequence[str]) -> dict[str, str]:
        return {}

    def logs(self, run_id: str = "", *, host: str = "", follow: bool = False) -> Iterator[tuple[str, str]]:
        self.state.require_run(run_id)
        lines = FOREIGN_LINES if "foreign" in self.state.bad else ("hello",)
        return iter([(name, line) for name in self.state.vms if host in ("", name) for line in lines])

    def cancel(self, run_id: str = "") -> CancelReport:
        self.state.require_run(run_id)
        return CancelReport(RUN, dict.fromkeys(self.state.vms, 0), {})

    def cancel_all(self) -> KillReport:
        stuck = ("process 7 of r1: python train.py",) if "left" in self.state.bad else ()
        return KillReport(tuple(HostKill(name, (RUN,), len(stuck), stuck) for name in self.state.require_vms()), {})

    def fetch(self, run_id: str = "") -> RunRecord:
        self.state.require_run(run_id)
        return RunRecord(
            RUN,
            "cloud_retrieval",
            self.state.runs_folder / RUN,
            "done",
            ("ml-0",),
            ("outputs/metrics.json",),
            14_200_000,
            0.3,
            {"cloud_mask_accuracy": 0.9784, "notes": "none"},
            {"launch": 3.9, "api": 0.3, "job": 61.3},
            Decimal("0.02"),
        )

    def dashboard(self, run_id: str = "") -> Dashboard:
        self.state.require_run(run_id)
        return Dashboard("http://192.0.2.1:8787/status", lambda: None)


class FakeHosts:
    """The host service."""

    def __init__(self, state: FakeState) -> None:
        self.state = state

    def usage(self, names: Sequence[str] = ()) -> UsageReport:
        gpu = Gpu(0, "NVIDIA A10G", 97.0, 1234.0, 23028.0, 61.0, (GpuProcess(42, RUN, 1200.0, "python"),))
        process = HostProcess(42, RUN, 99.5, 1_500_000_000, "python train.py")
        hosts = [
            HostUsage(name, 8, 1.5, 4_000_000_000, 16_000_000_000, (gpu,), (process,))
            for name in self.state.require_vms(names)
        ]
        return UsageReport(tuple(hosts), {})

    def run_command(
        self, command: str, *, names: Sequence[str] = (), timeout_s: float = 600.0, on_line: Callable[[str, str], None]
    ) -> CommandReport:
        hosts = self.state.require_vms(names)
        for name in hosts:
            for line in FOREIGN_LINES if "foreign" in self.state.bad else (f"{command} on {name}",):
                on_line(name, line)
        status = 3 if command == "false" else 0
        return CommandReport(command, tuple(CommandOutput(name, status, (), 0.1) for name in hosts), {})

    def send(self, path: Path, names: Sequence[str] = (), remote: str = "") -> HostTransfers:
        hosts = self.state.require_vms(() if list(names) == ["all"] else names)
        hosts = hosts if names else hosts[:1]
        return HostTransfers(str(path), tuple(HostTransfer(host, str(path), remote, 3, 0.1) for host in hosts))

    def receive(self, remote: str, path: Path, name: str = "") -> HostTransfer:
        return HostTransfer(self.state.require_vms([name] if name else ())[0], remote, str(path), 3, 0.1)

    def tunnel(self, name: str, port: int) -> PortTunnel:
        self.state.require_vms([name])
        return PortTunnel(name, port, "192.0.2.1", port, lambda: None)

    def open_tunnels(self) -> tuple[OpenTunnel, ...]:
        return ()

    def ssh_command(self, name: str) -> list[str]:
        self.state.require_vms([name])
        return [sys.executable, "-c", "import sys; print('on', sys.argv[1:])", name]


class FakeSshConfig:
    """The SSH config service."""

    def __init__(self, state: FakeState) -> None:
        self.state = state
        self.is_installed = False

    def write(self) -> SshConfigReport:
        hosts = [Host(name, "10.0.3.7", "10.0.3.7", 22, "ubuntu", Path("key"), "", name) for name in self.state.vms]
        return SshConfigReport(Path("home/ssh/config"), tuple(hosts), Path("config"), self.is_installed)

    def install(self) -> SshConfigReport:
        self.is_installed = True
        return self.write()

    def keep(self) -> None:
        pass


class FakeAccount:
    """The account service."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster

    def cost(self) -> Cost:
        status = self.cluster.status()
        return Cost(status.usd_per_hour, status.spent, Decimal("5.84"), status.expires_at)


class FakeWaterfalls:
    """Where the time went."""

    def waterfall(self, run_id: str = "") -> Waterfall:
        return Waterfall(run_id or RUN, "cloud_retrieval", (HostPhases("ml-0", {"pending": 2.0, "job": 61.0}),))


class FakeRuns(FakeJobs):
    """Runs, all of them on VMs."""

    def check_on_vms(self, run_id: str) -> None:
        self.state.require_run(run_id)


class FakeTuningRuns:
    """No run is a tuning job."""

    def find(self, run_id: str) -> str:
        """Return the id of none."""
        return ""


class FakeSession:
    """A session of these services; opened as :class:`orchestrator.session.Session` is."""

    def __init__(self, settings: Any, *, home: Path, runs: Path, on_event: EventHandler = ignore_event) -> None:
        state = FakeState(settings, home, runs, on_event)
        self.cluster = FakeCluster(state)
        self.jobs = self.runs = FakeRuns(state)
        self.tuning_runs = FakeTuningRuns()
        self.hosts = FakeHosts(state)
        self.notebooks = FakeNotebooks(state)
        self.storage = FakeStorage()
        self.waterfalls = FakeWaterfalls()
        self.tensorboard = FakeTensorBoard(state)
        self.ssh_config = FakeSshConfig(state)
        self.account = FakeAccount(self.cluster)

    def close(self) -> None:
        """Nothing is open."""

    def plan_experiment(self, count: int | None = None, job: JobSource | None = None) -> LaunchPlan:
        # A job of its own is ready, whatever the one in the settings is.
        return self.cluster.plan(count, {} if job else None)

    def experiment(
        self,
        *,
        multi: bool,
        count: int | None = None,
        plan: LaunchPlan | None = None,
        job: JobSource | None = None,
        on_line: Callable[[str, str], None],
        on_start: Callable[[RunHandle], None],
    ) -> tuple[RunRecord, TerminateReport]:
        self.cluster.launch(plan or self.cluster.plan(count))
        handle = self.jobs.start(multi=multi)
        on_start(handle)
        self.jobs.follow(handle.run_id, on_line=on_line, on_hosts=lambda hosts: None)
        return self.jobs.fetch(RUN), self.cluster.terminate()


def main(argv: Sequence[str] | None = None) -> int:
    """Be ``stratus`` with a fake session."""
    return cli_main.main(argv, invocation.Setup("stratus", session_factory=FakeSession))  # type: ignore[arg-type]


if __name__ == "__main__":
    sys.exit(startup.run_program(main))
