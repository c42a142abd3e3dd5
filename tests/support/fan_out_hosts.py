"""Hosts that receive one upload from this computer and from each other: real processes, without SSH."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.core import remote_scripts
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.events import Event
from orchestrator.install.fan_out import FanOutOptions, Tree
from orchestrator.install.parcel import Parcel
from orchestrator.install.requests import HostRequests
from orchestrator.install.upload import Upload
from tests.support.script_host import HOST, TIMEOUT_S

LOW = FanOutOptions(min_bytes=1, min_hosts=2)
SCRIPTS = ("parcel.py", "pieces.py", "peers.py")


@dataclass
class Receiver:
    """One host.

    :param on_line: called with each of its requests, before it is answered.
    :ivar sent: bytes that this computer sent to it.
    """

    name: str
    folder: Path
    on_line: Callable[[str], None] = lambda line: None
    sent: int = 0
    lines: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.scripts = self.folder / "bundle"
        self.scripts.mkdir(parents=True, exist_ok=True)
        (self.folder / "state").mkdir(exist_ok=True)
        for name in SCRIPTS:
            (self.scripts / name).write_text(remote_scripts.text(name))

    @property
    def dest(self) -> Path:
        """Folder of the upload."""
        return self.folder / "data"

    def answer(self, process: subprocess.Popen[bytes], answers: queue.SimpleQueue[Iterable[bytes]]) -> None:
        """Write answers as the host accepts them."""
        assert process.stdin
        try:
            while process.poll() is None:
                for data in answers.get(timeout=TIMEOUT_S):
                    process.stdin.write(data)
                    process.stdin.flush()
                    self.sent += len(data)
        # It has ended.
        except (OSError, ValueError, queue.Empty):
            pass

    def lie(self) -> None:
        """Send other hosts wrong bytes from now on."""
        script = self.scripts / "peers.py"
        script.write_text(
            script.read_text().replace("self.store.read(number)", "bytes(self.store.pieces[number].size)")
        )

    def kill(self) -> None:
        """Kill the receiving process and the one that serves others, as a loss of power does."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        for path in Path("/proc").glob("[0-9]*"):
            if self._is_server(path):
                os.kill(int(path.name), signal.SIGKILL)

    def is_serving(self) -> bool:
        """Return True while a process serves other hosts."""
        return any(map(self._is_server, Path("/proc").glob("[0-9]*")))

    def _is_server(self, path: Path) -> bool:
        try:
            return str(self.scripts / "parcel.py").encode() in (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return False


@dataclass
class FanOut:
    """Several hosts and one upload.

    :ivar events: what the tree reported.
    """

    folder: Path
    upload: Upload
    options: FanOutOptions = LOW
    events: list[Event] = field(default_factory=list)
    receivers: list[Receiver] = field(default_factory=list)

    def __enter__(self) -> FanOut:
        return self

    def __exit__(self, *_: object) -> None:
        for receiver in self.receivers:
            receiver.kill()

    def host(self, name: str, on_line: Callable[[str], None] = lambda line: None) -> Receiver:
        """Return a host."""
        return Receiver(name, self.folder / name, on_line)

    def send(self, *receivers: Receiver) -> dict[str, int]:
        """Send to all hosts, each beginning when the one before has asked where to get its data; return statuses."""
        self.receivers += receivers
        tree = Tree(self.upload.name, len(receivers), self.options, REAL_CLOCK, self.events.append)
        parcel = Parcel(self.upload, self.folder)
        statuses: dict[str, int] = {}
        threads = []
        for receiver in receivers:
            joined = threading.Event()
            arguments = (receiver, tree, parcel, statuses, joined)
            threads.append(threading.Thread(target=self._receive, args=arguments, daemon=True))
            threads[-1].start()
            assert joined.wait(TIMEOUT_S)
        for thread in threads:
            thread.join(TIMEOUT_S)
        return statuses

    def _receive(
        self, receiver: Receiver, tree: Tree, parcel: Parcel, statuses: dict[str, int], joined: threading.Event
    ) -> None:
        host = replace(HOST, name=receiver.name)
        requests = HostRequests(host, {tree.name: parcel}, {tree.name: tree}, None, REAL_CLOCK, self.events.append)
        env = {"STRATUS_ROOT": str(receiver.folder), "STRATUS_BUNDLE": str(receiver.scripts)}
        script = str(receiver.scripts / "parcel.py")
        command = [sys.executable, "-I", "-S", "-X", "utf8", script, tree.name, str(receiver.dest)]
        with subprocess.Popen(command, env=env, stdin=-1, stdout=-1, stderr=-2, start_new_session=True) as process:
            receiver.process = process
            assert process.stdout
            answers: queue.SimpleQueue[Iterable[bytes]] = queue.SimpleQueue()
            threading.Thread(target=receiver.answer, args=(process, answers), daemon=True).start()
            for raw in process.stdout:
                line = raw.decode().rstrip("\n")
                receiver.lines.append(line)
                receiver.on_line(line)
                answers.put(requests.respond(line) or ())
                if line.startswith("@@lacks"):
                    joined.set()
            joined.set()
        if process.returncode:
            tree.leave(host)
        statuses[receiver.name] = process.returncode


def content(folder: Path) -> dict[str, bytes]:
    """Return name -> content of all files in a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
