"""Text and JSON documents of what hosts are doing: usage, commands, tunnels, notebooks, cancelled processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from orchestrator.core.next_step import NextStep, Text
from orchestrator.hosts.commands import CommandOutput, CommandReport
from orchestrator.hosts.tunnels import PortTunnel
from orchestrator.hosts.usage import Gpu, GpuProcess, HostProcess, HostUsage, UsageReport
from orchestrator.interface.render import units
from orchestrator.interface.render.registry import Document, Lines, document, lines
from orchestrator.interface.render.styles import failures, line
from orchestrator.interface.render.units import columns
from orchestrator.jobs.kill import HostKill, KillReport
from orchestrator.services.notebooks import NotebookPage, NotebookStop
from orchestrator.services.tensorboard import TensorBoardPage, TensorBoardStop

COMMAND_WIDTH = 60


@lines.register(KillReport)
def _(report: KillReport, _now: datetime) -> Lines:
    table = columns([_killed(host) for host in report.hosts])
    table += [f"  {host.host}  {process}" for host in report.hosts for process in host.stuck]
    left = units.count(sum(host.left for host in report.hosts), "process", "processes")
    return [*table, *failures(report.failed), f"  {left} left on {units.count(len(report.hosts), 'VM')}."]


def _killed(host: HostKill) -> Sequence[str]:
    cancelled = f"cancelled {', '.join(host.runs)}" if host.runs else "no processes were running"
    return [host.host, f"{host.left} left", cancelled]


@lines.register(UsageReport)
def _(report: UsageReport, _now: datetime) -> Lines:
    return [*(text for host in report.hosts for text in _host(host)), *failures(report.failed)]


def _host(host: HostUsage) -> Iterator[Text]:
    memory = f"{units.size(host.memory_used_bytes)} of {units.size(host.memory_total_bytes)} memory"
    gpus = "" if host.gpus else "   no GPU"
    yield f"  {host.host}  load {host.load_average:g} on {units.count(host.cores, 'core')}   {memory}{gpus}"
    yield from columns([_gpu(gpu) for gpu in host.gpus], indent="    ")
    processes = _processes(host)
    yield from columns(processes, indent="    ")
    if not processes:
        yield "    no run here"


def _processes(host: HostUsage) -> list[Sequence[str]]:
    """Return the processes of runs, then those that use a GPU without being part of a run."""
    rows: list[Sequence[str]] = [
        [
            process.run_id,
            f"pid {process.pid}",
            f"{process.cpu_percent:g}% CPU",
            units.size(process.memory_bytes),
            _short(process.command),
        ]
        for process in host.processes
    ]
    # One process may use several GPUs: one row each would look like several processes.
    others = {process.pid: process for gpu in host.gpus for process in gpu.processes if not process.run_id}
    return rows + [["other", f"pid {pid}", "", "", _short(process.command)] for pid, process in others.items()]


def _gpu(gpu: Gpu) -> Sequence[str]:
    busy = "" if gpu.utilization_percent is None else f"{gpu.utilization_percent:g}% busy"
    # nvidia-smi reports [N/A] for what a GPU does not measure.
    known = gpu.memory_used_mib is not None and gpu.memory_total_mib is not None
    memory = f"{gpu.memory_used_mib:g} of {gpu.memory_total_mib:g} MiB" if known else ""
    temperature = "" if gpu.celsius is None else f"{gpu.celsius:g} \N{DEGREE SIGN}C"
    pids = ", ".join(str(process.pid) for process in gpu.processes)
    return [f"GPU {gpu.index}", gpu.name, busy, memory, temperature, f"pid {pids}" if pids else "idle"]


def _short(command: str) -> str:
    return command if len(command) <= COMMAND_WIDTH else f"{command[: COMMAND_WIDTH - 3]}..."


@lines.register(CommandReport)
def _(report: CommandReport, _now: datetime) -> Lines:
    return [*(f"  {host.host}  {_exit(host)}" for host in report.hosts if host.exit_status), *failures(report.failed)]


def _exit(host: CommandOutput) -> str:
    # Negative as in Python's subprocess: the signal's number.
    return "killed by a signal" if host.exit_status < 0 else f"exit {host.exit_status}"


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


@lines.register(PortTunnel)
def _(tunnel: PortTunnel, _now: datetime) -> Lines:
    route = f"{tunnel.address}:{tunnel.port} leads to port {tunnel.remote_port} of {tunnel.host}"
    return [f"  {route}   open until you exit (Ctrl-C for a command)"]


@document.register(PortTunnel)
def _(tunnel: PortTunnel) -> Document:
    return {"host": tunnel.host, "remote_port": tunnel.remote_port, "address": tunnel.address, "port": tunnel.port}


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


@lines.register(NotebookPage)
def _(page: NotebookPage, _now: datetime) -> Lines:
    return [
        f"  JupyterLab on {page.host}: {page.url}   open until you exit (Ctrl-C for a command)",
        line("  It continues on the VM.  ", NextStep("StopJupyter", page.host), "  ends it"),
    ]


@lines.register(NotebookStop)
def _(stop: NotebookStop, _now: datetime) -> Lines:
    return [f"  JupyterLab on {stop.host} {'ended' if stop.ran else 'was not running'}"]


@document.register(NotebookPage)
def _(page: NotebookPage) -> Document:
    return {"host": page.host, "url": page.url}


@document.register(NotebookStop)
def _(stop: NotebookStop) -> Document:
    return {"host": stop.host, "ran": stop.ran}


@lines.register(TensorBoardPage)
def _(page: TensorBoardPage, _now: datetime) -> Lines:
    return [
        f"  TensorBoard of {page.logs} on {page.host}: {page.url}   open until you exit (Ctrl-C for a command)",
        line("  It continues on the VM.  ", NextStep("StopTensorBoard", host=page.host), "  ends it"),
    ]


@lines.register(TensorBoardStop)
def _(stop: TensorBoardStop, _now: datetime) -> Lines:
    return [f"  TensorBoard on {stop.host} {'ended' if stop.count else 'was not running'}"]


@document.register(TensorBoardPage)
def _(page: TensorBoardPage) -> Document:
    return {"host": page.host, "logs": page.logs, "url": page.url}


@document.register(TensorBoardStop)
def _(stop: TensorBoardStop) -> Document:
    return {"host": stop.host, "count": stop.count}
