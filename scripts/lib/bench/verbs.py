"""Wall and client CPU seconds, SSH commands and API calls of each step from launch to fetch, by number of hosts.

    scripts/bench verbs [--hosts 1,8,32] [--pending 1.0] [--boot 0.5] [--json FILE] [--profile STEP]

Hosts are real SSH servers of the embedded cloud. The client runs all steps in this process, as a shell does; its CPU
time does not contain the cloud's, which is in a column of its own: that of all hosts and of EC2, on Linux. SSH commands
are counted per host: sessions opened, and commands started on them. The step "to first line" is part of "start" and
"follow": from the call to the first line of the job on the last host.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import resource
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from localcloud.core.process_tree import descendants  # noqa: E402 - the path is set above
from orchestrator.cluster.context import Runtime  # noqa: E402
from orchestrator.config import settings  # noqa: E402
from orchestrator.config.settings import SshSettings  # noqa: E402
from orchestrator.core.clock import REAL_CLOCK, Clock  # noqa: E402
from orchestrator.core.host import Host  # noqa: E402
from orchestrator.session import Session  # noqa: E402
from orchestrator.ssh import SshClient  # noqa: E402

CONFIG = """
[cluster]
name = verbs
[aws]
region = us-west-2
endpoint_url = ${AWS_ENDPOINT_URL}
ssh_from = 127.0.0.1/32
[ssh]
port = ${REHEARSAL_SSH_PORT}
[job]
run = job
"""
JOB = f"""
[job]
python = {sys.executable}
system_packages = yes
multi = mkdir outputs && head -c 10000 /dev/urandom > outputs/bytes && echo first
"""


class CountingClient(SshClient):
    """SSH client that counts the commands it starts.

    :ivar commands: number of commands, by host.
    """

    def __init__(self, ssh: SshSettings, clock: Clock) -> None:
        super().__init__(clock, connect_timeout_s=ssh.connect_timeout)
        self.commands: Counter[str] = Counter()
        self._lock = threading.Lock()

    def _start_command(self, host: Host, *args: Any, **options: Any) -> Any:
        with self._lock:
            self.commands[host.name] += 1
        return super()._start_command(host, *args, **options)


@dataclass(frozen=True)
class Step:
    """One measured step.

    :param wall_s: seconds until it returned.
    :param cpu_s: CPU seconds of the client.
    :param cloud_cpu_s: CPU seconds of the hosts and of EC2 together; 0 where that is not known.
    :param ssh: commands started over SSH, per host.
    :param api: API calls, in all.
    """

    name: str
    hosts: int
    wall_s: float
    cpu_s: float
    cloud_cpu_s: float
    ssh: float
    api: int


class Meter:
    """Measures steps of one session.

    :ivar steps: measured so far.
    """

    def __init__(self, hosts: int, profiled: str) -> None:
        self.hosts, self.profiled = hosts, profiled
        self.steps: list[Step] = []
        self.api_calls = 0
        self._lock = threading.Lock()
        self.client: CountingClient | None = None
        self.cloud_pid = 0

    def connect(self, ssh: SshSettings, clock: Clock) -> SshClient:
        """Return the SSH client of the session."""
        self.client = CountingClient(ssh, clock)
        return self.client

    def count_call(self, **_: object) -> None:
        """Count one API call."""
        with self._lock:
            self.api_calls += 1

    def _commands(self) -> int:
        return sum(self.client.commands.values()) if self.client else 0

    def step(self, name: str, work: Callable[[], Any]) -> Any:
        """Do one step and keep its figures."""
        calls, commands = self.api_calls, self._commands()
        wall, cpu, cloud = time.monotonic(), cpu_s(), family_cpu_s(self.cloud_pid)
        result = profiled(work) if name == self.profiled else work()
        wall, cpu, cloud = time.monotonic() - wall, cpu_s() - cpu, family_cpu_s(self.cloud_pid) - cloud
        ssh = (self._commands() - commands) / self.hosts
        self.steps.append(Step(name, self.hosts, wall, cpu, cloud, ssh, self.api_calls - calls))
        return result

    def run_job(self, session: Session) -> str:
        """Start a run on all hosts, follow it, and return its id."""
        seen = set[str]()
        last = [0.0, 0.0]

        def on_line(host: str, _: str) -> None:
            if host not in seen:
                seen.add(host)
                last[:] = time.monotonic(), cpu_s()

        run = self.step("start", lambda: session.jobs.start(multi=True, follow=True))
        start, began = self.steps[-1], (time.monotonic(), cpu_s())
        self.step("follow", lambda: session.jobs.follow(run.run_id, on_line=on_line))
        follow = self.steps[-1]
        # Without what it takes to read the figures themselves, of a thousand processes, between the two.
        wall_s = start.wall_s + min(last[0] - began[0], follow.wall_s)
        own_s, cloud_s = start.cpu_s + min(last[1] - began[1], follow.cpu_s), start.cloud_cpu_s + follow.cloud_cpu_s
        self.steps.append(Step("to first line", self.hosts, wall_s, own_s, cloud_s, start.ssh, start.api))
        return str(run.run_id)


def profiled(work: Callable[[], Any]) -> Any:
    """Do work under a profiler that sees every thread, and print where its time went."""
    profiles: list[cProfile.Profile] = []

    def enable(*_: object) -> None:
        sys.setprofile(None)
        profile = cProfile.Profile(time.thread_time)
        profiles.append(profile)
        profile.enable()

    threading.setprofile(enable)
    enable()
    try:
        return work()
    finally:
        threading.setprofile(None)  # type: ignore[arg-type]
        profiles[0].disable()
        stats = pstats.Stats(profiles[0])
        for profile in profiles[1:]:
            stats.add(profile)
        stats.sort_stats("tottime").print_stats(45)
        stats.sort_stats("cumtime").print_stats(70)


def cpu_s() -> float:
    """Return the CPU seconds of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def family_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process, of its descendants, and of those of them that have ended; 0 if unknown."""
    ticks = 0
    for process in [pid, *descendants(pid)] if pid else ():
        # A process may end while this is read.
        with suppress(OSError):
            # The name, in parentheses, may contain anything.
            fields = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def session_with_cloud(meter: Meter, scratch: Path, options: argparse.Namespace) -> Iterator[Session]:
    """Start an embedded cloud; yield a session with it."""
    import localcloud

    (scratch / "job").mkdir()
    (scratch / "config.ini").write_text(CONFIG)
    (scratch / "job/job.ini").write_text(JOB)
    env = dict(os.environ) | localcloud.up(scratch / "cloud", pending=options.pending, boot=options.boot)
    os.environ.update(env)
    os.chdir(scratch)
    meter.cloud_pid = json.loads((scratch / "cloud/cloud.json").read_text())["pid"]
    try:
        config = settings.load(scratch / "config.ini", env)
        runtime = Runtime(REAL_CLOCK, connect=meter.connect)
        with Session(config, home=scratch / "home", runs=scratch / "runs", runtime=runtime) as session:
            session.context.clients.session.events.register("before-send", meter.count_call)
            yield session
    finally:
        os.chdir(ROOT)
        localcloud.down(scratch / "cloud")


def measure(hosts: int, options: argparse.Namespace) -> list[Step]:
    """Return the figures of all steps with this many hosts."""
    meter = Meter(hosts, options.profile)
    with tempfile.TemporaryDirectory() as scratch, session_with_cloud(meter, Path(scratch), options) as session:
        plan = meter.step("plan", lambda: session.cluster.plan(hosts))
        try:
            launched = meter.step("launch", lambda: session.cluster.launch(plan))
            assert not launched.failed, launched.failed
            meter.step("install", session.jobs.install)
            meter.step("install again", session.jobs.install)
            true = lambda: session.hosts.run_command("true")  # noqa: E731 - the same twice
            meter.step("command", true)
            meter.step("command again", true)
            run_id = meter.run_job(session)
            record = meter.step("fetch", lambda: session.jobs.fetch(run_id))
            assert len(record.outputs) == hosts, record.outputs
            meter.step("status", session.cluster.status)
        finally:
            ended = meter.step("terminate", session.cluster.terminate)
        assert not ended.remaining, ended.remaining
    return meter.steps


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", default="1,8,32", help="numbers of hosts, comma-separated")
    parser.add_argument("--pending", type=float, default=1.0, help="seconds that an instance is pending")
    parser.add_argument("--boot", type=float, default=0.5, help="seconds from running to SSH")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--profile", default="", help="step to profile")
    options = parser.parse_args()
    steps = [step for hosts in options.hosts.split(",") for step in measure(int(hosts), options)]
    columns = f"{'CPU s':>8} {'ms/host':>8} {'cloud ms/host':>14} {'SSH/host':>8} {'API':>5}"
    print(f"{'step':15} {'hosts':>5} {'wall s':>8} {columns}")
    for step in steps:
        per_host = step.cpu_s * 1000 / step.hosts
        cloud = f"{step.cloud_cpu_s * 1000 / step.hosts:14.1f}"
        figures = f"{step.wall_s:8.2f} {step.cpu_s:8.2f} {per_host:8.1f} {cloud} {step.ssh:8.1f} {step.api:5}"
        print(f"{step.name:15} {step.hosts:5} {figures}")
    if options.json:
        options.json.write_text(json.dumps([asdict(step) for step in steps], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
