"""SSH servers for tests, in a process of their own so that they can be frozen, killed and restarted.

    python ssh_server.py '{"servers": [...], "host_key": PATH, "authorized": PATH, "user": "dev"}'

Every server is {"address", "port", "home", "log"}. Once all listen, one line of JSON on standard output holds their
ports. A server's log gets one line per event: ``connect``, ``login NAME``, ``exec COMMAND``, ``tunnel PORT``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh


class Server(asyncssh.SSHServer):
    """Logs events, and accepts one user with one key."""

    def __init__(self, log: Path, user: str, authorized: str) -> None:
        self.log = log
        self.user = user
        self.authorized = authorized

    def log_event(self, event: str) -> None:
        with self.log.open("a", encoding="utf-8") as file:
            file.write(event + "\n")

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.conn = conn
        conn.set_extra_info(server=self)
        self.log_event("connect")

    def begin_auth(self, username: str) -> bool:
        self.log_event(f"login {username}")
        if username == self.user:
            self.conn.set_authorized_keys(self.authorized)
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def connection_requested(self, _host: str, dest_port: int, _from: str, _from_port: int) -> bool:
        self.log_event(f"tunnel {dest_port}")
        return True


async def forward(source: Any, sink: Any, end: Callable[[], None]) -> None:
    """Forward bytes from a reader to a writer until either is closed."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    end()


async def run_shell(process: asyncssh.SSHServerProcess[bytes], shell: asyncio.subprocess.Process) -> None:
    """Behave as sshd: send the exit status when the shell ends, but close only when no process has its output open."""
    assert shell.stdin is not None
    feeding = asyncio.create_task(forward(process.stdin, shell.stdin, shell.stdin.close))
    outputs = asyncio.gather(
        forward(shell.stdout, process.stdout, lambda: None), forward(shell.stderr, process.stderr, lambda: None)
    )
    # asyncio's own wait() also waits until the pipes are closed, which a child of the shell may keep open.
    while (status := shell.returncode) is None:
        await asyncio.sleep(0.005)
    if status >= 0:
        process.channel._send_request(b"exit-status", asyncssh.packet.UInt32(status))
    await outputs
    feeding.cancel()
    if status < 0:
        process.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))
    else:
        process.close()


async def serve(facts: dict[str, Any], common: dict[str, Any]) -> int:
    """Start one server and return its port."""
    home, log = Path(facts["home"]), Path(facts["log"])

    async def handle(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.get_extra_info("connection").get_extra_info("server").log_event(f"exec {process.command}")
        pipe = asyncio.subprocess.PIPE
        shell = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            process.command or "",
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            cwd=home,
            start_new_session=True,
            env={"PATH": f"{home}/bin:{os.environ['PATH']}", "HOME": str(home)},
        )
        await run_shell(process, shell)

    acceptor = await asyncssh.listen(
        facts["address"],
        facts["port"],
        server_host_keys=[common["host_key"]],
        server_factory=lambda: Server(log, common["user"], common["authorized"]),
        process_factory=handle,
        encoding=None,
    )
    return int(acceptor.get_port())


async def main(config: dict[str, Any]) -> None:
    """Serve until killed."""
    ports = [await serve(facts, config) for facts in config["servers"]]
    print(json.dumps(ports), flush=True)
    await asyncio.Event().wait()


asyncio.run(main(json.loads(sys.argv[1])))
