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
from tests.chaos.virtual_computer import SCRATCH, Computer, minutes_of

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
    typed: str
    reaction: str
    exit: int
    says: tuple[str, ...] = ()
    faults: tuple[Mapping[str, Any], ...] = ()
    config: Mapping[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    early: bool = False
    strikes: tuple[str, str, str, int] | None = None
    alive: int | None = None
    asks: int | None = None
    open: int | None = None
    makes: int | None = None
    then: str = ""
    then_says: tuple[str, ...] = ()
    stays: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    real_login: bool = False
    within: float | None = None
    text: str = ""
    note: str = ""
    gap: str = ""

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

    code: int
    said: str
    calls: list[str]
    tokens: list[tuple[str, str]]
    changes: list[str]
    seconds: float
    alive: int
    open: int
    broken: list[str]
    after: int | None = None
    after_said: str = ""
    orphans: int = 0


class Bench:
    """A desk with a cloud in memory."""

    def __init__(self, cell: Cell, cloud: InMemoryCloud, folder: Path) -> None:
        self.cell, self.cloud, self.folder = cell, cloud, folder
        self.watch = invariants.Watch(cloud)
        self.tokens: list[tuple[str, str]] = []
        self.counts: dict[str, int] = {}
        self.struck = False
        config = folder / "config.ini"
        text = cell.text or _config(cell.config)
        if "{key}" in text:
            ssh_keys.generate_login_key(folder / "key")
        config.write_text(text.replace("{key}", str(folder / "key")))
        self.computer = Computer(cloud, folder / "home", config, random.Random(cell.name), sent=self._sent)
        self.watch.new_home(self.computer.home)

    def type(self, line: str) -> tuple[int, str]:
        """Type one line, and return its exit code and all that it printed."""
        out = io.StringIO()
        setup = invocation.Setup(config=self.computer.config, opener=self._open)
        with _environment(self.cell, self.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                code = main.main(line.split(), setup)
            except ClientCrash as crash:
                self.computer = crash.args[0]
                self.watch.new_home(self.computer.home)
                code = 137
        return code, out.getvalue()

    def carry_out(self) -> Outcome:
        """Fair weather, then the fault, then fair weather again."""
        weather = scenario.Scenario(0, tuple(scenario.make_fault(**each) for each in self.cell.faults))
        if self.cell.early:
            self.cloud.play(weather)
        for line in self.cell.before:
            code, said = self.type(line)
            assert code == 0, said
        if not self.cell.early:
            self.cloud.play(weather)
        first, began = len(self.cloud.calls), self.cloud.clock.now()
        self.tokens.clear()
        self.cloud.on_call_boundary = self._boundary
        code, said = self.type(self.cell.typed)
        self.cloud.on_call_boundary = lambda *_: None
        seen = self.cloud.calls[first:]
        outcome = Outcome(
            code,
            said,
            [call.action for call in seen],
            list(self.tokens),
            [call.action for call in seen if call.outcome == "ok" and not call.action.startswith(READS)],
            self.cloud.clock.now() - began,
            self._lasting(),
            len(Journal(self.computer.home, REAL_CLOCK).open_entries()),
            self.watch.broken,
        )
        if self.cell.then:
            self.cloud.clock.sleep(600.0)
            outcome.after, outcome.after_said = self.type(self.cell.then)
            outcome.orphans = self._lasting()
        return outcome

    def _lasting(self) -> int:
        return sum(each.state in invariants.LASTING for each in invariants.orphans(self.cloud))

    def _open(self, settings: Any, *, home: Path, runs: Path, tell: Any) -> Session:  # noqa: ARG002
        if self.cell.real_login:
            return Session(settings, home=self.computer.home, runs=runs, tell=tell)
        self.computer.tell = tell
        return self.computer.session(settings)

    def _sent(self, action: str, params: dict[str, Any]) -> None:
        self.watch.sent(action, params)
        if action == "RunInstances" and not params.get("DryRun"):
            self.tokens.append((str(params["ClientToken"]), str(params.get("SubnetId", ""))))

    def _boundary(self, phase: str, action: str, _: int) -> None:
        if phase == "before":
            self.counts[action] = self.counts.get(action, 0) + 1
        if self.cell.strikes is None or self.struck:
            return
        kind, when, what, number = self.cell.strikes
        if (when, what) == (phase, action) and self.counts[action] == number:
            self.struck = True
            if kind == "crash":
                raise ClientCrash(self.computer.after_crash(self.folder / "home-after", empty=False))
            for _ in range(2 if kind.endswith("twice") else 1):
                signal.raise_signal(signal.SIGINT)


def carry_out(cell: Cell) -> Outcome:
    """Carry out a cell in a cloud of its own."""
    folder = Path(tempfile.mkdtemp(prefix="cell-", dir=SCRATCH))
    try:
        # Today, because messages about time compare the cloud's with this computer's.
        clock = VirtualClock(datetime.now(UTC).replace(tzinfo=None))
        with InMemoryCloud(1, clock=clock, read_shutdown=minutes_of) as cloud:
            return Bench(cell, cloud, folder).carry_out()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def judge(cell: Cell, outcome: Outcome) -> Iterator[str]:
    """Yield everything in which an outcome is not what the cell promises."""
    if outcome.code != cell.exit:
        yield f"exit {outcome.code}, not {cell.exit}"
    for words in cell.says:
        if words not in " ".join(outcome.said.split()):
            yield f"does not say {words!r}"
    if "a bug in Stratus" in outcome.said or "Traceback" in outcome.said:
        yield "a bug"
    if cell.alive is not None and outcome.alive != cell.alive:
        yield f"{outcome.alive} machines are there, not {cell.alive}"
    if cell.asks is not None and len(outcome.tokens) != cell.asks:
        yield f"RunInstances was sent {len(outcome.tokens)} times, not {cell.asks}"
    if cell.open is not None and outcome.open != cell.open:
        yield f"{outcome.open} open entries in the journal, not {cell.open}"
    if cell.makes is not None and len(outcome.changes) != cell.makes:
        yield f"{len(outcome.changes)} changes ({', '.join(outcome.changes)}), not {cell.makes}"
    if cell.within is not None and outcome.seconds > cell.within:
        yield f"took {outcome.seconds:.0f} s, not {cell.within:g} s"
    if cell.then and (outcome.after != 0 or outcome.orphans != cell.stays):
        yield f"afterwards: exit {outcome.after}, {outcome.orphans} machines: {outcome.after_said}"
    for words in cell.then_says:
        if words not in " ".join(outcome.after_said.split()):
            yield f"afterwards it does not say {words!r}: {outcome.after_said}"
    yield from outcome.broken
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
    if cell.exit == 0 and len({token for token, _ in outcome.tokens}) > 1:
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
