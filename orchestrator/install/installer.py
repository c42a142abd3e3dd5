"""Carries out steps on hosts: one script and one round trip per host, every host from the moment its own SSH is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from orchestrator.core import remote_scripts
from orchestrator.core.errors import HostError
from orchestrator.core.events import Event, EventHandler, State, ignore_event
from orchestrator.core.host import Host
from orchestrator.install.steps import InstallPlan
from orchestrator.install.upload import stream_tar

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient

# A host that says nothing for this long, not even the heartbeat it sends every five seconds, is gone.
SILENCE_S = 30.0
TAIL_LINES = 12
# Of a host's plain output no more than a line every so many seconds is told; what its steps say on purpose always is.
PROGRESS_INTERVAL_S = 0.2


@dataclass(frozen=True)
class StepResult:
    """What one step did on one host.

    :param state: ``done`` (it changed something), ``unchanged`` (there was nothing to do) or ``failed``.
    :param seconds: how long it took there.
    """

    name: str
    state: State
    seconds: float


@dataclass(frozen=True)
class HostInstall:
    """What all steps did on one host.

    :param image: the container image that the job runs in there: its id, then name@digest where a registry has it.
    """

    host: str
    steps: tuple[StepResult, ...]
    seconds: float
    image: str = ""

    @property
    def changed(self) -> int:
        """How many steps changed something."""
        return sum(step.state == "done" for step in self.steps)


def image_mismatch(installs: Sequence[HostInstall]) -> str:
    """Say so when hosts pulled different images; empty when all is well. A built image is each host's own."""
    pulled = {one.image for one in installs if "@" in one.image}
    if len(pulled) < 2:
        return ""
    # A tag that moved between two installs, say.
    return "not the same image on all hosts: name it by digest (name@sha256:...) in job.ini, then install again"


@dataclass
class OutputParser:
    """Understands one host's output: protocol lines become events, all others go to its log."""

    host: str
    on_event: EventHandler
    write_log: Callable[[str], None]
    results: list[StepResult] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)
    fix: str = ""
    image: str = ""
    progress_at: float = float("-inf")

    def read_line(self, line: str) -> None:
        """Take one line of output."""
        if line.startswith("@@step "):
            self._read_step(*line.split()[1:4])
        elif line.startswith("@@fix "):
            self.fix = line.partition(" ")[2]
        elif line.startswith("@@image "):
            self.image = line.partition(" ")[2]
            self.write_log(f"image {self.image}")
        elif line.startswith("@@say "):
            self._log_progress(line.partition(" ")[2])
        elif not line.startswith("@@"):
            self.write_log(line)
            self.tail = [*self.tail[1 - TAIL_LINES :], line]
            if time.monotonic() - self.progress_at > PROGRESS_INTERVAL_S:
                self._emit_progress(line)

    def _log_progress(self, text: str) -> None:
        self.write_log(text)
        self._emit_progress(text)

    def _emit_progress(self, text: str) -> None:
        self.progress_at = time.monotonic()
        self.on_event(Event(self.host, "", "progress", text=text))

    def _read_step(self, name: str, state: str, milliseconds: str) -> None:
        seconds = int(milliseconds) / 1000
        if state == "start":
            self.tail, self.fix = [], ""
            self.on_event(Event(self.host, name, "start"))
            return
        kind: State = "done" if state == "done" else "unchanged" if state == "unchanged" else "failed"
        self.results.append(StepResult(name, kind, seconds))
        self.on_event(Event(self.host, name, kind, seconds))


@dataclass(frozen=True)
class Installer:
    """Carries out one plan on any host it is called with, in one round trip; safe to use from many threads.

    :param logs: folder that gets one full log per host.
    :param deadline: seconds after which a host's install counts as failed.
    """

    ssh: SshClient
    plan: InstallPlan
    log_folder: Path
    on_event: EventHandler = ignore_event
    timeout_s: float = 1800.0

    @cached_property
    def _bundle(self) -> bytes:
        tools = remote_scripts.scripts(remote_scripts.INSTALL_SCRIPTS)
        return remote_scripts.bundle(tools | {"plan": self.plan.plan_file} | self.plan.files)

    def __call__(self, host: Host) -> HostInstall:
        """Install on one host.

        :raises HostError: naming the step that failed and the last it said.
        """
        began = time.monotonic()
        self.log_folder.mkdir(parents=True, exist_ok=True)
        log = self.log_folder / f"{host.name}.install.log"
        with log.open("a", encoding="utf-8") as file:
            reader = OutputParser(host.name, self.on_event, lambda text: _write_line(file, text))
            status = self.ssh.stream(
                host,
                remote_scripts.bundle_command("install.sh"),
                stdin=self._bundle,
                respond=self._respond,
                on_line=reader.read_line,
                silence_timeout_s=SILENCE_S,
                timeout_s=self.timeout_s,
            )
        if status != 0:
            raise _install_error(host, reader, status, log)
        return HostInstall(host.name, tuple(reader.results), time.monotonic() - began, reader.image)

    def _respond(self, text: str) -> Iterator[bytes] | None:
        """Return the bytes of the parcel, or of the password, that a host asks for."""
        if not text.startswith("@@want "):
            return None
        asked = text.removeprefix("@@want ")
        return self._password() if asked == "login" else stream_tar(self.plan.uploads[asked])

    def _password(self) -> Iterator[bytes]:
        assert self.plan.login, "a host asks for a login that the plan does not name"
        secret = self.plan.login.password().reveal().encode()
        yield b"%d\n" % len(secret) + secret


def _write_line(file: TextIO, text: str) -> None:
    file.write(text + "\n")
    file.flush()


def _install_error(host: Host, reader: OutputParser, status: int, log: Path) -> HostError:
    """Say which step failed, and what it last said."""
    step = next((result.name for result in reader.results if result.state == "failed"), "install")
    words = next((line.strip() for line in reversed(reader.tail) if line.strip()), f"exit {status}")
    reader.on_event(Event(host.name, step, "failed", text=words))
    fix = f"{reader.fix}   (full log: {log})" if reader.fix else f"full log: {log}"
    return HostError(f"{step} failed: {words}", where=host.name, fix=fix)


@dataclass(frozen=True)
class InstallReport:
    """What an install did.

    :param failed: name of every host that failed -> why.
    """

    hosts: tuple[HostInstall, ...]
    failed: Mapping[str, Exception]
    seconds: float

    @property
    def changed(self) -> int:
        """How many steps changed something, over all hosts."""
        return sum(host.changed for host in self.hosts)
