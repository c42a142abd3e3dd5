"""Mesh of a run: the first host starts processes on the others through it; standard library only, runs on the VMs.

    python mesh.py serve FOLDER                   agent of this host, until the run's first host releases it
    python mesh.py ssh FOLDER [OPTION...] ADDRESS COMMAND...     stand-in for OpenSSH's client, for launchers

Both sides present the run's own certificate (FOLDER/mesh) and accept no other. OpenSSH's server would need an entry in
/etc/passwd and a package on every VM and in every image, and it leaves processes behind when its client disappears; a
command of the mesh ends with the connection that requested it, and all of them end with the first host.

Frames: one byte for the kind, four for the length, then the content. An idle side sends heartbeats.
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
LOST = 255  # exit status of OpenSSH's client when the connection is lost

# Before Python 3.11, which images may have, it is not the built-in TimeoutError.
TIMEOUT = asyncio.TimeoutError
CONNECTION_ERRORS = (OSError, ssl.SSLError, asyncio.IncompleteReadError, TIMEOUT)


class Peer:
    """A connection to another host of the run.

    :ivar why: how it ended, once it has: ``was silent for 15 s``.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer, self.why = reader, writer, ""
        self._heartbeat = asyncio.ensure_future(self._send_heartbeats())

    async def send(self, kind: int, body: bytes = b"") -> None:
        """Send one frame.

        :raises OSError: the connection is lost.
        """
        self.writer.write(struct.pack(">BI", kind, len(body)) + body)
        await self.writer.drain()

    async def frames(self) -> AsyncIterator[tuple[int, bytes]]:
        """Yield received frames, without heartbeats, until the connection ends or is silent for too long."""
        while not self.why:
            try:
                kind, length = struct.unpack(">BI", await asyncio.wait_for(self.reader.readexactly(5), SILENT_S))
                body = await asyncio.wait_for(self.reader.readexactly(length), SILENT_S) if length else b""
            except TIMEOUT:
                self.why = f"was silent for {SILENT_S:.0f} s"
            except CONNECTION_ERRORS:
                self.why = "closed the connection"
            else:
                if kind != BEAT:
                    yield kind, body

    async def until_gone(self) -> None:
        """Wait for the end of the connection."""
        async for _ in self.frames():
            pass

    def close(self) -> None:
        """Close the connection at once; data not yet sent is dropped."""
        self._heartbeat.cancel()
        if self.writer.transport is not None:
            self.writer.transport.abort()

    async def leave(self) -> None:
        """Close the connection after all data has been sent."""
        self._heartbeat.cancel()
        with contextlib.suppress(*CONNECTION_ERRORS):
            self.writer.close()
            await asyncio.wait_for(self.writer.wait_closed(), GRACE_S)

    async def _send_heartbeats(self) -> None:
        with contextlib.suppress(*CONNECTION_ERRORS):
            while not self.why:
                await asyncio.sleep(BEAT_S)
                await self.send(BEAT)


def context(folder: Path, purpose: int) -> ssl.SSLContext:
    """Return a TLS context for a run: only its own certificate is accepted."""
    tls = ssl.SSLContext(purpose)
    # Possession of the run's key identifies a member; addresses may change.
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(folder / "mesh/ca.pem")
    tls.load_cert_chain(folder / "mesh/cert.pem", folder / "mesh/key.pem")
    return tls


def port(folder: Path) -> int:
    """Return the port that the run's agents listen on."""
    return int((folder / "mesh/port").read_text())


async def connect(folder: Path, address: str, request: bytes) -> Peer:
    """Connect to the agent of a host and send a request.

    :raises OSError: it does not answer, or belongs to another run.
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
            # The whole group: children of the shell must end with it.
            os.killpg(process.pid, number)
        with contextlib.suppress(TIMEOUT):
            await asyncio.wait_for(process.wait(), GRACE_S)
            break
    # Children may outlive the leader of their group.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def main_status(folder: Path) -> str:
    """Return the exit status of this host's main task, or ``cancelled``; empty while it runs."""
    with contextlib.suppress(OSError):
        return (folder / "state/main.rc").read_text().strip()
    # The tasks of a reclaimed spot instance got TERM.
    return "143" if (folder / "state/spot").exists() else ""


