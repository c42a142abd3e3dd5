"""Usage, commands and cancelled processes of hosts as text."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.hosts.commands import CommandOutput, CommandReport
from orchestrator.hosts.disk_room import DiskRoom
from orchestrator.hosts.usage import Gpu, GpuProcess, HostProcess, HostUsage, UsageReport
from orchestrator.jobs.kill import HostKill, KillReport
from tests.support.interface.rendered import rendered


def test_cancelling_everything_shows_what_each_host_had() -> None:
    report = KillReport((HostKill("ml-0", ("r1",), 1, ("process 7 of r1",)), HostKill("ml-1", (), 0, ())), {})

    assert rendered(report) == [
        "  ml-0  1 left  cancelled r1",
        "  ml-1  0 left  no processes were running",
        "  ml-0  process 7 of r1",
        "  1 process left on 2 VMs.",
    ]


def test_usage_shows_runs_and_other_processes_on_gpus() -> None:
    gpu = Gpu(0, "NVIDIA A10G", None, None, 23028.0, None, (GpuProcess(7, "", 100.0, "python mine.py"),))
    host = HostUsage("ml-0", 8, 0.5, 4_000_000_000, 16_000_000_000, (gpu,), (HostProcess(42, "r1", 9, 5, "x" * 99),))
    host = replace(host, disks=(DiskRoom("/", 20, 8_000_000_000), DiskRoom("/data", 93, 1_000_000)))
    idle = HostUsage("ml-1", 8, 0.0, 1_000_000_000, 16_000_000_000, (), ())

    assert rendered(UsageReport((host, idle), {"ml-2": ValueError("no answer")})) == [
        "  ml-0  load 0.5 on 8 cores   4.0 GB of 16.0 GB memory",
        "    GPU 0  NVIDIA A10G        pid 7",
        "    disk  /      20% full  8.0 GB free",
        "    disk  /data  93% full  1.0 MB free  "
        "(delete files there, or raise its size in [volumes] for the next launch)",
        f"    r1     pid 42  9% CPU  5 B  {'x' * 57}...",
        "    other  pid 7                python mine.py",
        "  ml-1  load 0 on 8 cores   1.0 GB of 16.0 GB memory   no GPU",
        "    no run here",
        "  ml-2  failed  no answer",
    ]


def test_a_command_that_failed_shows_how_it_ended() -> None:
    outputs = (CommandOutput("ml-0", 0, (), 0.1), CommandOutput("ml-1", 3, (), 0.1), CommandOutput("ml-2", -9, (), 0.1))

    assert rendered(CommandReport("x", outputs, {})) == ["  ml-1  exit 3", "  ml-2  killed by a signal"]
