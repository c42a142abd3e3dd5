"""First host of a run's mesh: connects to the hosts, checks them, runs the launcher, releases them; runs on the VM.

    python mesh_lead.py FOLDER LAUNCHER          LAUNCHER: a script of FOLDER/bin

From the environment: STRATUS_WAIT (seconds), STRATUS_MIN_HOSTS (the run continues with so many;
without it, all are needed). FOLDER/mesh/members lists the hosts, "NAME ADDRESS" each, and may grow during an elastic
run; FOLDER/state/alive lists "ADDRESS:SLOTS" of the connected hosts, for Horovod's discovery script.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mesh

POLL_S = 1.0


def log(text: str) -> None:
    """Write a line to the job's log."""
    print(f"stratus: {text}", flush=True)


@dataclass
class Member:
    """A connected host of the run."""

    name: str
    address: str
    peer: mesh.Peer
    slots: int
    interface: str
    probe: int


class MeshError(Exception):
    """The hosts cannot work together."""


@dataclass
class Lead:
    """Connections to all hosts during a job.

    :ivar min_hosts: fewest hosts to continue with; 0: all are needed.
    :ivar seen: number of lines of the members file that were processed.
    """

    folder: Path
    min_hosts: int = 0
    connected: dict[str, Member] = field(default_factory=dict)
    seen: int = 0
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    watchers: list[asyncio.Future[None]] = field(default_factory=list)

    def lines(self) -> list[list[str]]:
        """Return name and address of all members so far; a new VM may have the address of a lost one."""
        return [line.split() for line in (self.folder / "mesh/members").read_text().splitlines()]

    def members(self) -> dict[str, str]:
        """Return address -> name, by the latest line of each address."""
        return {address: name for name, address in self.lines()}

    def present(self) -> list[Member]:
        """Return the connected hosts, in the order of the file: the first one gets rank 0."""
        return [self.connected[address] for address in self.members() if address in self.connected]

    async def gather(self, timeout_s: float) -> None:
        """Connect to all hosts at the same time.

        :raises MeshError: one cannot be reached in time.
        """
        members, started = self.members(), time.monotonic()
        self.seen = len(members)

        async def connect(address: str, name: str) -> tuple[str, str]:
            return name, await self._connect(address, started + timeout_s)

        outcomes = await asyncio.gather(*(connect(address, name) for address, name in members.items()))
        absent = {name: why for name, why in outcomes if why}
        if absent and (not self.min_hosts or len(self.connected) < self.min_hosts):
            names = "; ".join(f"{name} ({why})" for name, why in absent.items())
            raise MeshError(f"not connected after {timeout_s:.0f} s: {names}; see their mesh.log")
        for name, why in absent.items():
            log(f"continues without {name}: {why}")
        log(f"{len(self.connected)} VMs connected in {time.monotonic() - started:.1f} s")

    async def _connect(self, address: str, deadline: float) -> str:
        """Connect to a host, with retries; return why it failed, or nothing."""
        why = "no time to connect"
        while True:
            try:
                peer = await mesh.connect(self.folder, address, mesh.WATCH)
                await self._add(address, peer)
                return ""
            except mesh.CONNECTION_ERRORS as error:
                why = str(error) or type(error).__name__
            if time.monotonic() > deadline:
                return why
            await asyncio.sleep(0.2)

    async def _add(self, address: str, peer: mesh.Peer) -> None:
        facts = await self._query(peer)
        name = self.members()[address]
        self.connected[address] = Member(name, address, peer, facts["slots"], facts["interface"], facts["probe"])

    async def _query(self, peer: mesh.Peer, targets: object = None) -> dict[str, Any]:
        """Return the answer of a host: the unreachable ones of some targets, or without targets its own properties.

        :raises OSError: the connection is lost.
        """
        if targets is not None:
            await peer.send(mesh.ASK, json.dumps(targets).encode())
        async for kind, body in peer.frames():
            if kind == mesh.ANSWER:
                answer: dict[str, Any] = json.loads(body)
                return answer
        raise OSError(peer.why)

    async def check(self) -> None:
        """Let every host try to reach all others.

        :raises MeshError: some pairs cannot connect, or the interfaces differ; it names them.
        """
        members = self.present()
        by_interface = {member.interface: member.name for member in members}
        if len(by_interface) > 1:
            named = ", ".join(f"{interface} on {name}" for interface, name in by_interface.items())
            raise MeshError(f"the network interfaces differ: {named}; the launcher needs the same name on all VMs")

        async def report(member: Member) -> list[str]:
            others = {other.name: [other.address, other.probe] for other in members if other is not member}
            return [
                f"{member.name} -> {name} ({why})" for name, why in (await self._query(member.peer, others)).items()
            ]

        broken = [pair for pairs in await asyncio.gather(*map(report, members)) for pair in pairs]
        if broken:
            raise MeshError(f"VMs do not reach each other on all TCP ports: {', '.join(broken)}; see their firewall")

    async def run(self, launcher: str) -> int:
        """Run the launcher until it ends, or too many hosts are lost; return the exit status."""
        self.publish()
        self.watchers += [asyncio.ensure_future(self._watch(member)) for member in self.present()]
        slots = sorted(member.slots for member in self.present())
        launcher_env = {
            "STRATUS_NP": str(sum(slots)),
            # The hosts with the fewest slots: any min_hosts of them must be enough.
            "STRATUS_MIN_NP": str(sum(slots[: self.min_hosts])),
            "STRATUS_HOST_SLOTS": ",".join(f"{member.address}:{member.slots}" for member in self.present()),
            "STRATUS_INTERFACE": self.present()[0].interface,
        }
        script = str(self.folder / "bin" / launcher)
        # A process group of its own, which mesh.end() signals as a whole.
        process = await asyncio.create_subprocess_exec(
            *("sh", script, str(self.folder)), env={**os.environ, **launcher_env}, preexec_fn=os.setpgrp
        )
        ended, lost = asyncio.ensure_future(process.wait()), asyncio.ensure_future(self.lost.wait())
        if self.min_hosts:
            self.watchers.append(asyncio.ensure_future(self._add_new_members()))
        await asyncio.wait({ended, lost}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            await mesh.end(process)
            return 1
        lost.cancel()
        status = ended.result()
        return status if status >= 0 else 128 - status

    async def _watch(self, member: Member) -> None:
        """Wait until a host is lost; an elastic run continues while enough hosts are left."""
        await member.peer.until_gone()
        # A new VM has taken the address; this connection belongs to the old one.
        if self.connected.get(member.address) is not member:
            return
        del self.connected[member.address]
        log(f"lost {member.name} ({member.address}): it {member.peer.why}")
        self.publish()
        if self.min_hosts and len(self.connected) < self.min_hosts:
            log(f"{len(self.connected)} VMs are left, and min_hosts = {self.min_hosts}: the job ends")
        if len(self.connected) < self.min_hosts or not self.min_hosts:
            self.lost.set()

    async def _add_new_members(self) -> None:
        """Connect to hosts that are added to the run."""
        while not self.lost.is_set():
            await asyncio.sleep(POLL_S)
            new = self.lines()[self.seen :]
            self.seen += len(new)
            self.watchers += [asyncio.ensure_future(self._join(address, name)) for name, address in new]

    async def _join(self, address: str, name: str) -> None:
        why = await self._connect(address, time.monotonic() + float(os.environ["STRATUS_WAIT"]))
        if why:
            log(f"{name} ({address}) could not join: {why}")
            return
        log(f"{name} ({address}) joins")
        self.publish()
        await self._watch(self.connected[address])

    def publish(self) -> None:
        """Write the list of connected hosts, atomically."""
        path = self.folder / "state/alive"
        # Replaced atomically: Horovod may read it at any time.
        part = path.with_suffix(".new")
        part.write_text("".join(f"{member.address}:{member.slots}\n" for member in self.present()))
        part.replace(path)

    async def release(self) -> None:
        """Release every host, and wait until each has ended its processes."""

        async def release_one(peer: mesh.Peer) -> None:
            with contextlib.suppress(*mesh.CONNECTION_ERRORS):
                await peer.send(mesh.BYE)
                await asyncio.wait_for(peer.until_gone(), 2 * mesh.GRACE_S)
            peer.close()

        members, self.connected = list(self.connected.values()), {}
        for watcher in self.watchers:
            watcher.cancel()
        # Two tasks cannot read from one connection: the watchers must have ended.
        await asyncio.gather(*self.watchers, return_exceptions=True)
        await asyncio.gather(*(release_one(member.peer) for member in members))


async def main(folder: Path, launcher: str) -> int:
    """Connect to the hosts, check them and run the launcher; return the exit status."""
    lead = Lead(folder, min_hosts=int(os.environ.get("STRATUS_MIN_HOSTS", "0")))
    try:
        await lead.gather(float(os.environ["STRATUS_WAIT"]))
        await lead.check()
        return await lead.run(launcher)
    except MeshError as error:
        log(str(error))
        return 1
    except OSError as error:
        log(f"a VM was lost during the checks: {error}")
        return 1
    finally:
        await lead.release()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]), sys.argv[2])))