def is_failure(status: str) -> bool:
    """Return True if a main task with this status has failed; cancelled and running ones have not."""
    return status not in ("", "0", "cancelled", "timeout")


class Agent:
    """Agent of a host: works for the first host of its run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = os.environ["STRATUS_ADDRESS"]
        self.watched, self.ended = asyncio.Event(), asyncio.Event()
        self.ending = False
        # With a main task on every host, the first host learns how each ended, and may end it.
        self.guards = "STRATUS_GUARD" in os.environ
        self.watcher: Peer | None = None
        self.running: set[asyncio.subprocess.Process] = set()
        self.probe_port = 0

    async def serve(self) -> int:
        """Serve until the first host releases this one; return the exit status."""
        tls = context(self.folder, ssl.PROTOCOL_TLS_SERVER)
        server = await asyncio.start_server(self._meet, self.address, port(self.folder), ssl=tls)
        # Launchers listen on ephemeral ports: an open one shows whether other hosts can reach them.
        probe = await asyncio.start_server(lambda reader, writer: writer.close(), self.address, 0)
        self.probe_port = probe.sockets[0].getsockname()[1]
        if self.guards:
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGTERM, lambda: loop.create_task(self._report_end()))
        (self.folder / "state/mesh.up").touch()
        timeout_s = float(os.environ["STRATUS_WAIT"]) + 60
        try:
            await asyncio.wait_for(self.watched.wait(), timeout_s)
        except TIMEOUT:
            why = f"the first VM did not connect in {timeout_s:.0f} s"
            print(f"stratus: {why}")
            if self.guards:
                self._end_main(why)
            return 1
        await self.ended.wait()
        server.close()
        return 0

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        with contextlib.suppress(*CONNECTION_ERRORS):
            async for kind, body in peer.frames():
                if kind == ASK and body[:1] == RUN:
                    await self._run(peer, body[1:].decode())
                elif kind == ASK and body[:1] == WATCH:
                    await self._be_watched(peer)
                break
        # After the frames: output that was sent must arrive before the connection closes.
        await peer.leave()

    async def _run(self, peer: Peer, command: str) -> None:
        """Run a shell command, and end it when the connection that requested it ends."""
        pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", command), stdin=null, stdout=pipe, stderr=pipe, start_new_session=True
        )
        self.running.add(process)
        # Requested while this host was being released.
        if self.ending:
            await end(process)
        work = asyncio.ensure_future(self._send_output(peer, process))
        # The connection is watched during the command: its end is that of the command.
        gone = asyncio.ensure_future(peer.until_gone())
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            await end(process)
        gone.cancel()
        self.running.discard(process)

    async def _send_output(self, peer: Peer, process: asyncio.subprocess.Process) -> None:
        """Send the output of a process, then its exit status."""

        async def pump(stream: asyncio.StreamReader | None, kind: int) -> None:
            assert stream is not None
            while chunk := await stream.read(1 << 16):
                await peer.send(kind, chunk)

        with contextlib.suppress(*CONNECTION_ERRORS):
            await asyncio.gather(pump(process.stdout, OUT), pump(process.stderr, ERR))
            status = await process.wait()
            await peer.send(EXIT, str(status if status >= 0 else 128 - status).encode())

    async def _be_watched(self, peer: Peer) -> None:
        """Report this host to the first one, and end all processes when it releases this host."""
        self.watched.set()
        self.watcher = peer
        facts = {"slots": int(os.environ["STRATUS_SLOTS"]), "interface": interface_of(self.address)}
        problem = ""
        await peer.send(ANSWER, json.dumps({**facts, "probe": self.probe_port}).encode())
        async for kind, body in peer.frames():
            if kind == ASK:
                await peer.send(ANSWER, json.dumps(await unreachable(json.loads(body))).encode())
            elif kind == BYE:
                peer.why = "is done"
                problem = body.decode()
        if self.guards and not self.ended.is_set() and (peer.why != "is done" or problem):
            self._end_main(problem or f"lost the first host: it {peer.why}")
        print(f"stratus: the first VM {peer.why}: this VM ends its processes")
        self.ending = True
        await asyncio.gather(*(end(process) for process in self.running))
        self.ended.set()

    async def _report_end(self) -> None:
        """Report how the main task of this host ended; this agent ends with it."""
        with contextlib.suppress(TIMEOUT):
            # A task may fail before the first host connects; cancel.sh allows five seconds.
            await asyncio.wait_for(self.watched.wait(), GRACE_S - 1)
        if self.watcher:
            with contextlib.suppress(*CONNECTION_ERRORS):
                await self.watcher.send(EXIT, main_status(self.folder).encode())
            await self.watcher.leave()
        self.watched.set()
        self.ended.set()

    def _end_main(self, why: str) -> None:
        """End the main task of this host, and with it this agent."""
        script = str(self.folder / "bin/end_main.sh")
        subprocess.Popen(["sh", script, str(self.folder), why], start_new_session=True)


async def unreachable(targets: dict[str, list[object]]) -> dict[str, str]:
    """Try to connect to other hosts.

    :param targets: name -> address and port.
    :return: name -> reason, of those that cannot be reached.
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

    results = await asyncio.gather(*(attempt(name, str(a), int(str(p))) for name, (a, p) in targets.items()))
    return {name: why for name, why in results if why}


