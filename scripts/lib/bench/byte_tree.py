"""Upload of a large folder to many hosts that pass it on to each other; part of scripts/bench bytes, with --tree.

Each host has a limit of its bandwidth, in each direction, as a link of its own would have: all hosts share this
computer's cores, and would be as fast as those otherwise. Bytes are those that the kernel counts on the SSH connections
of this process. Bars: at most 1 + log2(hosts) / 2 times as long as to one host; each byte once (with 100 KB per host
for scripts, lists and certificates); with one host killed on the way, all others complete, with equal checksums.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import resource
import shutil
import socket
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import localcloud
from orchestrator.core.events import Event
from orchestrator.core.host import Host
from orchestrator.hosts import parallel
from orchestrator.install import steps
from orchestrator.install.fan_out import FanOutOptions
from orchestrator.install.installer import Installer
from orchestrator.install.upload import scan
from orchestrator.session import Session

OWN_BYTES = 100_000
"""Of each host: scripts, list of files, certificates, and what SSH adds to them."""

SSH_OVERHEAD = 1.01
_BYTES_ACKED = 120  # offset of tcpi_bytes_acked in struct tcp_info, linux/tcp.h


class Upload:
    """Uploads of one folder to hosts; each with new content.

    :param home: of the embedded cloud.
    :param mib: size of the folder.
    :param link_mb_per_s: limit of each host's bandwidth.
    """

    def __init__(self, session: Session, folder: Path, home: Path, mib: int, link_mb_per_s: float) -> None:
        self.session, self.folder, self.home, self.mib = session, folder, home, mib
        self.options = replace(FanOutOptions(), min_hosts=1, link_bytes_per_s=link_mb_per_s * 1e6)
        self.number = 0
        self.events: list[Event] = []

    def send(self, hosts: Sequence[Host], killed: Host | None = None) -> dict[str, float]:
        """Upload to hosts; return seconds, CPU seconds of the client, bytes sent, complete hosts.

        :param killed: loses its power once it has a third.
        """
        self.number += 1
        self.events.clear()
        source = self.folder / f"source{self.number}"
        source.mkdir(parents=True)
        with (source / "weights.bin").open("wb") as file:
            for _ in range(self.mib):
                file.write(os.urandom(1 << 20))
        upload = scan("tree.data", source, "data/tree")
        step = steps.Step("data", "parcel.sh", (upload.name, upload.digest, upload.remote_path), upload)
        ssh = self.session.context.ssh
        installer = Installer(
            ssh,
            steps.InstallPlan((step,)),
            self.folder / "logs",
            self.events.append,
            host_count=len(hosts),
            fan_out=self.options,
        )
        stop = threading.Event()
        if killed:
            threading.Thread(target=self._kill, args=(killed, stop), daemon=True).start()
        there = [host for host in hosts if host is not killed]
        before, wall, cpu = self._sent(there), time.monotonic(), _cpu_s()
        outcomes = parallel.for_each(hosts, installer, clock=self.session.context.clock)
        took = time.monotonic() - wall, _cpu_s() - cpu
        stop.set()
        sent = self._sent(there) - before
        want = upload.files[0].digest
        sums = parallel.for_each(there, self._checksum, clock=self.session.context.clock)
        equal = sum(outcome.unwrap() == want for outcome in sums.values())
        shutil.rmtree(source)
        assert outcomes.errors.keys() <= {killed.name if killed else ""}, outcomes.errors
        return {"wall_s": took[0], "cpu_s": took[1], "sent_bytes": sent, "complete": equal}

    def _checksum(self, host: Host) -> str:
        return self.session.context.ssh.run(host, "sha256sum stratus/data/tree/weights.bin").stdout.split()[0]

    def _sent(self, hosts: Sequence[Host]) -> int:
        """Return the bytes that this process has sent to hosts, by the kernel's count."""
        total = 0
        for host in hosts:
            connection = self.session.context.ssh.connect(host)
            info = connection.transport.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
            total += struct.unpack_from("=Q", info, _BYTES_ACKED)[0]
        return total

    def _kill(self, host: Host, stop: threading.Event) -> None:
        """End all processes of a host at once, when it has a third of the data."""
        number = host.name.rpartition("-")[2]
        while not stop.wait(0.05):
            for event in list(self.events):
                amounts = re.match(r"uploaded ([0-9,]+) of", event.text) if event.host == host.name else None
                if amounts and 3 * float(amounts[1].replace(",", "")) >= self.mib:
                    localcloud.scenario(f"[scenario]\n[lost]\nfault = host-lost\nwhere = host {number}\n", self.home)
                    return


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(
    session: Session, hosts: Sequence[Host], scratch: Path, options: argparse.Namespace
) -> list[dict[str, object]]:
    """Measure uploads to one host, to all, and with one killed; print them beside their bars."""
    mib, count, size = options.mib, len(hosts), options.mib << 20
    upload = Upload(session, scratch / "tree", scratch / "cloud", mib, options.link)
    single = upload.send(hosts[:1])
    everyone = upload.send(hosts)
    ratio, bar = everyone["wall_s"] / single["wall_s"], 1 + math.log2(count) / 2
    copies = (everyone["sent_bytes"] - OWN_BYTES * count) / size
    rows: list[dict[str, object]] = [
        {"scenario": f"{mib} MiB to one host", **single},
        {"scenario": f"{mib} MiB to {count} hosts", **everyone, "ratio": ratio, "bar": bar, "copies": copies}
        | {"met": ratio <= bar and copies <= SSH_OVERHEAD and everyone["complete"] == count},
    ]
    if count > 2:
        lost = upload.send(hosts, hosts[1])
        rows.append({"scenario": f"{hosts[1].name} killed on the way", **lost, "met": lost["complete"] == count - 1})
    for row in rows:
        times = "" if "ratio" not in row else f"   of one host: {ratio:.2f} (bar {bar:.2f}), sent {copies:.3f} times"
        print(
            f"{row['scenario']:36} {row['wall_s']:.1f} s ({row['cpu_s']:.2f} CPU), "
            f"{row['sent_bytes'] / 1e6:.1f} MB sent, {row['complete']} complete{times}"
            + ("" if row.get("met", True) else "   ABOVE ITS BAR"),
            flush=True,
        )
    return rows
