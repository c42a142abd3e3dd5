"""Jobs on hosts that no cloud supplied: own machines, reached over real SSH."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest

from orchestrator.config import settings
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.cost import Bill
from orchestrator.core.errors import JobFailed, UsageError
from orchestrator.core.events import ignore_event
from orchestrator.core.host import Host
from orchestrator.services.jobs import JobContext, JobService
from orchestrator.ssh import SshClient
from tests.support.ssh_lab import Lab

JOB = f"""
[job]
python = {sys.executable}
system_packages = yes
single = {{single}}
multi = {{multi}}
"""
WRITE_RANK = 'mkdir outputs && echo "rank $STRATUS_RANK of $STRATUS_SIZE" | tee outputs/rank.txt'
SLEEP_S = f"97.{os.getpid()}"


@dataclass
class OwnMachines:
    """A HostSource that is a list; records which hosts were waited for."""

    machines: Sequence[Host]
    waited_for: list[str] = field(default_factory=list)

    def hosts(self, names: Sequence[str] = ()) -> list[Host]:
        if unknown := set(names) - {host.name for host in self.machines}:
            raise UsageError(f"{', '.join(unknown)}: not up")
        return [host for host in self.machines if not names or host.name in names]

    def ready(self, host: Host) -> Host:
        self.waited_for.append(host.name)
        return host

    def all_ready(self) -> None:
        self.waited_for.append("all")


@dataclass
class InMemoryTimings:
    """Phases before a run."""

    install_s: list[float] = field(default_factory=list)

    def read(self) -> Mapping[str, float]:
        return {"install": sum(self.install_s)}

    def record_install(self, seconds: float) -> None:
        self.install_s.append(seconds)


@dataclass(frozen=True)
class Desktop:
    """A job folder, two machines, and the service for them."""

    job: Path
    source: OwnMachines
    service: JobService


def write_job(folder: Path, *, single: str = "true", multi: str = WRITE_RANK) -> None:
    """Write the job's folder."""
    folder.mkdir(exist_ok=True)
    (folder / "job.ini").write_text(JOB.format(single=single, multi=multi))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Two SSH servers with a home folder each."""
    machines = Lab(tmp_path_factory.mktemp("machines"), hosts=2, first=61)
    yield machines
    machines.stop()


@pytest.fixture
def desktop(lab: Lab, tmp_path: Path) -> Iterator[Desktop]:
    write_job(tmp_path / "job")
    (tmp_path / "config.ini").write_text(f"[job]\nrun = {tmp_path / 'job'}\n")
    with SshClient(REAL_CLOCK) as ssh:
        context = JobContext(
            settings=settings.load(tmp_path / "config.ini", {}),
            ssh=ssh,
            on_event=ignore_event,
            clock=REAL_CLOCK,
            runs_folder=tmp_path / "runs",
            logs_folder=lambda: tmp_path / "logs",
            timings=InMemoryTimings(),
            run_cost=lambda hosts, seconds: Bill(seconds * len(hosts), Decimal(0), Decimal(0)),
            registry_login=lambda options, images: None,
            on_spot_reclaim=lambda names: None,
            environ={},
        )
        source = OwnMachines([lab.host(0), lab.host(1)])
        yield Desktop(tmp_path / "job", source, JobService(source, context))


def test_a_job_is_installed_run_followed_and_fetched(desktop: Desktop) -> None:
    jobs = desktop.service
    installed, again = jobs.install(), jobs.install()
    handle = jobs.start(multi=True)
    lines: list[tuple[str, str]] = []
    result = jobs.follow(handle.run_id, on_line=lambda host, line: lines.append((host, line)))
    record = jobs.fetch(handle.short_id)

    assert (installed.failed, again.failed, again.changed) == ({}, {}, 0)
    assert sorted(desktop.source.waited_for[:2]) == ["ml-0", "ml-1"]
    assert desktop.source.waited_for[2] == "all"
    assert sorted(lines) == [("ml-0", "rank 0 of 2"), ("ml-1", "rank 1 of 2")]
    assert (result.run_id, record.run_id, record.state) == (handle.run_id, handle.run_id, "done")
    assert record.outputs == ("outputs/ml-0/rank.txt", "outputs/ml-1/rank.txt")
    assert record.cost_usd == 0
    assert record.timings.keys() == {"install", "job"}
    assert sorted(jobs.logs(handle.run_id)) == sorted(lines)
    assert [summary.run_id for summary in jobs.runs()][-1] == handle.run_id


def test_a_run_is_cancelled_on_every_host(desktop: Desktop) -> None:
    write_job(desktop.job, multi=f"sleep {SLEEP_S}")
    jobs = desktop.service
    jobs.install()
    handle = jobs.start(multi=True)
    report = jobs.cancel()

    assert (report.run_id, report.left, report.failed) == (handle.run_id, {"ml-0": 0, "ml-1": 0}, {})
    assert subprocess.run(["pgrep", "--full", f"^sleep {SLEEP_S}$"], check=False).returncode == 1
    with pytest.raises(JobFailed, match="was cancelled"):
        jobs.follow(handle.run_id, on_line=lambda host, line: None)


def test_a_job_that_fails_on_one_machine_is_fetched_and_reported(desktop: Desktop) -> None:
    write_job(desktop.job, single="echo out of luck; exit 3")
    jobs = desktop.service
    jobs.install(["ml-1"])
    handle = jobs.start(multi=False, names=["ml-1"])

    with pytest.raises(JobFailed, match=r"failed \(exit 3\)") as caught:
        jobs.follow(handle.run_id, on_line=lambda host, line: None)

    assert (caught.value.exit_status, caught.value.tail) == (3, ("out of luck",))
    assert (handle.folder / "logs/ml-1.main.log").read_text() == "out of luck\n"


def test_jobs_know_neither_aws_nor_a_cluster() -> None:
    program = "import sys, orchestrator.services.jobs, orchestrator.ssh; print('\\n'.join(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert "orchestrator.services.jobs" in modules
    prefixes = ("boto", "orchestrator.aws", "orchestrator.cluster")
    assert [name for name in modules if name.startswith(prefixes)] == []