def parse_ssh_args(args: list[str]) -> tuple[str, str]:
    """Return address and command of an OpenSSH command line; its options are ignored.

    https://man.openbsd.org/ssh: options may come before and after the destination.
    """
    rest, destination = list(args), ""
    while rest:
        word = rest.pop(0)
        if word.startswith("-") and len(word) > 1:
            # In a group of letters such as -xp, the last one takes the next argument, unless its value is attached.
            if word[-1] in "BbcDEeFIiJLlmOopQRSWw" and len(word.lstrip("-")) == 1 and rest:
                rest.pop(0)
        elif not destination:
            destination = word.rpartition("@")[2]
        else:
            return destination, " ".join([word, *rest])
    return destination, ""


async def run_remote(folder: Path, args: list[str]) -> int:
    """Run a command on another host and write its output here; return its exit status."""
    address, command = parse_ssh_args(args)
    if not command:
        print("ssh: the mesh of a run needs an address and a command", file=sys.stderr)
        return LOST
    try:
        peer = await connect(folder, address, RUN + command.encode())
    except OSError as error:
        print(f"ssh: {address}: {error}", file=sys.stderr)
        return LOST
    status = await _forward_output(peer)
    peer.close()
    if status is None:
        print(f"ssh: {address} {peer.why}", file=sys.stderr)
    return LOST if status is None else status


async def _forward_output(peer: Peer) -> int | None:
    """Write received output to its stream; return the exit status, None if the connection ends before."""
    streams = {OUT: sys.stdout.buffer, ERR: sys.stderr.buffer}
    loop = asyncio.get_running_loop()
    async for kind, body in peer.frames():
        if kind == EXIT:
            return int(body)
        if stream := streams.get(kind):
            # In a thread: a slow reader must not delay the heartbeats.
            await loop.run_in_executor(None, stream.write, body)
            await loop.run_in_executor(None, stream.flush)
    return None


async def main(mode: str, folder: Path, args: list[str]) -> int:
    """Run one mode of the program; return the exit status."""
    return await (Agent(folder).serve() if mode == "serve" else run_remote(folder, args))


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])))
