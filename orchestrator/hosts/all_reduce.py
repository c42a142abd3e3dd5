"""An all-reduce over the hosts of a cluster: bandwidth between them, and who is slow or does not answer.

It goes over a mesh as that of a run (``remote/mesh.py``), which lives as long as the measurement.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.errors import HostError, first_line
from orchestrator.crypto.tls import generate_cluster_tls
from orchestrator.hosts import parallel
from orchestrator.hosts.commands import marked_lines

if TYPE_CHECKING:
    from orchestrator.core.host import Host
    from orchestrator.ssh import CommandResult, SshClient

SECONDS = 20
SLOW_SHARE = 0.5
"""Of the fastest connection: VMs of one launch differ by less, apart from one that is broken or far away."""

START_S = 45.0
EXTRA_S = 240.0
"""For connecting, imports of torch, and hosts that do not answer; the scripts have shorter limits of their own."""

_SCRIPTS = (
    *("mesh.py", "interface.py", "mesh_lead.py", "mesh_env.sh", "mesh_ssh.sh", "mesh_host.sh", "mesh_main.sh"),
    *("python.sh", "health/all_reduce.py", "health/all_reduce_lead.sh", "health/nccl.py"),
)
_FIRST_PORT, _PORTS = 30000, 2000
"""Below Linux's ephemeral ports, above those of runs."""

_ABSENT = re.compile(r"stratus: (?:continues without (?P<absent>\S+): |lost (?P<lost>\S+) \(\S+\): it )(?P<why>.*)")
_UNPRINTABLE = re.compile(r"[^ -~]")
_MAX_WHY = 160
_BITS_PER_GBIT = 1e9 / 8


@dataclass(frozen=True)
class Link:
    """Bandwidth from one host to another, while all hosts of the ring send.

    :param is_slow: True if another connection is more than twice as fast.
    """

    source: str
    target: str
    gbit_per_s: float
    is_slow: bool = False


@dataclass(frozen=True)
class Reduction:
    """An all-reduce.

    :param backend: ``TCP`` or ``NCCL``.
    :param gbit_per_s: bus bandwidth: https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md.
    :param processes: hosts, or GPUs.
    """

    backend: str
    gbit_per_s: float
    processes: int
    seconds: float


@dataclass(frozen=True)
class AllReduce:
    """Outcome of an all-reduce over some hosts.

    :param broken: host -> why it did not take part to the end.
    :param slow: hosts whose connections are all slow, or that share a slow one.
    :param without_nccl: host -> why NCCL cannot be used there; empty if it was used.
    """

    hosts: tuple[str, ...]
    links: tuple[Link, ...] = ()
    reductions: tuple[Reduction, ...] = ()
    broken: Mapping[str, str] = field(default_factory=dict)
    slow: tuple[str, ...] = ()
    without_nccl: Mapping[str, str] = field(default_factory=dict)


def measure(ssh: SshClient, hosts: Sequence[Host], seconds: int = SECONDS) -> AllReduce:
    """Do an all-reduce over hosts; every host that hangs is named by a deadline.

    :param hosts: the first one leads.
    :param seconds: of the measurement.
    """
    mesh = _mesh_files(ssh, hosts)

    def run(role: str, host: Host, members: Sequence[Host], timeout_s: float) -> CommandResult:
        fields = (role, host.name, host.private_address, str(seconds))
        command = remote_scripts.bundle_command("all_reduce.sh", *fields)
        return ssh.run(host, command, stdin=_bundle(mesh, members), timeout_s=timeout_s)

    def start_agent(host: Host) -> None:
        result = run("agent", host, hosts, START_S)
        if not result.ok:
            raise HostError(f"cannot take part: {_last_line(result)}", where=host.name)

    started = parallel.for_each(hosts, start_agent, clock=ssh.clock)
    broken = {name: _without_name(error, name) for name, error in started.errors.items()}
    able = [host for host in hosts if host.name not in broken]
    if len(able) < 2:
        return AllReduce(tuple(host.name for host in hosts), broken=broken)
    try:
        lead = run("lead", able[0], able, 2 * seconds + EXTRA_S)
    except HostError as error:
        # Those of the others stand in what it has not printed.
        return AllReduce(
            tuple(host.name for host in hosts), broken={**broken, able[0].name: _without_name(error, able[0].name)}
        )
    measured = parse(lead.stdout, [host.name for host in hosts])
    # Why it does not take part is known better here than to the first host, which found nothing at its address.
    broken = {**measured.broken, **broken}
    if not lead.ok and not broken:
        raise HostError(f"the all-reduce failed: {_last_line(lead)}", where=lead.host)
    return replace(measured, broken=broken)


