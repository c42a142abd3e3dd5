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
    from orchestrator.ssh import Links, Reply

# Every run gets five seconds to end by itself, and its containers as long again; all runs of a host at once.
KILL_S = 90.0
LOOK_S = 60.0
_KIB = 1024


@dataclass(frozen=True)
class GpuTask:
    """A process that computes on a GPU.

    :param run: the run of ours that it belongs to; empty for somebody else's.
    :param memory_mib: of the GPU; None when the driver does not tell.
    """

    pid: int
    run: str
    memory_mib: float | None
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
    busy: float | None
    memory_used: float | None
    memory: float | None
    celsius: float | None
    tasks: tuple[GpuTask, ...] = ()


@dataclass(frozen=True)
class HostTask:
    """A process of one of our runs.

    :param cpu: percent of one core, over its life.
    :param memory: bytes of main memory.
    """

    pid: int
    run: str
    cpu: float
    memory: int
    command: str


@dataclass(frozen=True)
class HostUse:
    """What one host is doing.

    :param load: processes that ran or wanted to, on average over the last minute.
    :param memory_used: bytes that no new program could have.
    :param memory: bytes in all.
    """

    host: str
    cores: int
    load: float
    memory_used: int
    memory: int
    gpus: tuple[Gpu, ...] = ()
    tasks: tuple[HostTask, ...] = ()


@dataclass(frozen=True)
class UseReport:
    """What all hosts are doing.

    :param failed: name of every host that could not be asked -> why.
    """

    hosts: tuple[HostUse, ...]
    failed: Mapping[str, Exception]


def look(links: Links, hosts: Sequence[Host]) -> UseReport:
    """Ask every host what it is doing."""

    def one(host: Host) -> HostUse:
        reply = links.run(host, remote_scripts.call("gpus.sh"), timeout=LOOK_S)
        if not _told(reply.stdout.splitlines(), "@@host "):
            raise _no_answer(host, reply, "it does not say what it is doing")
        return use(host.name, reply.stdout)

    outcomes = parallel.each(hosts, one)
    return UseReport(tuple(outcomes.values_in_order()), outcomes.errors)


def use(host: str, said: str) -> HostUse:
    """Read what ``gpus.sh`` said."""
    lines = said.splitlines()
    cores, load, memory, free = _told(lines, "@@host ")[-1].split()
    of_gpu: dict[str, list[GpuTask]] = {}
    for line in _told(lines, "@@app "):
        run, pid, gpu, used, command = (word.strip() for word in line.split(",", 4))
        of_gpu.setdefault(gpu, []).append(GpuTask(int(pid), "" if run == "-" else run, _number(used), command))
    return HostUse(
        host=host,
        cores=int(cores),
        load=float(load),
        memory_used=(int(memory) - int(free)) * _KIB,
        memory=int(memory) * _KIB,
        gpus=tuple(_gpu(line, of_gpu) for line in _told(lines, "@@gpu ")),
        tasks=tuple(map(_task, _told(lines, "@@task "))),
    )


def _gpu(line: str, of_gpu: Mapping[str, Sequence[GpuTask]]) -> Gpu:
    index, uuid, name, *numbers = (word.strip() for word in line.split(","))
    busy, used, memory, celsius = map(_number, numbers)
    return Gpu(int(index), name, busy, used, memory, celsius, tuple(of_gpu.get(uuid, ())))


def _task(line: str) -> HostTask:
    pid, run, cpu, kib, command = line.split(None, 4)
    return HostTask(int(pid), run, float(cpu), int(kib) * _KIB, command)


def _number(word: str) -> float | None:
    """Return a number of nvidia-smi's; what it does not know is ``[N/A]``, ``[Not Supported]`` and the like."""
    try:
        return float(word)
    except ValueError:
        return None


def _told(lines: Iterable[str], mark: str) -> list[str]:
    return [line.removeprefix(mark) for line in lines if line.startswith(mark)]


def _no_answer(host: Host, reply: Reply, what: str) -> HostError:
    said = (reply.stderr or reply.stdout).strip().splitlines()
    return HostError(f"{what}: {said[-1] if said else f'exit {reply.exit_status}'}", where=host.name)
