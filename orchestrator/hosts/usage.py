"""What hosts are doing, whichever run it is of: their GPUs, cores and processes; a command on all; an end to it all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.errors import HostError
from orchestrator.core.host import Host
from orchestrator.hosts import parallel

if TYPE_CHECKING:
    from orchestrator.ssh import CommandResult, SshClient

# Every run gets five seconds to end by itself, and its containers as long again; all runs of a host at once.
KILL_S = 90.0
QUERY_TIMEOUT_S = 60.0
_KIB = 1024


@dataclass(frozen=True)
class GpuProcess:
    """A process that computes on a GPU.

    :param run: the run of ours that it belongs to; empty for somebody else's.
    :param memory_mib: of the GPU; None when the driver does not tell.
    """

    pid: int
    run_id: str
    gpu_memory_mib: float | None
    command: str


@dataclass(frozen=True)
class Gpu:
    """One GPU of a host, as nvidia-smi knows it; None where the driver does not tell.

    :param busy: percent of the last moments in which it computed.
    :param memory_used: MiB.
    :param memory: MiB in all.
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
    """A process of one of our runs.

    :param cpu: percent of one core, over its life.
    :param memory: bytes of main memory.
    """

    pid: int
    run_id: str
    cpu_percent: float
    memory_bytes: int
    command: str


@dataclass(frozen=True)
class HostUsage:
    """What one host is doing.

    :param load: processes that ran or wanted to, on average over the last minute.
    :param memory_used: bytes that no new program could have.
    :param memory: bytes in all.
    """

    host: str
    cores: int
    load_average: float
    memory_used_bytes: int
    memory_total_bytes: int
    gpus: tuple[Gpu, ...] = ()
    processes: tuple[HostProcess, ...] = ()


@dataclass(frozen=True)
class UsageReport:
    """What all hosts are doing.

    :param failed: name of every host that could not be asked -> why.
    """

    hosts: tuple[HostUsage, ...]
    failed: Mapping[str, Exception]


def query(ssh_client: SshClient, hosts: Sequence[Host]) -> UsageReport:
    """Ask every host what it is doing."""

    def one(host: Host) -> HostUsage:
        reply = ssh_client.run(host, remote_scripts.inline_command("gpus.sh"), timeout_s=QUERY_TIMEOUT_S)
        if not _told(reply.stdout.splitlines(), "@@host "):
            raise _no_answer(host, reply, "it does not say what it is doing")
        return parse(host.name, reply.stdout)

    outcomes = parallel.for_each(hosts, one)
    return UsageReport(tuple(outcomes.successful_values()), outcomes.errors)


def parse(host: str, output: str) -> HostUsage:
    """Read what ``gpus.sh`` said."""
    lines = output.splitlines()
    cores, load, memory, free = _told(lines, "@@host ")[-1].split()
    of_gpu: dict[str, list[GpuProcess]] = {}
    for line in _told(lines, "@@app "):
        run, pid, gpu, used, command = (word.strip() for word in line.split(",", 4))
        of_gpu.setdefault(gpu, []).append(GpuProcess(int(pid), "" if run == "-" else run, _number(used), command))
    return HostUsage(
        host=host,
        cores=int(cores),
        load_average=float(load),
        memory_used_bytes=(int(memory) - int(free)) * _KIB,
        memory_total_bytes=int(memory) * _KIB,
        gpus=tuple(_gpu(line, of_gpu) for line in _told(lines, "@@gpu ")),
        processes=tuple(map(_task, _told(lines, "@@task "))),
    )


def _gpu(line: str, of_gpu: Mapping[str, Sequence[GpuProcess]]) -> Gpu:
    index, uuid, name, *numbers = (word.strip() for word in line.split(","))
    busy, used, memory, celsius = map(_number, numbers)
    return Gpu(int(index), name, busy, used, memory, celsius, tuple(of_gpu.get(uuid, ())))


def _task(line: str) -> HostProcess:
    pid, run, cpu, kib, command = line.split(None, 4)
    return HostProcess(int(pid), run, float(cpu), int(kib) * _KIB, command)


def _number(word: str) -> float | None:
    """Return a number of nvidia-smi's; what it does not know is ``[N/A]``, ``[Not Supported]`` and the like."""
    try:
        return float(word)
    except ValueError:
        return None


def _told(lines: Iterable[str], mark: str) -> list[str]:
    return [line.removeprefix(mark) for line in lines if line.startswith(mark)]


def _no_answer(host: Host, reply: CommandResult, what: str) -> HostError:
    said = (reply.stderr or reply.stdout).strip().splitlines()
    return HostError(f"{what}: {said[-1] if said else f'exit {reply.exit_status}'}", where=host.name)
