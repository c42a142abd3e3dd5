"""SSH servers on loopback addresses, and faults of the network between them and a client."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import asyncssh

from orchestrator.core.host import Host
from orchestrator.ssh import quote

SCRIPT = Path(__file__).with_name("ssh_server.py")
ADDRESS = "127.77.241.{}"

PATIENCE_S = 9.0
"""What ends by its deadline of a second or so ends before this on a busy computer too; what does not, hangs longer."""


def python_command(program: str) -> str:
    """Return the shell command that runs a Python program."""
    return quote(sys.executable, "-c", program)


class Lab:
    """Servers in one process, all with the same host key, each on an address of its own.

    :param addresses: of the servers; loopback addresses when empty.
    """

    def __init__(self, folder: Path, *, hosts: int = 1, first: int = 1, addresses: Sequence[str] = ()) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.key_file, public = self.new_key("login")
        self.host_key_file, self.host_key = self.new_key("host")
        (folder / "authorized").write_text(public + "\n")
        self.homes = [folder / f"home{number}" for number in range(hosts)]
        self.addresses = [*addresses] or [ADDRESS.format(first + number) for number in range(hosts)]
        self.ports = [0] * hosts
        for home in self.homes:
            home.mkdir()
        self.start()

    def new_key(self, name: str) -> tuple[Path, str]:
        """Generate a key; return the file of the private key, and the public key."""
        key = asyncssh.generate_private_key("ssh-ed25519")
        path = self.folder / f"{name}.key"
        key.write_private_key(path)
        path.chmod(0o600)
        return path, key.export_public_key().decode().strip()

    def start(self) -> None:
        """Start the servers, on their previous ports if there are any."""
        servers = [
            {"address": address, "port": port, "home": str(home), "log": str(self.log(number))}
            for number, (address, port, home) in enumerate(zip(self.addresses, self.ports, self.homes, strict=True))
        ]
        common = {"host_key": str(self.host_key_file), "authorized": str(self.folder / "authorized"), "user": "dev"}
        argv = [sys.executable, str(SCRIPT), json.dumps({"servers": servers, **common})]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.ports = json.loads(self.process.stdout.readline())

    def stop(self) -> None:
        """Kill the servers."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze the servers: the kernel still accepts connections and bytes, but no server responds."""
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)

    def host(self, number: int = 0, **changes: Any) -> Host:
        """Return the record of one of the servers."""
        fields: dict[str, Any] = {
            "name": f"ml-{number}",
            "address": self.addresses[number],
            "private_address": self.addresses[number],
            "port": self.ports[number],
            "user": "dev",
            "key_file": self.key_file,
            "host_key": self.host_key,
            "identity": f"i-0{number}",
        }
        return Host(**{**fields, **changes})

    def log(self, number: int = 0) -> Path:
        """Return the file that a server logs its events to."""
        return self.folder / f"log{number}"

    def events(self, number: int = 0) -> list[str]:
        """Return the events of a server so far."""
        return self.log(number).read_text().splitlines() if self.log(number).exists() else []

    def count(self, event: str, number: int = 0) -> int:
        """Return how often an event was logged."""
        return sum(line.split(" ", 1)[0] == event for line in self.events(number))


class Listener:
    """Minimal TCP server: ``serve`` is called with each connection, in a thread of its own."""

    def __init__(self, serve: Callable[[socket.socket], None], address: str = ADDRESS.format(200)) -> None:
        self.serve = serve
        self.socket = socket.create_server((address, 0), backlog=64)
        self.address, self.port = self.socket.getsockname()
        self.accepted: list[socket.socket] = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        """Accept connections until closed."""
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                self.accepted.append(connection)
                threading.Thread(target=self.attempt, args=(connection,), daemon=True).start()

    def attempt(self, connection: socket.socket) -> None:
        """Serve one connection; an error ends only that one."""
        with contextlib.suppress(OSError):
            self.serve(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for open_socket in [self.socket, *self.accepted]:
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
            open_socket.close()


class Wire(Listener):
    """A proxy to a server that can be cut: existing connections become silent, new ones work."""

    def __init__(self, target: Host) -> None:
        self.target = target
        self.cut_at = 0
        super().__init__(self.forward)

    def cut(self) -> None:
        """Make all existing connections silent, without closing either side."""
        self.cut_at = len(self.accepted)

    def forward(self, near: socket.socket) -> None:
        """Forward both ways until cut."""
        number = len(self.accepted)
        far = socket.create_connection((self.target.address, self.target.port), timeout=10)
        far.settimeout(None)
        threading.Thread(target=self.pump, args=(near, far, number), daemon=True).start()
        self.pump(far, near, number)

    def pump(self, source: socket.socket, sink: socket.socket, number: int) -> None:
        """Forward one way; data over a cut connection is dropped."""
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if number > self.cut_at:
                    sink.sendall(data)
            if number > self.cut_at:
                sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def dropping() -> Iterator[tuple[str, int]]:
    """Yield an address at which packets are dropped: that of a listener with a full queue."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server((ADDRESS.format(201), 0), backlog=0))
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(full.getsockname())
        yield full.getsockname()


def refusing() -> tuple[str, int]:
    """Return an address at which nothing listens."""
    with socket.create_server((ADDRESS.format(202), 0)) as brief:
        address: tuple[str, int] = brief.getsockname()
    return address