def _without_name(error: Exception, name: str) -> str:
    return first_line(error).removeprefix(f"{name}: ")


def _mesh_files(ssh: SshClient, hosts: Sequence[Host]) -> dict[str, bytes]:
    tls = generate_cluster_tls([host.private_address for host in hosts], ssh.clock.now())
    first = _FIRST_PORT + 4 * (int(ssh.clock.new_id()[:8], 16) % (_PORTS // 4))
    return {
        "mesh/ca.pem": tls.ca.encode(),
        "mesh/cert.pem": tls.cert.encode(),
        "mesh/key.pem": tls.key.encode(),
        # Of its agents; the ring has the port before it, NCCL the one after it.
        "mesh/port": b"%d\n" % (first + 1),
    }


def _bundle(mesh: Mapping[str, bytes], members: Sequence[Host]) -> bytes:
    names = "".join(f"{host.name} {host.private_address}\n" for host in members)
    entry = {"all_reduce.sh": remote_scripts.text("health/all_reduce.sh").encode(), "mesh/members": names.encode()}
    return remote_scripts.bundle({**entry, **mesh, **remote_scripts.scripts(_SCRIPTS, folder="bin/")})


def parse(output: str, names: Sequence[str]) -> AllReduce:
    """Return what the first host has printed, which it may have forged.

    :param names: of the hosts that were to take part.
    """
    links = _mark_slow([link for line in marked_lines(output, "@@link") for link in _link(line, names)])
    broken = {
        name: _clean(match["why"])
        for line in output.splitlines()
        if (match := _ABSENT.fullmatch(line)) and (name := match["absent"] or match["lost"]) in names
    }
    broken |= dict(_named(output, "@@broken", names))
    reductions = tuple(item for line in marked_lines(output, "@@reduce") for item in _reduction(line))
    without = dict(_named(output, "@@no-nccl", names))
    return AllReduce(tuple(names), links, reductions, broken, slow_hosts(links), without)


def slow_hosts(links: Sequence[Link]) -> tuple[str, ...]:
    """Return the hosts to which slow connections point: those without a fast one, or else both of its ends."""
    slow = [link for link in links if link.is_slow]
    fast_ends = {name for link in links if not link.is_slow for name in (link.source, link.target)}
    ends = list(dict.fromkeys(name for link in slow for name in (link.source, link.target)))
    return tuple([name for name in ends if name not in fast_ends] or ends)


def _mark_slow(links: Sequence[Link]) -> tuple[Link, ...]:
    limit = SLOW_SHARE * max((link.gbit_per_s for link in links), default=0.0)
    return tuple(Link(link.source, link.target, link.gbit_per_s, link.gbit_per_s < limit) for link in links)


def _link(line: str, names: Sequence[str]) -> Iterator[Link]:
    fields = line.split()
    if len(fields) == 4 and fields[0] in names and fields[1] in names:
        size, seconds = _number(fields[2]), _number(fields[3])
        if seconds:
            yield Link(fields[0], fields[1], size / seconds / _BITS_PER_GBIT)


def _reduction(line: str) -> Iterator[Reduction]:
    fields = line.split()
    if len(fields) != 5 or fields[0] not in ("TCP", "NCCL", "GLOO"):
        return
    size, rounds, seconds, processes = map(_number, fields[1:])
    if seconds and processes:
        # Each process sends and receives that much per round, by any algorithm that is optimal.
        moved = size * rounds * 2 * (processes - 1) / processes
        yield Reduction(fields[0], moved / seconds / _BITS_PER_GBIT, int(processes), seconds)


def _number(word: str) -> float:
    """Return a number of a host; 0 for what is none."""
    try:
        number = float(word)
    except ValueError:
        return 0.0
    return number if math.isfinite(number) and number > 0 else 0.0


def _named(output: str, mark: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for line in marked_lines(output, mark):
        name, _, why = line.partition(" ")
        if name in names:
            yield name, _clean(why)


def _clean(text: str) -> str:
    return _UNPRINTABLE.sub("?", text[:_MAX_WHY])


def _last_line(result: CommandResult) -> str:
    lines = [line for line in f"{result.stderr}\n{result.stdout}".splitlines() if line.strip()]
    return _clean(lines[-1].removeprefix("stratus: ")) if lines else "no output"
