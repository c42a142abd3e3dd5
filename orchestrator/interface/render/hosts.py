"""Text and JSON documents of what hosts are doing: usage, tunnels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from orchestrator.core.next_step import Text
from orchestrator.hosts.disk_room import DiskRoom, FullDisk
from orchestrator.hosts.tunnels import PortTunnel
from orchestrator.hosts.usage import Gpu, GpuProcess, HostProcess, HostUsage, UsageReport
from orchestrator.interface.render import units
from orchestrator.interface.render.registry import Document, Lines, document, lines
from orchestrator.interface.render.styles import failures
from orchestrator.interface.render.units import columns

COMMAND_WIDTH = 60


@lines.register(UsageReport)
def _(report: UsageReport, _now: datetime) -> Lines:
    return [*(text for host in report.hosts for text in _host(host)), *failures(report.failed)]


def _host(host: HostUsage) -> Iterator[Text]:
    memory = f"{units.size(host.memory_used_bytes)} of {units.size(host.memory_total_bytes)} memory"
    gpus = "" if host.gpus else "   no GPU"
    yield f"  {host.host}  load {host.load_average:g} on {units.count(host.cores, 'core')}   {memory}{gpus}"
    yield from columns([_gpu(gpu) for gpu in host.gpus], indent="    ")
    yield from columns([_disk(room) for room in host.disks], indent="    ")
    processes = _processes(host)
    yield from columns(processes, indent="    ")
    if not processes:
        yield "    no run here"


def _disk(room: DiskRoom) -> Sequence[str]:
    used = f"{room.percent}% full"
    return ["disk", room.mount, used, f"{units.size(room.free_bytes)} free", f"({room.fix})" if room.is_full else ""]


def disk_warnings(full_disks: Sequence[FullDisk], at: datetime) -> Lines:
    """Return a line on each disk that was nearly full when its host last reported it."""
    return [
        f"  {disk.host}: {disk.room.mount} was {disk.room.percent}% full at {units.clock(disk.at, at)}, "
        f"{units.size(disk.room.free_bytes)} free: {disk.room.fix}"
        for disk in full_disks
    ]


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
        "disks": document(host.disks),
    }


@document.register(DiskRoom)
def _room(room: DiskRoom) -> Document:
    return {"mount": room.mount, "percent": room.percent, "free": room.free_bytes}


@document.register(FullDisk)
def _(disk: FullDisk) -> Document:
    return {"host": disk.host, **_room(disk.room), "at": document(disk.at)}


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
    return [f"  {route}"]


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
