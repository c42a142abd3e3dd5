"""Run install steps on hosts: one script and one round trip per host, independently of all other hosts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from orchestrator.core import remote_scripts
from orchestrator.core.clock import Clock
from orchestrator.core.errors import HostError
from orchestrator.core.events import Event, EventHandler, State, ignore_event
from orchestrator.core.host import Host
from orchestrator.core.next_step import Message, NextStep
from orchestrator.install import image_share
from orchestrator.install.fan_out import FanOutOptions, Tree
from orchestrator.install.image_share import ImageShare
from orchestrator.install.parcel import Parcel, change_files
from orchestrator.install.requests import HostRequests
from orchestrator.install.steps import InstallPlan

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient

# install.sh sends a heartbeat every five seconds; six missed ones mean that the host, or the network, is gone.
SILENCE_TIMEOUT_S = 30.0
MAX_CHARACTERS = 64 << 20
"""Output of one install: a host that prints without end must not fill this computer's disk."""

MAX_STEPS = 1000
TAIL_LINES = 12
# From the beginning of a word only: from every letter, a long word would take quadratic time.
_BUNDLE = re.compile(r"(?<!\S)\S*/stratus/\.bundle\.\w+/")
HOSTS_SHOWN = 6
# pip and docker print hundreds of lines a second: of plain output, at most one line per interval becomes an event.
PROGRESS_INTERVAL_S = 0.2

INSTALL = NextStep("InstallDeps")
NO_TIMER = "no automatic shutdown is armed: it runs until it is terminated; an extension arms it"
OTHER_INSTALL = "another install"
"""Phase of a host on which an install that began earlier is waited for."""


@dataclass(frozen=True)
class StepResult:
    """Result of one step on one host.

    :param state: ``done`` (it changed something), ``unchanged`` (nothing to do) or ``failed``.
    :param seconds: its duration there.
    """

    name: str
    state: State
    seconds: float


@dataclass(frozen=True)
class HostInstall:
    """Result of all steps on one host.

    :param image: the container image that the job runs in there: its id, then name@digest where a registry has it.
    :param missing: names of the steps that were only checked, and have to be applied.
    """

    host: str
    steps: tuple[StepResult, ...]
    seconds: float
    image: str = ""
    missing: tuple[str, ...] = ()

    @property
    def changed(self) -> int:
        """Number of steps that changed something."""
        return sum(step.state == "done" for step in self.steps)


@dataclass(frozen=True)
class InstallReport:
    """Result of an install on several hosts.

    :param failed: name of every host that failed -> why.
    :param job: the job as it was named, for hints; empty for the one in the settings.
    """

    hosts: tuple[HostInstall, ...]
    failed: Mapping[str, Exception]
    seconds: float
    job: str = ""

    @property
    def changed(self) -> int:
        """Number of steps that changed something, on all hosts."""
        return sum(host.changed for host in self.hosts)


def image_mismatch(installs: Sequence[HostInstall]) -> str:
    """Return a warning if hosts pulled different images; empty otherwise."""
    # An image without a digest was built on its host: it differs from the others' by its time stamps alone.
    pulled = {install.image for install in installs if "@" in install.image}
    if len(pulled) < 2:
        return ""
    # The tag moved in the registry between two pulls.
    return "not the same image on all VMs: name it by digest (name@sha256:...) in job.ini, then install again"


def installs_first(job: str, missing: Mapping[str, Sequence[str]]) -> str:
    """Return the announcement of an install that a run begins with.

    :param missing: host -> names of the steps that it lacks.
    """
    steps = dict.fromkeys(name for names in missing.values() for name in names)
    return f"{', '.join(steps)} of {job} on {_shown(list(missing))} first: not installed, or changed since"


def installed(job: str, hosts: Sequence[str]) -> str:
    """Return that the install which a run began with has ended well."""
    return f"{job} installed on {_shown(hosts)}"


def _shown(hosts: Sequence[str]) -> str:
    return " ".join(hosts) if len(hosts) <= HOSTS_SHOWN else f"{len(hosts)} VMs"


def only_waiting(on_event: EventHandler) -> EventHandler:
    """Return a handler that passes on the wait for another install, and the upload of code, without their results."""

    def handle(event: Event) -> None:
        if event.phase in ("", "code", OTHER_INSTALL) and event.state in ("start", "progress"):
            on_event(event)

    return handle


def _without_bundle(line: str) -> str:
    """Return a line with files of the bundle, which unpack.sh put into a folder of a random name, by their names."""
    return _BUNDLE.sub("", line)


