"""Text and JSON documents of the health of GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from orchestrator.cluster.machines.gpus import GpuReport
from orchestrator.core.next_step import Text
from orchestrator.hosts.all_reduce import AllReduce, Link, Reduction
from orchestrator.hosts.gpu_health import GpuState, HostGpus
from orchestrator.interface.render import units
from orchestrator.interface.render.registry import Document, Lines, document, lines
from orchestrator.interface.render.styles import Styled, failures, line
from orchestrator.interface.render.units import columns

MAX_NAMED = 6
MAX_LINKS = 32
"""Connections that are listed; of larger clusters the slow ones only."""


@lines.register(GpuReport)
def _(report: GpuReport, _now: datetime) -> Lines:
    table = columns(map(_row, report.hosts))
    problems = [line("  ", Styled(f"{host.host}: {text}", "bad")) for host in report.hosts for text in host.problems]
    measured = _all_reduce(report.all_reduce) if report.all_reduce else []
    return [*table, *problems, *failures(report.failed), *measured]


def _row(host: HostGpus) -> Sequence[str]:
    if not host.expected and not host.gpus and not host.problems:
        return [host.host, host.type, "no NVIDIA GPU"]
    if not host.has_driver:
        return [host.host, host.type, "not checked: no NVIDIA driver"]
    state = Styled("bad", "bad") if host.problems else Styled("ok", "good")
    names = ", ".join(dict.fromkeys(gpu.name for gpu in host.gpus))
    present = f"{len(host.gpus)} of {units.count(host.expected, 'GPU')}"
    return [host.host, host.type, present, names, _memory(host.gpus), state]


def _memory(gpus: Sequence[GpuState]) -> str:
    counts = [gpu.memory_errors for gpu in gpus if gpu.memory_errors is not None]
    return f"{sum(counts)} memory errors" if counts else "no ECC" if gpus else ""


def _all_reduce(measured: AllReduce) -> Iterator[Text]:
    for item in measured.reductions:
        unit = "GPUs" if item.backend == "NCCL" else "VMs"
        speed = f"{item.gbit_per_s:.3g} Gbit/s"
        over = f"{item.processes} {unit} with {item.backend}"
        yield f"  all-reduce over {over}: {speed} bus bandwidth, {item.seconds:.0f} s"
    shown = measured.links if len(measured.links) <= MAX_LINKS else [link for link in measured.links if link.is_slow]
    yield from columns([_link(link) for link in shown], indent="    ")
    yield from (f"  {host}: {why}" for host, why in measured.broken.items())
    if measured.slow:
        yield f"  slow: {' '.join(measured.slow)} (another connection is more than twice as fast)"
    if measured.without_nccl:
        yield f"  NCCL was not used: {_reasons(measured.without_nccl)}. TCP says nothing on EFA or NVLink."


def _reasons(without: Mapping[str, str]) -> str:
    hosts: dict[str, list[str]] = {}
    for host, why in without.items():
        hosts.setdefault(why, []).append(host)
    return "; ".join(f"{why} on {_some(names)}" for why, names in hosts.items())


def _some(names: Sequence[str]) -> str:
    return " ".join([*names[:MAX_NAMED], *(["..."] if len(names) > MAX_NAMED else [])])


def _link(link: Link) -> Sequence[str]:
    speed = f"{link.gbit_per_s:.3g} Gbit/s"
    return [f"{link.source} -> {link.target}", speed, Styled("slow", "bad") if link.is_slow else ""]


@document.register(GpuReport)
def _(report: GpuReport) -> Document:
    return {
        "hosts": document(report.hosts),
        "failed": document(report.failed),
        "all_reduce": document(report.all_reduce),
        "bad": document(report.bad),
    }


@document.register(HostGpus)
def _(host: HostGpus) -> Document:
    return {
        "host": host.host,
        "type": host.type,
        "expected": host.expected,
        "driver": host.has_driver,
        "gpus": document(host.gpus),
        "problems": document(host.problems),
    }


@document.register(GpuState)
def _(gpu: GpuState) -> Document:
    return {"index": gpu.index, "name": gpu.name, "memory_errors": gpu.memory_errors}


@document.register(AllReduce)
def _(measured: AllReduce) -> Document:
    return {
        "hosts": document(measured.hosts),
        "links": document(measured.links),
        "reductions": document(measured.reductions),
        "broken": document(measured.broken),
        "slow": document(measured.slow),
        "without_nccl": document(measured.without_nccl),
    }


@document.register(Link)
def _(link: Link) -> Document:
    return {"from": link.source, "to": link.target, "gbit_per_s": link.gbit_per_s, "slow": link.is_slow}


@document.register(Reduction)
def _(reduction: Reduction) -> Document:
    return {
        "backend": reduction.backend,
        "gbit_per_s": reduction.gbit_per_s,
        "processes": reduction.processes,
        "seconds": reduction.seconds,
    }
