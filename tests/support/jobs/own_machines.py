"""Jobs on hosts that no cloud supplied: own machines, reached over real SSH, and the service for them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import pytest

from orchestrator.config import settings
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.cost import Bill
from orchestrator.core.errors import UsageError
from orchestrator.core.events import Event
from orchestrator.core.host import Host
from orchestrator.hosts.tunnels import Tunnels
from orchestrator.services.jobs import JobContext, JobService
from orchestrator.ssh import SshClient
from tests.support.ssh.ssh_lab import Lab

MACHINES = 3

JOB = f"""
[job]
python = {sys.executable}
system_packages = yes
framework = {{framework}}
single = {{single}}
multi = {{multi}}
[resources]
wait = 20
min_hosts = {{min_hosts}}
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

    def read(self, job: str) -> Mapping[str, float]:  # noqa: ARG002 - the signature of Timings
        return {"install": sum(self.install_s)}

    def by_host(self, job: str) -> Mapping[str, Mapping[str, float]]:  # noqa: ARG002 - as above
        return {}

    def record_install(self, job: str, seconds: float, by_host: Mapping[str, float]) -> None:  # noqa: ARG002 - as above
        self.install_s.append(seconds)


@dataclass(frozen=True)
class Desktop:
    """A job folder, machines, and the service for them.

    :param events: everything that was reported.
    """

    job: Path
    source: OwnMachines
    service: JobService
    events: list[Event] = field(default_factory=list)

    def with_settings(self, job_options: str) -> JobService:
        """Return the service with more options in the section [job] of the config."""
        config = self.job.parent / "config.ini"
        config.write_text(f"[job]\nrun = {self.job}\n{job_options}")
        return JobService(self.source, replace(self.service.context, settings=settings.load(config, {})))

    def with_machines(self, *numbers: int) -> JobService:
        """Return the service for some of the machines."""
        return JobService(OwnMachines([self.source.machines[number] for number in numbers]), self.service.context)


def write_job(
    folder: Path, *, framework: str = "command", single: str = "true", multi: str = WRITE_RANK, min_hosts: int = 0
) -> None:
    """Write the job's folder."""
    folder.mkdir(exist_ok=True)
    text = JOB.format(framework=framework, single=single, multi=multi, min_hosts=min_hosts)
    (folder / "job.ini").write_text(text)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """SSH servers on this computer, with a home folder each."""
    machines = Lab(tmp_path_factory.mktemp("machines"), hosts=MACHINES, first=61)
    yield machines
    machines.stop()


@pytest.fixture
def desktop(machines: Lab, tmp_path: Path) -> Iterator[Desktop]:
    """The service of a new computer, with a job folder of its own."""
    write_job(tmp_path / "job")
    (tmp_path / "config.ini").write_text(f"[job]\nrun = {tmp_path / 'job'}\n")
    events: list[Event] = []
    with SshClient(REAL_CLOCK) as ssh:
        context = JobContext(
            settings=settings.load(tmp_path / "config.ini", {}),
            ssh=ssh,
            on_event=events.append,
            clock=REAL_CLOCK,
            runs_folder=tmp_path / "runs",
            logs_folder=lambda: tmp_path / "logs",
            timings=InMemoryTimings(),
            run_cost=lambda hosts, seconds: Bill(seconds * len(hosts), Decimal(0), Decimal(0)),
            registry_login=lambda options, images: None,
            on_spot_reclaim=lambda names: None,
            environ={},
            tunnels=Tunnels(ssh, lambda: tmp_path / "tunnels"),
        )
        source = OwnMachines([machines.host(number) for number in range(MACHINES)])
        yield Desktop(tmp_path / "job", source, JobService(source, context), events)


def is_sleeping() -> bool:
    """True if a command of this process's jobs sleeps on any machine."""
    return subprocess.run(["pgrep", "--full", f"^sleep {SLEEP_S}$"], check=False, capture_output=True).returncode == 0