@dataclass
class OutputParser:
    """Parser of one host's output: protocol lines become events, all others go to its log.

    :param results: steps that have ended.
    :param missing: names of steps that were only checked, and have to be applied.
    :param tail: last lines of the present step.
    :param fix: advice of the present step.
    :param progress_at: time of the last progress event.
    """

    host: str
    clock: Clock
    on_event: EventHandler
    write_log: Callable[[str], None]
    results: list[StepResult] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)
    fix: str = ""
    image: str = ""
    progress_at: float = float("-inf")
    size: int = 0

    def read_line(self, line: str) -> None:
        """Read one line of output.

        :raises HostError: there is too much of it.
        """
        self.size += len(line) + 1
        if self.size > MAX_CHARACTERS or len(self.results) + len(self.missing) > MAX_STEPS:
            limit = f"{MAX_CHARACTERS >> 20} MiB of output" if self.size > MAX_CHARACTERS else f"{MAX_STEPS} steps"
            raise HostError(f"more than {limit}", where=self.host)
        mark, _, value = line.partition(" ")
        if mark == "@@step":
            self._read_step(*[*value.split(), "", "", ""][:3])
        elif mark == "@@fix":
            self.fix = value
        elif mark == "@@image":
            self.image = value
            self.write_log(f"image {value}")
        elif mark == "@@say":
            self.write_log(value)
            self._emit_progress(value)
        elif mark == "@@timer":
            self.on_event(Event("", "timer", "warning", text=f"{self.host}: {NO_TIMER}"))
        elif mark == "@@other":
            self._read_other_install(value)
        elif not line.startswith("@@"):
            self._read_plain_line(line)

    def _read_other_install(self, line: str) -> None:
        """Show a line of an install that began earlier; its results are not this one's, nor are its requests."""
        mark, _, value = line.partition(" ")
        if not line:
            self.on_event(Event(self.host, OTHER_INSTALL, "start"))
        elif mark == "@@say" or (mark == "@@step" and value.split()[1:2] == ["start"]):
            self._emit_progress(value.removesuffix(" start 0"))
        elif not line.startswith("@@"):
            self.write_log(line)
            self._emit_progress_now_and_then(_without_bundle(line))

    def _read_plain_line(self, line: str) -> None:
        self.write_log(line)
        shown = _without_bundle(line)
        self.tail = [*self.tail[1 - TAIL_LINES :], shown]
        self._emit_progress_now_and_then(shown)

    def _emit_progress_now_and_then(self, line: str) -> None:
        if self.clock.monotonic() - self.progress_at > PROGRESS_INTERVAL_S:
            self._emit_progress(line)

    def _emit_progress(self, text: str) -> None:
        self.progress_at = self.clock.monotonic()
        self.on_event(Event(self.host, "", "progress", text=text))

    def _read_step(self, name: str, state: str, milliseconds: str) -> None:
        # A step's own output may begin like that.
        if not (milliseconds.isascii() and milliseconds.isdecimal() and len(milliseconds) < 16):
            return
        if state == "start":
            # Neither may be reported with the failure of a later step.
            self.tail, self.fix = [], ""
            self.on_event(Event(self.host, name, "start"))
            return
        if state == "missing":
            self.missing.append(name)
            return
        seconds = int(milliseconds) / 1000
        outcome: State = "done" if state == "done" else "unchanged" if state == "unchanged" else "failed"
        self.results.append(StepResult(name, outcome, seconds))
        self.on_event(Event(self.host, name, outcome, seconds))


