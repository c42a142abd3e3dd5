"""The mesh of a run: how its first host starts processes on the others; runs on the VMs, on Python alone.

    python mesh.py serve FOLDER                   the agent of this host, until the run's first host lets go of it
    python mesh.py ssh FOLDER [OPTION...] ADDRESS COMMAND...     what launchers take for OpenSSH's program

Both sides show the run's own certificate (FOLDER/mesh) and take no other. Where OpenSSH's server needs a user's entry
in /etc/passwd, a package on every VM and in every image, and leaves processes behind when its client vanishes, a
command here ends with the connection that asked for it, and all of them with the first host.

Frames: one byte for the kind, four for the length, then so many bytes. Whoever has nothing to say sends a beat.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from interface import interface_of

BEAT_S, SILENT_S, GRACE_S, CONNECT_S = 5.0, 15.0, 5.0, 10.0
REQUEST_LIMIT = 1 << 20
OUT, ERR, EXIT, BEAT, ASK, ANSWER, BYE = range(7)
RUN, WATCH = b"R", b"W"
LOST = 255  # what OpenSSH's program says when the connection is gone

# An image may carry a Python older than 3.11, where the two are not the same.
TIMEOUT = asyncio.TimeoutError
TROUBLE = (OSError, ssl.SSLError, asyncio.IncompleteReadError, TIMEOUT)


class Peer:
    """A connection to another host of the run.

    :ivar why: how it ended, once it has: ``said nothing for 15 s``.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer, self.why = reader, writer, ""
        self._beating = asyncio.ensure_future(self._beat())

    async def send(self, kind: int, body: bytes = b"") -> None:
        """Send one frame.

        :raises OSError: the other side is gone.
        """
        self.writer.write(struct.pack(">BI", kind, len(body)) + body)
        await self.writer.drain()

    async def frames(self) -> AsyncIterator[tuple[int, bytes]]:
        """Yield what comes, beats left out, until the connection ends or is silent for too long."""
        while not self.why:
            try:
                kind, length = struct.unpack(">BI", await asyncio.wait_for(self.reader.readexactly(5), SILENT_S))
                body = await asyncio.wait_for(self.reader.readexactly(length), SILENT_S) if length else b""
            except TIMEOUT:
                self.why = f"said nothing for {SILENT_S:.0f} s"
            except TROUBLE:
                self.why = "closed the connection"
            else:
                if kind != BEAT:
                    yield kind, body

    async def until_gone(self) -> None:
        """Wait for the connection's end."""
        async for _ in self.frames():
            pass

    def close(self) -> None:
        """End the connection at once; what the other side does not take any more is dropped."""
        self._beating.cancel()
        if self.writer.transport is not None:
            self.writer.transport.abort()

    async def leave(self) -> None:
        """End the connection after all that was sent has gone."""
        self._beating.cancel()
        with contextlib.suppress(*TROUBLE):
            self.writer.close()
            await asyncio.wait_for(self.writer.wait_closed(), GRACE_S)

    async def _beat(self) -> None:
        with contextlib.suppress(*TROUBLE):
            while not self.why:
                await asyncio.sleep(BEAT_S)
                await self.send(BEAT)


def context(folder: Path, purpose: int) -> ssl.SSLContext:
    """Return TLS for a run: its own certificate, and nobody else's on the other side."""
    made = ssl.SSLContext(purpose)
    # Whoever has the run's key is of the run; the address is not what makes it so.
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(folder / "mesh/ca.pem")
    made.load_cert_chain(folder / "mesh/cert.pem", folder / "mesh/key.pem")
    return made


def port(folder: Path) -> int:
    """Return the port that the run's agents listen on."""
    return int((folder / "mesh/port").read_text())


async def connect(folder: Path, address: str, request: bytes) -> Peer:
    """Connect to a host's agent and make a request.

    :raises OSError: it does not answer, or is not of this run.
    """
    opening = asyncio.open_connection(address, port(folder), ssl=context(folder, ssl.PROTOCOL_TLS_CLIENT))
    try:
        peer = Peer(*await asyncio.wait_for(opening, CONNECT_S))
    except TIMEOUT:
        raise OSError(f"no answer in {CONNECT_S:.0f} s") from None
    await peer.send(ASK, request)
    return peer


