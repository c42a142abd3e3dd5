"""Load of hosts: their GPUs, cores, memory and processes, across all runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.errors import HostError
from orchestrator.core.host import Host
from orchestrator.hosts import disk_room, parallel
from orchestrator.hosts.commands import marked_lines, script_error
from orchestrator.hosts.disk_room import DiskRoom, FullDisks

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient

QUERY_TIMEOUT_S = 60.0
_KIB = 1024


@dataclass(frozen=True)
class GpuProcess:
    """A process that computes on a GPU.

    :param run_id: run it belongs to; empty for processes outside of runs.
    :param gpu_memory_mib: memory of the GPU; None when the driver does not report it.
    """

    pid: int
    run_id: str
    gpu_memory_mib: float | None
    command: str


@dataclass(frozen=True)
class Gpu:
    """One GPU of a host as nvidia-smi reports it; None where the driver reports no value.

    :param utilization_percent: share of the last sample period (up to 1 s) in which a kernel ran.
    """

    index: int
    name: str
    utilization_percent: float | None
    memory_used_mib: float | None
    memory_total_mib: float | None
    celsius: float | None
    processes: tuple[GpuProcess, ...] = ()


@dataclass(frozen=True)
class HostProcess:
    """A process of a run.

    :param cpu_percent: of one core, averaged over the life of the process.
    """

    pid: int
    run_id: str
    cpu_percent: float
    memory_bytes: int
    command: str


@dataclass(frozen=True)
class HostUsage:
    """Load of one host.

    :param load_average: runnable processes, averaged over the last minute.
    :param memory_used_bytes: memory that is not available to new processes.
    """

    host: str
    cores: int
    load_average: float
    memory_used_bytes: int
    memory_total_bytes: int
    gpus: tuple[Gpu, ...] = ()
    processes: tuple[HostProcess, ...] = ()
    disks: tuple[DiskRoom, ...] = ()


@dataclass(frozen=True)
class UsageReport:
    """Load of all hosts.

    :param failed: name of every host that could not be queried -> error.
    """

    hosts: tuple[HostUsage, ...]
    failed: Mapping[str, Exception]


def query(ssh_client: SshClient, hosts: Sequence[Host], full_disks: FullDisks) -> UsageReport:
    """Return the load of every host, queried at the same time.

    :param full_disks: gets those of the hosts.
    """

    def query_one(host: Host) -> HostUsage:
        result = ssh_client.run(host, remote_scripts.inline_command("gpus.sh"), timeout_s=QUERY_TIMEOUT_S)
        # GPU lines may be missing, as nvidia-smi may be; this one is always printed.
        if not marked_lines(result.stdout, "@@host"):
            raise script_error(result, "it does not report its load")
        usage = parse(host.name, result.stdout)
        full_disks.note(host, usage.disks, is_complete=True)
        return usage

    outcomes = parallel.for_each(hosts, query_one, clock=ssh_client.clock)
    return UsageReport(tuple(outcomes.successful_values()), outcomes.errors)


def parse(host: str, output: str) -> HostUsage:
    """Parse the output of ``gpus.sh``.

    :raises HostError: it is not what the script prints.
    """
    try:
        return _parse(host, output)
    # Too few fields, no numbers, no finite ones.
    except (ValueError, IndexError, OverflowError) as error:
        raise HostError("its load could not be read: the output is damaged", where=host) from error


def _parse(host: str, output: str) -> HostUsage:
    # The last match: a login shell's profile may print anything before.
    cores, load, memory_kib, available_kib = marked_lines(output, "@@host")[-1].split()
    gpu_processes: dict[str, list[GpuProcess]] = {}
    for line in marked_lines(output, "@@app"):
        # The command comes last and is not split: it may contain commas.
        run_id, pid, gpu_uuid, memory_mib, command = (field.strip() for field in line.split(",", 4))
        process = GpuProcess(int(pid), "" if run_id == "-" else run_id, _number(memory_mib), command)
        # Grouped by UUID, which nvidia-smi prints for processes instead of the index.
        gpu_processes.setdefault(gpu_uuid, []).append(process)
    return HostUsage(
        host=host,
        cores=int(cores),
        load_average=_finite(load),
        memory_used_bytes=(int(memory_kib) - int(available_kib)) * _KIB,
        memory_total_bytes=int(memory_kib) * _KIB,
        gpus=tuple(_gpu(line, gpu_processes) for line in marked_lines(output, "@@gpu")),
        processes=tuple(map(_process, marked_lines(output, "@@task"))),
        disks=tuple(filter(None, map(disk_room.parse, marked_lines(output, "@@disk")))),
    )


def _gpu(line: str, processes: Mapping[str, Sequence[GpuProcess]]) -> Gpu:
    index, uuid, name, *numbers = (field.strip() for field in line.split(","))
    utilization, memory_used, memory_total, celsius = map(_number, numbers)
    return Gpu(int(index), name, utilization, memory_used, memory_total, celsius, tuple(processes.get(uuid, ())))


def _process(line: str) -> HostProcess:
    pid, run_id, cpu, memory_kib, command = line.split(None, 4)
    return HostProcess(int(pid), run_id, _finite(cpu), int(memory_kib) * _KIB, command)


def _finite(text: str) -> float:
    number = _number(text)
    if number is None:
        raise ValueError(text)
    return number


def _number(text: str) -> float | None:
    """Return a number of nvidia-smi; None for its ``[N/A]``, ``[Not Supported]`` and the like."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
