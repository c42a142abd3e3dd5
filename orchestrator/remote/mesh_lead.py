"""The first host's side of a run's mesh: gathers the hosts, tries them, runs the launcher, and lets go; on the VM.

    python mesh_lead.py FOLDER LAUNCHER          LAUNCHER: a script of FOLDER/bin

From the environment: STRATUS_WAIT (seconds), STRATUS_MIN_HOSTS (goes on with so many; without it
every host counts). FOLDER/mesh/members names the hosts, "NAME ADDRESS" a line, and may grow while an elastic run goes
on; FOLDER/state/alive holds "ADDRESS:SLOTS" of those that are there now, for Horovod's discovery script.
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

LOOK_S = 1.0


def say(text: str) -> None:
    """Write a line into the job's log."""
    print(f"mesh: {text}", flush=True)


@dataclass
class Member:
    """A host of the run whose agent answered."""

    name: str
    address: str
    peer: mesh.Peer
    slots: int
    interface: str
    probe: int


class Refused(Exception):
    """The hosts cannot work together; the words say why."""


@dataclass
class Lead:
    """Holds one connection to every host for as long as the job runs."""

    folder: Path
    least: int = 0
    there: dict[str, Member] = field(default_factory=dict)
    heeded: int = 0
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    watchers: list[asyncio.Future[None]] = field(default_factory=list)

    def lines(self) -> list[list[str]]:
        """Return name and address of all members that there ever were; a new machine may have an old one's address."""
        return [line.split() for line in (self.folder / "mesh/members").read_text().splitlines()]

    def members(self) -> dict[str, str]:
        """Return address -> name, as the file has them now."""
        return {address: name for name, address in self.lines()}

    def present(self) -> list[Member]:
        """Return the hosts that are there, in the file's order: the first one gets rank 0."""
        return [self.there[address] for address in self.members() if address in self.there]

    async def gather(self, seconds: float) -> None:
        """Connect to every host, all at once.

        :raises Refused: one does not come in time.
        """
        wanted, began = self.members(), time.monotonic()
        self.heeded = len(wanted)

        async def greet(address: str, name: str) -> tuple[str, str]:
            return name, await self._greet(address, began + seconds)

        outcomes = await asyncio.gather(*(greet(address, name) for address, name in wanted.items()))
        absent = {name: why for name, why in outcomes if why}
        if absent and (not self.least or len(self.there) < self.least):
            names = "; ".join(f"{name} ({why})" for name, why in absent.items())
            raise Refused(f"not there after {seconds:.0f} s: {names}; see their mesh.log")
        for name, why in absent.items():
            say(f"goes on without {name}: {why}")
        say(f"{len(self.there)} hosts in {time.monotonic() - began:.1f} s")

    async def _greet(self, address: str, deadline: float) -> str:
        """Connect to a host, again and again; return why it did not come, or nothing."""
        why = "no time to ask it"
        while True:
            try:
                peer = await mesh.connect(self.folder, address, mesh.WATCH)
                await self._admit(address, peer)
                return ""
            except mesh.TROUBLE as error:
                why = str(error) or type(error).__name__
            if time.monotonic() > deadline:
                return why
            await asyncio.sleep(0.2)

    async def _admit(self, address: str, peer: mesh.Peer) -> None:
        facts = await self._ask(peer)
        name = self.members()[address]
        self.there[address] = Member(name, address, peer, facts["slots"], facts["interface"], facts["probe"])

    async def _ask(self, peer: mesh.Peer, question: object = None) -> dict[str, Any]:
        """Return a host's answer: to a question, or what it says of itself first.

        :raises OSError: it is gone.
        """
        if question is not None:
            await peer.send(mesh.ASK, json.dumps(question).encode())
        async for kind, body in peer.frames():
            if kind == mesh.ANSWER:
                found: dict[str, Any] = json.loads(body)
                return found
        raise OSError(peer.why)

    async def check(self) -> None:
        """Let every host try to reach every other one.

        :raises Refused: naming the pairs that cannot talk, or the interfaces that differ.
        """
        members = self.present()
        by_interface = {member.interface: member.name for member in members}
        if len(by_interface) > 1:
            named = ", ".join(f"{interface} on {name}" for interface, name in by_interface.items())
            raise Refused(f"the network interfaces differ: {named}; the launcher wants one name on all hosts")

        async def report(one: Member) -> list[str]:
            others = {other.name: [other.address, other.probe] for other in members if other is not one}
            return [f"{one.name} -> {name} ({why})" for name, why in (await self._ask(one.peer, others)).items()]

        broken = [pair for found in await asyncio.gather(*map(report, members)) for pair in found]
        if broken:
            raise Refused(f"hosts do not reach each other on all TCP ports: {', '.join(broken)}; see their firewall")

    async def run(self, launcher: str) -> int:
        """Run the launcher until it, or a host without which it makes no sense, ends; the exit status."""
        self.publish()
        self.watchers += [asyncio.ensure_future(self._watch(member)) for member in self.present()]
        slots = sorted(member.slots for member in self.present())
        told = {
            "STRATUS_NP": str(sum(slots)),
            "STRATUS_MIN_NP": str(sum(slots[: self.least])),
            "STRATUS_HOST_SLOTS": ",".join(f"{member.address}:{member.slots}" for member in self.present()),
            "STRATUS_INTERFACE": self.present()[0].interface,
        }
        script = str(self.folder / "bin" / launcher)
        process = await asyncio.create_subprocess_exec(
            *("sh", script, str(self.folder)), env={**os.environ, **told}, preexec_fn=os.setpgrp
        )
        ended, lost = asyncio.ensure_future(process.wait()), asyncio.ensure_future(self.lost.wait())
        if self.least:
            self.watchers.append(asyncio.ensure_future(self._look_for_more()))
        await asyncio.wait({ended, lost}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            await mesh.end(process)
            return 1
        lost.cancel()
        status = ended.result()
        return status if status >= 0 else 128 - status

    async def _watch(self, member: Member) -> None:
        """Wait for a host's end; in an elastic run the others go on, while they are enough."""
        await member.peer.until_gone()
        if self.there.get(member.address) is not member:
            return
        del self.there[member.address]
        say(f"lost {member.name} ({member.address}): it {member.peer.why}")
        self.publish()
        if self.least and len(self.there) < self.least:
            say(f"{len(self.there)} hosts are left, and min_hosts = {self.least}: the job ends")
        if len(self.there) < self.least or not self.least:
            self.lost.set()

    async def _look_for_more(self) -> None:
        """Greet hosts that are added to the run."""
        while not self.lost.is_set():
            await asyncio.sleep(LOOK_S)
            new = self.lines()[self.heeded :]
            self.heeded += len(new)
            self.watchers += [asyncio.ensure_future(self._join(address, name)) for name, address in new]

    async def _join(self, address: str, name: str) -> None:
        why = await self._greet(address, time.monotonic() + float(os.environ["STRATUS_WAIT"]))
        if why:
            say(f"{name} ({address}) was to join, and did not: {why}")
            return
        say(f"{name} ({address}) joins")
        self.publish()
        await self._watch(self.there[address])

    def publish(self) -> None:
        """Write down who is there, whole or not at all."""
        path = self.folder / "state/alive"
        part = path.with_suffix(".new")
        part.write_text("".join(f"{member.address}:{member.slots}\n" for member in self.present()))
        part.replace(path)

    async def let_go(self) -> None:
        """Tell every host that all is over, and wait until they have ended what they ran."""

        async def farewell(peer: mesh.Peer) -> None:
            with contextlib.suppress(*mesh.TROUBLE):
                await peer.send(mesh.BYE)
                await asyncio.wait_for(peer.until_gone(), 2 * mesh.GRACE_S)
            peer.close()

        members, self.there = list(self.there.values()), {}
        for watcher in self.watchers:
            watcher.cancel()
        # Two cannot read from one connection: the watchers have to be gone.
        await asyncio.gather(*self.watchers, return_exceptions=True)
        await asyncio.gather(*(farewell(member.peer) for member in members))


async def main(folder: Path, launcher: str) -> int:
    """Lead the run from its first to its last moment; the exit status."""
    lead = Lead(folder, least=int(os.environ.get("STRATUS_MIN_HOSTS", "0")))
    try:
        await lead.gather(float(os.environ["STRATUS_WAIT"]))
        await lead.check()
        return await lead.run(launcher)
    except Refused as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"a host was lost while it was asked: {error}")
        return 1
    finally:
        await lead.let_go()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]), sys.argv[2])))
