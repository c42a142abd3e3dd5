"""One cell of the fault matrix, carried out: the real command line against a cloud in memory, in virtual time."""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localcloud.core.clock import VirtualClock
from localcloud.scenarios import scenario
from localcloud.simulation.cloud import ClientCrash, InMemoryCloud
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.journal import Journal
from orchestrator.crypto import ssh_keys
from orchestrator.interface.cli import invocation, main
from orchestrator.session import Session
from tests.chaos import invariants
from tests.chaos.virtual_computer import SCRATCH, VirtualComputer, minutes_until_shutdown

CONFIG = {"cluster": {"name": "ml", "count": "2"}, "aws": {"region": "us-west-2", "ssh_from": "203.0.113.7/32"}}
NOBODY = {
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
    "HOME": "/nowhere",
}
READS = ("Describe", "Get", "List")


@dataclass(frozen=True)
class Cell:
    """One fault in one phase, and what is promised for it.

    :param fault: of the list in docs: ``F25``.
    :param phase: where it strikes, in words.
    :param typed: what the user types.
    :param faults: of the scenario, each as keyword arguments of `scenarios.fault`; ``kind`` is its name.
    :param reaction: U (the user mends it, nothing is retried), F (another pool), R (the same request again),
        W (waited out), X (cleaned up).
    :param exit: the exit code.
    :param says: words that what is printed holds: what failed, the resource, the provider's code, the fix.
    :param config: settings that differ, ``cluster.market`` -> value.
    :param before: typed beforehand, in fair weather.
    :param early: the weather is foul from the first of those on.
    :param strikes: what strikes the laptop: kind, phase, action, number, as of `draws.Blow`.
    :param alive: machines of ours that are there afterwards; None does not matter.
    :param asks: how often RunInstances is sent, dry runs aside; None does not matter.
    :param open: launches that the journal keeps open; None does not matter.
    :param makes: changes that AWS carried out; None does not matter.
    :param then: typed afterwards, in fair weather: it goes well.
    :param then_says: words that it prints.
    :param stays: machines that are there after it.
    :param environment: of the process, on top of nobody's.
    :param real_login: credentials come from that environment.
    :param note: why this is as far as a promise can go.
    :param gap: why the promise does not hold yet.
    """

    fault: str
    phase: str
    command: str
    reaction: str
    exit_code: int
    output: tuple[str, ...] = ()
    faults: tuple[Mapping[str, Any], ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    setup: tuple[str, ...] = ()
    faults_during_setup: bool = False
    interruption: tuple[str, str, str, int] | None = None
    instances: int | None = None
    launch_requests: int | None = None
    open_entries: int | None = None
    changes: int | None = None
    next_command: str = ""
    next_output: tuple[str, ...] = ()
    instances_after_next: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    real_credentials: bool = False
    max_s: float | None = None
    config_text: str = ""
    note: str = ""
    known_gap: str = ""

    @property
    def name(self) -> str:
        """Short, for pytest."""
        return f"{self.fault} {self.phase}".replace("::", ":")


@dataclass
class Outcome:
    """What became of a cell.

    :param code: the exit code; 137 when the laptop died.
    :param said: all that was printed.
    :param calls: names of the calls that were made while it struck, in order.
    :param tokens: of RunInstances, with the subnet of each.
    :param changes: calls that AWS carried out, and that change something.
    """

    exit_code: int
    output: str
    calls: list[str]
    tokens: list[tuple[str, str]]
    changes: list[str]
    elapsed_s: float
    instances: int
    open_entries: int
    violations: list[str]
    next_exit_code: int | None = None
    next_output: str = ""
    instances_after_next: int = 0


class CellRunner:
    """A desk with a cloud in memory."""

    def __init__(self, cell: Cell, cloud: InMemoryCloud, folder: Path) -> None:
        self.cell, self.cloud, self.folder = cell, cloud, folder
        self.monitor = invariants.InvariantMonitor(cloud)
        self.tokens: list[tuple[str, str]] = []
        self.call_counts: dict[str, int] = {}
        self.interrupted = False
        config = folder / "config.ini"
        text = cell.config_text or _config(cell.settings)
        if "{key}" in text:
            ssh_keys.generate_login_key(folder / "key")
        config.write_text(text.replace("{key}", str(folder / "key")))
        self.computer = VirtualComputer(cloud, folder / "home", config, random.Random(cell.name), on_request=self._sent)
        self.monitor.set_home(self.computer.home)

    def execute(self, line: str) -> tuple[int, str]:
        """Type one line, and return its exit code and all that it printed."""
        out = io.StringIO()
        setup = invocation.Setup(config=self.computer.config, opener=self._open)
        with _environment(self.cell, self.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                code = main.main(line.split(), setup)
            except ClientCrash as crash:
                self.computer = crash.args[0]
                self.monitor.set_home(self.computer.home)
                code = 137
        return code, out.getvalue()

    def run(self) -> Outcome:
        """Fair weather, then the fault, then fair weather again."""
        weather = scenario.Scenario(0, tuple(scenario.make_fault(**each) for each in self.cell.faults))
        if self.cell.faults_during_setup:
            self.cloud.play(weather)
        for line in self.cell.setup:
            code, said = self.execute(line)
            assert code == 0, said
        if not self.cell.faults_during_setup:
            self.cloud.play(weather)
        first, began = len(self.cloud.calls), self.cloud.clock.now()
        self.tokens.clear()
        self.cloud.on_call_boundary = self._boundary
        code, said = self.execute(self.cell.command)
        self.cloud.on_call_boundary = lambda *_: None
        seen = self.cloud.calls[first:]
        outcome = Outcome(
            code,
            said,
            [call.action for call in seen],
            list(self.tokens),
            [call.action for call in seen if call.outcome == "ok" and not call.action.startswith(READS)],
            self.cloud.clock.now() - began,
            self._active_instances(),
            len(Journal(self.computer.home, REAL_CLOCK).open_entries()),
            self.monitor.violations,
        )
        if self.cell.next_command:
            self.cloud.clock.sleep(600.0)
            outcome.next_exit_code, outcome.next_output = self.execute(self.cell.next_command)
            outcome.instances_after_next = self._active_instances()
        return outcome

    def _active_instances(self) -> int:
        return sum(each.state in invariants.ACTIVE for each in invariants.our_instances(self.cloud))

    def _open(self, settings: Any, *, home: Path, runs: Path, tell: Any) -> Session:  # noqa: ARG002
        if self.cell.real_credentials:
            return Session(settings, home=self.computer.home, runs=runs, tell=tell)
        self.computer.on_event = tell
        return self.computer.session(settings)

    def _sent(self, action: str, params: dict[str, Any]) -> None:
        self.monitor.check_request(action, params)
        if action == "RunInstances" and not params.get("DryRun"):
            self.tokens.append((str(params["ClientToken"]), str(params.get("SubnetId", ""))))

    def _boundary(self, phase: str, action: str, _: int) -> None:
        if phase == "before":
            self.call_counts[action] = self.call_counts.get(action, 0) + 1
        if self.cell.interruption is None or self.interrupted:
            return
        kind, when, what, number = self.cell.interruption
        if (when, what) == (phase, action) and self.call_counts[action] == number:
            self.interrupted = True
            if kind == "crash":
                raise ClientCrash(self.computer.after_crash(self.folder / "home-after", empty=False))
            for _ in range(2 if kind.endswith("twice") else 1):
                signal.raise_signal(signal.SIGINT)


def run_cell(cell: Cell) -> Outcome:
    """Carry out a cell in a cloud of its own."""
    folder = Path(tempfile.mkdtemp(prefix="cell-", dir=SCRATCH))
    try:
        # Today, because messages about time compare the cloud's with this computer's.
        clock = VirtualClock(datetime.now(UTC).replace(tzinfo=None))
        with InMemoryCloud(1, clock=clock, read_shutdown=minutes_until_shutdown) as cloud:
            return CellRunner(cell, cloud, folder).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def deviations(cell: Cell, outcome: Outcome) -> Iterator[str]:
    """Yield everything in which an outcome is not what the cell promises."""
    if outcome.exit_code != cell.exit_code:
        yield f"exit {outcome.exit_code}, not {cell.exit_code}"
    for words in cell.output:
        if words not in " ".join(outcome.output.split()):
            yield f"does not say {words!r}"
    if "a bug in Stratus" in outcome.output or "Traceback" in outcome.output:
        yield "a bug"
    if cell.instances is not None and outcome.instances != cell.instances:
        yield f"{outcome.instances} machines are there, not {cell.instances}"
    if cell.launch_requests is not None and len(outcome.tokens) != cell.launch_requests:
        yield f"RunInstances was sent {len(outcome.tokens)} times, not {cell.launch_requests}"
    if cell.open_entries is not None and outcome.open_entries != cell.open_entries:
        yield f"{outcome.open_entries} open entries in the journal, not {cell.open_entries}"
    if cell.changes is not None and len(outcome.changes) != cell.changes:
        yield f"{len(outcome.changes)} changes ({', '.join(outcome.changes)}), not {cell.changes}"
    if cell.max_s is not None and outcome.elapsed_s > cell.max_s:
        yield f"took {outcome.elapsed_s:.0f} s, not {cell.max_s:g} s"
    if cell.next_command and (outcome.next_exit_code != 0 or outcome.instances_after_next != cell.instances_after_next):
        state = f"exit {outcome.next_exit_code}, {outcome.instances_after_next} instances"
        yield f"{cell.next_command} afterwards: {state}: {outcome.next_output}"
    for words in cell.next_output:
        if words not in " ".join(outcome.next_output.split()):
            yield f"afterwards it does not say {words!r}: {outcome.next_output}"
    yield from outcome.violations
    yield from _REACTIONS[cell.reaction](cell, outcome)


def _user(_: Cell, outcome: Outcome) -> Iterator[str]:
    """Stopped at once: nothing was asked twice."""
    if len(outcome.tokens) > 1:
        yield f"RunInstances was asked {len(outcome.tokens)} times"


def _over(_: Cell, outcome: Outcome) -> Iterator[str]:
    """Another pool, each asked once, with a token of its own."""
    if len({token for token, _ in outcome.tokens}) != len(outcome.tokens):
        yield "a pool was asked twice"


def _retry(cell: Cell, outcome: Outcome) -> Iterator[str]:
    if cell.exit_code == 0 and len({token for token, _ in outcome.tokens}) > 1:
        yield f"{len({token for token, _ in outcome.tokens})} tokens for one launch"


def _nothing(_: Cell, __: Outcome) -> Iterator[str]:
    return iter(())


_REACTIONS = {"U": _user, "F": _over, "R": _retry, "W": _nothing, "X": _nothing}


def _config(changes: Mapping[str, str]) -> str:
    sections = {name: dict(values) for name, values in CONFIG.items()}
    for key, value in changes.items():
        section, option = key.split(".")
        sections.setdefault(section, {})[option] = value
    return "".join(
        f"[{name}]\n" + "".join(f"{option} = {value}\n" for option, value in values.items())
        for name, values in sections.items()
    )


@contextlib.contextmanager
def _environment(cell: Cell, folder: Path) -> Iterator[None]:
    """Nobody's environment, and what the cell adds; files it names lie in its folder."""
    kept = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("AWS_", "STRATUS_"))]:
        del os.environ[name]
    os.environ.update(NOBODY | {"STRATUS_HOME": str(folder / "home")})
    for name, value in cell.environment.items():
        os.environ[name] = _file(folder, name, value) if name.endswith("_FILE") else value
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def _file(folder: Path, name: str, content: str) -> str:
    path = folder / name.lower()
    path.write_text(content)
    return str(path)


def words_of(said: Sequence[str]) -> str:
    """What a cell's words are, for the table."""
    return " · ".join(said)