@dataclass(frozen=True)
class Installer:
    """Callable that carries out one plan on a host, in one round trip; safe to use from many threads.

    :param log_folder: folder that gets one full log per host.
    :param timeout_s: seconds after which a host's install counts as failed.
    :param again: installs the same job again.
    :param host_count: hosts on which it is carried out.
    :param fan_out: when they pass uploads on to each other.
    """

    ssh: SshClient
    plan: InstallPlan
    log_folder: Path
    on_event: EventHandler = ignore_event
    timeout_s: float = 1800.0
    again: NextStep = INSTALL
    host_count: int = 1
    fan_out: FanOutOptions = field(default_factory=FanOutOptions)
    _parcels: dict[str, Parcel] = field(init=False, repr=False, compare=False)
    _trees: dict[str, Tree] = field(init=False, repr=False, compare=False)
    _share: ImageShare | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Now, and not by the first of many threads: all hosts share them.
        uploads, clock, options = self.plan.uploads, self.ssh.clock, self.fan_out
        parcels = {name: Parcel(upload, self.log_folder) for name, upload in uploads.items()}
        trees = {name: Tree(name, self.host_count, options, clock, self.on_event) for name in uploads}
        object.__setattr__(self, "_parcels", parcels)
        object.__setattr__(self, "_trees", trees)
        object.__setattr__(self, "_share", self._image_share())

    def _image_share(self) -> ImageShare | None:
        """Return who builds the image, if several hosts would build the same."""
        builds = any(step.script == "image.sh" and step.args[:1] == ("build",) for step in self.plan.steps)
        if not builds or self.host_count < self.fan_out.min_hosts:
            return None
        tree = Tree(image_share.NAME, self.host_count, self.fan_out, self.ssh.clock, self.on_event)
        return ImageShare(tree, self._parcels, self._trees, self.log_folder, self.timeout_s)

    @property
    def files(self) -> dict[str, bytes]:
        """Files of ``install.sh``."""
        steps = frozenset(step.script for step in self.plan.steps)
        scripts = remote_scripts.scripts(remote_scripts.install_scripts(steps))
        share = {"share": b""} if self._share else {}
        return scripts | {"plan": self.plan.plan_file} | self.plan.files | share

    @cached_property
    def changes(self) -> bytes:
        """Part of the bundle with what edits have changed since the last uploads."""
        uploads = self.plan.uploads.values()
        return remote_scripts.bundle_copies(file for upload in uploads for file in change_files(upload))

    @cached_property
    def _bundle(self) -> bytes:
        # Packed once for all hosts: several threads may compute it, with the same result.
        return remote_scripts.bundle(self.files, self.changes)

    def __call__(self, host: Host) -> HostInstall:
        """Install on one host.

        :raises HostError: with the step that failed and the last line of its output.
        """
        return self.logged(host, self._run)

    def logged(self, host: Host, run: Callable[[Host, OutputParser], int]) -> HostInstall:
        """Install on one host by running the script with an output parser, which returns the exit status.

        :raises HostError: with the step that failed and the last line of its output.
        """
        clock = self.ssh.clock
        started_at = clock.monotonic()
        self.log_folder.mkdir(parents=True, exist_ok=True)
        log = self.log_folder / f"{host.name}.install.log"
        # Appended: a second install must not erase why the first one failed.
        with log.open("a", encoding="utf-8") as file:
            parser = OutputParser(host.name, clock, self.on_event, lambda line: _write_line(file, line))
            try:
                status = run(host, parser)
            except BaseException:
                self._leave(host)
                raise
            finally:
                if self._share:
                    self._share.leave(host)
        if status != 0:
            self._leave(host)
            raise _install_error(host, parser, status, self._worded(parser.fix), log)
        seconds = clock.monotonic() - started_at
        return HostInstall(host.name, tuple(parser.results), seconds, parser.image, tuple(parser.missing))

    def _leave(self, host: Host) -> None:
        """Let no other host get data from one whose install has failed."""
        for tree in list(self._trees.values()):
            tree.leave(host)

    def _worded(self, advice: str) -> Message:
        """Return a host's advice with the verbs in it as hints, which are worded where they are printed."""
        parts = re.split(r"\b(InstallDeps|LaunchInstances|TerminateAll)\(\)", advice)
        return Message(
            tuple(
                part if not number % 2 else self.again if part == self.again.verb else NextStep(part)
                for number, part in enumerate(parts)
            )
        )

    def requests(self, host: Host) -> HostRequests:
        """Return what answers the requests of one host."""
        login, clock = self.plan.login, self.ssh.clock
        return HostRequests(host, self._parcels, self._trees, login, clock, self.on_event, self._share)

    def _run(self, host: Host, parser: OutputParser) -> int:
        return self.ssh.stream(
            host,
            remote_scripts.bundle_command("install.sh"),
            stdin=self._bundle,
            respond=self.requests(host).respond,
            on_line=parser.read_line,
            silence_timeout_s=SILENCE_TIMEOUT_S,
            timeout_s=self.timeout_s,
        )


def _write_line(file: TextIO, line: str) -> None:
    file.write(line + "\n")
    # Users read the log of an install that hangs.
    file.flush()


def _install_error(host: Host, parser: OutputParser, status: int, advice: Message, log: Path) -> HostError:
    """Return the error for the step that failed, with the line that says why."""
    step = next((result.name for result in parser.results if result.state == "failed"), "install")
    reason = _reason(parser) or f"exit {status}"
    parser.on_event(Event(host.name, step, "failed", text=reason))
    fix = advice + f"   (full log: {log})" if advice else f"full log: {log}"
    return HostError(f"{step} failed: {reason}", where=host.name, fix=fix)


def _reason(parser: OutputParser) -> str:
    """Return the line that says why a step failed; empty without any output."""
    lines = [line.strip() for line in reversed(parser.tail) if line.strip()]
    # A step with advice ends with its own message; pip alone prints hints and notices after the error.
    errors = [] if parser.fix else [line for line in lines if re.match(r"(ERROR|error|fatal)\b", line)]
    return next(iter([*errors, *lines]), "")
