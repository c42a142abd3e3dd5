"""What hosts are doing as text; pure, as :mod:`orchestrator.interface.render.cluster` is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from orchestrator.hosts.commands import CommandOutput, CommandReport
from orchestrator.hosts.usage import Gpu, GpuProcess, HostProcess, HostUsage, UsageReport
from orchestrator.interface.render import units
from orchestrator.interface.render.failures import failures
from orchestrator.interface.render.registry import Document, document
from orchestrator.interface.render.units import columns, plain
from orchestrator.jobs.elastic import JoinReport
from orchestrator.jobs.kill import HostKill, KillReport

Lines = list[str]
COMMAND_WIDTH = 60


def killed(report: KillReport) -> Lines:
    """Say of every host what was ended there and what is left."""
    lines = columns([_killed(host) for host in report.hosts])
    lines += [f"  {host.host}  {plain(line)}" for host in report.hosts for line in host.stuck]
    lines += failures(report.failed)
    left = sum(host.left for host in report.hosts)
    return [*lines, f"  {left} left on {units.count(len(report.hosts), 'host')}."]


def joined(report: JoinReport) -> Lines:
    """Say who takes part in a run from now on, and who does not."""
    there = f"  {' '.join(report.joined)} in {report.run_id}" if report.joined else f"  nobody joined {report.run_id}"
    return [*failures(report.failed), there]


def _killed(host: HostKill) -> Sequence[str]:
    ended = f"ended {', '.join(host.runs)}" if host.runs else "nothing ran"
    return [host.host, f"{host.left} left", ended]


def use(report: UsageReport) -> Lines:
    """Show each host's cores and memory, its GPUs, and what runs there."""
    return [*(line for host in report.hosts for line in _host(host)), *failures(report.failed)]


def _host(host: HostUsage) -> Iterator[str]:
    memory = f"{units.size(host.memory_used_bytes)} of {units.size(host.memory_total_bytes)} memory"
    gpus = "" if host.gpus else "   no GPU"
    yield f"  {host.host}  load {host.load_average:g} on {units.count(host.cores, 'core')}   {memory}{gpus}"
    yield from columns([_gpu(gpu) for gpu in host.gpus], indent="    ")
    on_gpus = {task.pid: task for gpu in host.gpus for task in gpu.processes if not task.run_id}
    rows = [
        [
            task.run_id,
            f"pid {task.pid}",
            f"{task.cpu_percent:g}% CPU",
            units.size(task.memory_bytes),
            _short(task.command),
        ]
        for task in host.processes
    ]
    rows += [["not ours", f"pid {pid}", "", "", _short(task.command)] for pid, task in on_gpus.items()]
    yield from columns(rows, indent="    ")
    if not rows:
        yield "    no run here"


def _gpu(gpu: Gpu) -> Sequence[str]:
    busy = "" if gpu.utilization_percent is None else f"{gpu.utilization_percent:g}% busy"
    memory = (
        ""
        if gpu.memory_used_mib is None or gpu.memory_total_mib is None
        else f"{gpu.memory_used_mib:g} of {gpu.memory_total_mib:g} MiB"
    )
    pids = ", ".join(str(task.pid) for task in gpu.processes)
    warm = "" if gpu.celsius is None else f"{gpu.celsius:g} \N{DEGREE SIGN}C"
    return [f"GPU {gpu.index}", plain(gpu.name), busy, memory, warm, f"pid {pids}" if pids else "idle"]


def _short(command: str) -> str:
    command = plain(command)
    return command if len(command) <= COMMAND_WIDTH else f"{command[: COMMAND_WIDTH - 3]}..."


def command(report: CommandReport) -> Lines:
    """Sum up how a command ended on every host; what it said was shown as it came."""
    bad = [host for host in report.hosts if host.exit_status]
    lines = [
        f"  {host.host}  {'killed by a signal' if host.exit_status < 0 else f'exit {host.exit_status}'}" for host in bad
    ]
    return [*lines, *failures(report.failed)]


_SHOWS: dict[str, Callable[..., Lines]] = {
    "KillReport": killed,
    "UsageReport": use,
    "CommandReport": command,
    "JoinReport": joined,
}


def knows(kind: str) -> bool:
    """Tell whether a kind of record is shown here."""
    return kind in _SHOWS


def of(record: object) -> Lines:
    """Return a record as its verb shows it."""
    return _SHOWS[type(record).__name__](record)


@document.register(KillReport)
def _(report: KillReport) -> Document:
    return {
        "hosts": document(report.hosts),
        "failed": document(report.failed),
    }


@document.register(HostKill)
def _(host: HostKill) -> Document:
    return {
        "host": host.host,
        "runs": document(host.runs),
        "left": host.left,
        "stuck": document(host.stuck),
    }


@document.register(UsageReport)
def _(report: UsageReport) -> Document:
    return {
        "hosts": document(report.hosts),
        "failed": document(report.failed),
    }


@document.register(HostUsage)
def _(host: HostUsage) -> Document:
    return {
        "host": host.host,
        "cores": host.cores,
        "load": host.load_average,
        "memory_used": host.memory_used_bytes,
        "memory": host.memory_total_bytes,
        "gpus": document(host.gpus),
        "tasks": document(host.processes),
    }


@document.register(Gpu)
def _(gpu: Gpu) -> Document:
    return {
        "index": gpu.index,
        "name": gpu.name,
        "busy": gpu.utilization_percent,
        "memory_used": gpu.memory_used_mib,
        "memory": gpu.memory_total_mib,
        "celsius": gpu.celsius,
        "tasks": document(gpu.processes),
    }


@document.register(GpuProcess)
def _(process: GpuProcess) -> Document:
    return {
        "pid": process.pid,
        "run": process.run_id,
        "memory_mib": process.gpu_memory_mib,
        "command": process.command,
    }


@document.register(HostProcess)
def _(process: HostProcess) -> Document:
    return {
        "pid": process.pid,
        "run": process.run_id,
        "cpu": process.cpu_percent,
        "memory": process.memory_bytes,
        "command": process.command,
    }


@document.register(CommandReport)
def _(report: CommandReport) -> Document:
    return {
        "command": report.command,
        "hosts": document(report.hosts),
        "failed": document(report.failed),
    }


@document.register(CommandOutput)
def _(result: CommandOutput) -> Document:
    return {
        "host": result.host,
        "status": result.exit_status,
        "lines": document(result.lines),
        "seconds": result.seconds,
    }