async def end(process: asyncio.subprocess.Process) -> None:
    """End a process and its group: TERM, and KILL after five seconds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TIMEOUT):
            await asyncio.wait_for(process.wait(), GRACE_S)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def word_of_main(folder: Path) -> str:
    """Return how this host's main task ended: an exit status, or a word; empty while it runs."""
    with contextlib.suppress(OSError):
        return (folder / "state/main.rc").read_text().strip()
    # A spot machine that is taken back had its task told to end.
    return "143" if (folder / "state/spot").exists() else ""


def is_bad(word: str) -> bool:
    """Whether a main task that ended so has failed: one that was cancelled has not, nor has one that runs."""
    return word not in ("", "0", "cancelled")


class Agent:
    """What a host does for its run's first host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = os.environ["STRATUS_ADDRESS"]
        self.watched, self.ended = asyncio.Event(), asyncio.Event()
        self.ending = False
        # Where every host has a main task, the first one hears how it ended, and may have it ended.
        self.guards = "STRATUS_GUARD" in os.environ
        self.watcher: Peer | None = None
        self.running: set[asyncio.subprocess.Process] = set()
        self.probe_port = 0

    async def serve(self) -> int:
        """Answer until the first host lets go; the exit status."""
        tls = context(self.folder, ssl.PROTOCOL_TLS_SERVER)
        server = await asyncio.start_server(self._meet, self.address, port(self.folder), ssl=tls)
        # Launchers listen on ports of the system's choice: one of that kind shows whether others come through to it.
        probe = await asyncio.start_server(lambda reader, writer: writer.close(), self.address, 0)
        self.probe_port = probe.sockets[0].getsockname()[1]
        if self.guards:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, lambda: loop.create_task(self._depart()))
        (self.folder / "state/mesh.up").touch()
        patience = float(os.environ["STRATUS_WAIT"]) + 60
        try:
            await asyncio.wait_for(self.watched.wait(), patience)
        except TIMEOUT:
            why = f"the first host did not come in {patience:.0f} s"
            print(f"mesh: {why}")
            if self.guards:
                self._end_main(why)
            return 1
        await self.ended.wait()
        server.close()
        return 0

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        with contextlib.suppress(*TROUBLE):
            async for kind, body in peer.frames():
                if kind == ASK and body[:1] == RUN:
                    await self._run(peer, body[1:].decode())
                elif kind == ASK and body[:1] == WATCH:
                    await self._be_watched(peer)
                break
        await peer.leave()

    async def _run(self, peer: Peer, command: str) -> None:
        """Run a shell command, and end it when whoever asked for it is gone."""
        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", command), stdin=null, stdout=pipe, stderr=pipe, start_new_session=True
        )
        self.running.add(process)
        if self.ending:
            await end(process)
        work = asyncio.ensure_future(self._carry(peer, process))
        gone = asyncio.ensure_future(peer.until_gone())
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            await end(process)
        gone.cancel()
        self.running.discard(process)

    async def _carry(self, peer: Peer, process: asyncio.subprocess.Process) -> None:
        """Send what a process says, then how it ended."""

        async def pump(stream: asyncio.StreamReader | None, kind: int) -> None:
            assert stream is not None
            while chunk := await stream.read(1 << 16):
                await peer.send(kind, chunk)

        with contextlib.suppress(*TROUBLE):
            await asyncio.gather(pump(process.stdout, OUT), pump(process.stderr, ERR))
            status = await process.wait()
            await peer.send(EXIT, str(status if status >= 0 else 128 - status).encode())

    async def _be_watched(self, peer: Peer) -> None:
        """Tell the first host about this one, and end all when it lets go."""
        self.watched.set()
        self.watcher = peer
        facts = {"slots": int(os.environ["STRATUS_SLOTS"]), "interface": interface_of(self.address)}
        wrong = ""
        await peer.send(ANSWER, json.dumps({**facts, "probe": self.probe_port}).encode())
        async for kind, body in peer.frames():
            if kind == ASK:
                await peer.send(ANSWER, json.dumps(await unreachable(json.loads(body))).encode())
            elif kind == BYE:
                peer.why = "is done"
                wrong = body.decode()
        if self.guards and not self.ended.is_set() and (peer.why != "is done" or wrong):
            self._end_main(wrong or f"lost the first host: it {peer.why}")
        print(f"mesh: the first host {peer.why}: this one ends")
        self.ending = True
        await asyncio.gather(*(end(process) for process in self.running))
        self.ended.set()

    async def _depart(self) -> None:
        """Tell how the main task of this host ended, as this agent ends with it."""
        with contextlib.suppress(TIMEOUT):
            # A task may fail sooner than anybody asks; cancel.sh gives five seconds.
            await asyncio.wait_for(self.watched.wait(), GRACE_S - 1)
        if self.watcher:
            with contextlib.suppress(*TROUBLE):
                await self.watcher.send(EXIT, word_of_main(self.folder).encode())
            await self.watcher.leave()
        self.watched.set()
        self.ended.set()

    def _end_main(self, why: str) -> None:
        """End the main task of this host; it takes this agent with it."""
        script = str(self.folder / "bin/end_main.sh")
        subprocess.Popen(["sh", script, str(self.folder), why], start_new_session=True)


async def unreachable(targets: dict[str, list[object]]) -> dict[str, str]:
    """Try to connect to other hosts.

    :param targets: name -> address and port.
    :return: name -> why not, of those that cannot be reached.
    """

    async def attempt(name: str, address: str, port: int) -> tuple[str, str]:
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), CONNECT_S)
        except TIMEOUT:
            return name, f"no answer in {CONNECT_S:.0f} s"
        except OSError as error:
            return name, os.strerror(error.errno) if error.errno else str(error)
        writer.close()
        return name, ""

    tried = await asyncio.gather(*(attempt(name, str(a), int(str(p))) for name, (a, p) in targets.items()))
    return {name: why for name, why in tried if why}


def parsed(words: list[str]) -> tuple[str, str]:
    """Return address and command of OpenSSH's command line; its options mean nothing here.

    https://man.openbsd.org/ssh: options may stand before and after the destination.
    """
    rest, destination = list(words), ""
    while rest:
        word = rest.pop(0)
        if word.startswith("-") and len(word) > 1:
            # Of a cluster of letters such as -xp, the last one takes the value, unless it sticks to it.
            if word[-1] in "BbcDEeFIiJLlmOopQRSWw" and len(word.lstrip("-")) == 1 and rest:
                rest.pop(0)
        elif not destination:
            destination = word.rpartition("@")[2]
        else:
            return destination, " ".join([word, *rest])
    return destination, ""


async def remote(folder: Path, words: list[str]) -> int:
    """Run a command on another host, its output here; the exit status is its own."""
    address, command = parsed(words)
    if not command:
        print("ssh: the mesh of a run takes an address and a command", file=sys.stderr)
        return LOST
    try:
        peer = await connect(folder, address, RUN + command.encode())
    except OSError as error:
        print(f"ssh: {address}: {error}", file=sys.stderr)
        return LOST
    status = await _shown(peer)
    peer.close()
    if status is None:
        print(f"ssh: {address} {peer.why}", file=sys.stderr)
    return LOST if status is None else status


async def _shown(peer: Peer) -> int | None:
    """Write what comes to where it belongs; return the exit status, None when the connection ends before."""
    streams = {OUT: sys.stdout.buffer, ERR: sys.stderr.buffer}
    loop = asyncio.get_running_loop()
    async for kind, body in peer.frames():
        if kind == EXIT:
            return int(body)
        if stream := streams.get(kind):
            # A slow reader must not keep this side from its beats.
            await loop.run_in_executor(None, stream.write, body)
            await loop.run_in_executor(None, stream.flush)
    return None


async def main(mode: str, folder: Path, words: list[str]) -> int:
    """Carry out what was asked for; the exit status."""
    return await (Agent(folder).serve() if mode == "serve" else remote(folder, words))


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])))
