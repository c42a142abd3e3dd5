"""Random lives in virtual time: verbs, failing calls, and a crash or Ctrl-C at a boundary of a call; nothing is left.

A life is drawn from its seed. At the end TerminateAll runs until nothing fails any more; what then still bills, or was
touched although it is another owner's, is a violation, and so is anything that bills and has no entry in the journal.
"""

from __future__ import annotations

import multiprocessing
import random
import shutil
import signal
import tempfile
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from localcloud.scenarios.scenario import Fault, Scenario, make_fault
from localcloud.simulation.cloud import ClientCrash, InMemoryCloud
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import StratusError
from orchestrator.core.journal import Journal, JournalEntry
from tests.chaos.virtual_computer import SCRATCH, VirtualComputer

if TYPE_CHECKING:
    from orchestrator.session import Session

QUIET_S = 3600.0
"""Every fault is over by then."""


@dataclass
class Life(ABC):
    """One life while it is lived.

    :cvar name: of the kind of life; lives of two kinds with one seed differ.
    :cvar title: after the number of lives.
    :cvar actions: API calls that fail, or around which a life is interrupted.
    :cvar codes: with which they fail.
    :cvar first: verb that every life begins with; empty for any.
    """

    seed: int
    folder: Path
    cloud: InMemoryCloud
    violations: list[str] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    calls: int = 0
    is_armed: bool = True
    is_interrupted: bool = False

    name: ClassVar[str]
    title: ClassVar[str]
    actions: ClassVar[Sequence[str]]
    codes: ClassVar[Sequence[str]]
    first: ClassVar[str] = ""

    def __post_init__(self) -> None:
        self.chance = random.Random(f"{self.name}/{self.seed}")
        config = self.folder / "config.ini"
        config.write_text(self.config())
        self.computer = VirtualComputer(
            self.cloud, self.folder / "home", config, random.Random(f"computer/{self.seed}")
        )
        self.interruption = (
            self.chance.choice(("crash", "crash", "ctrl-c", "")),
            self.chance.choice(("before", "after")),
            self.chance.choice(("", self.chance.choice(self.actions))),
            self.chance.randint(1, 100),
        )

    @abstractmethod
    def config(self) -> str:
        """Return the settings."""

    @abstractmethod
    def prepare(self) -> None:
        """Create what there is before, such as a colleague's resources."""

    @property
    @abstractmethod
    def verbs(self) -> Mapping[str, Callable[[Session], None]]:
        """What the user does; each verb is as likely as the others."""

    @abstractmethod
    def live(self) -> list[str]:
        """Return what bills, of the user: kind and name."""

    @abstractmethod
    def foreign(self) -> list[str]:
        """Return what bills, of other owners."""

    @abstractmethod
    def is_recorded(self, line: str, entries: Sequence[JournalEntry]) -> bool:
        """Return True if the journal has what a line of `live` names."""

    def clean_up(self) -> None:
        """End everything."""
        self.end_all(self.live)

    def execute(self) -> None:
        """Live the life, then end everything."""
        self.prepare()
        foreign = self.foreign()
        self.cloud.play(Scenario(self.seed, tuple(self._faults())))
        self.cloud.on_call_boundary = self._boundary
        session = self.computer.session()
        if self.first:
            session = self._step(session, self.first)
        for _ in range(self.chance.randint(2, 5)):
            session = self._step(session, self.chance.choice(tuple(self.verbs)))
        self.is_armed = False
        self.clean_up()
        changed = sorted({*foreign} ^ {*self.foreign()})
        if changed:
            self.violations.append(f"of another owner changed: {changed}")

    def wait(self, _: Session) -> None:
        """Let time pass."""
        self.cloud.clock.sleep(self.chance.choice((10.0, 700.0, 8000.0)))

    def end_all(self, live: Callable[[], list[str]], *, kept: bool = False) -> None:
        """Repeat TerminateAll until nothing fails.

        :param live: returns what it has to end.
        :param kept: also what outlives the cluster on purpose.
        """
        report = None
        for _ in range(3):
            report = None
            try:
                report = self.computer.session().cluster.terminate(kept=kept)
            except StratusError as error:
                self.trace.append(f"  end: {error}")
            if report is not None and not report.remaining and not live():
                return
            self.trace.append(f"  end: remaining {report.remaining if report else '?'}, live {live()}")
            self.cloud.clock.sleep(QUIET_S)
            self.cloud.play(Scenario(self.seed, ()))
        self.violations.append(f"left behind: {live()}; TerminateAll: {report.remaining if report else '?'}")

    def _faults(self) -> list[Fault]:
        faults = []
        for _ in range(self.chance.choice((0, 0, 1, 2, 3))):
            action, times = self.chance.choice(self.actions), self.chance.choice((1, 1, 2, 6))
            if self.chance.random() < 0.5:
                faults.append(make_fault("dropped", action=action, applied=self.chance.random() < 0.6, times=times))
            else:
                code, applied = self.chance.choice(self.codes), self.chance.random() < 0.3
                faults.append(
                    make_fault("error", action=action, code=code, message="No.", applied=applied, times=times)
                )
        return faults

    def _step(self, session: Session, verb: str) -> Session:
        """Execute a verb; after a crash return a new session."""
        self.trace.append(f"{self.cloud.clock.now():.1f} {verb}")
        try:
            self.verbs[verb](session)
        except StratusError as error:
            # A hint may name the job's folder, and each life has one of its own.
            text = str(error).replace(str(self.folder), "FOLDER")
            self.trace.append(f"  {error.exit_code}: {text}")
        except KeyboardInterrupt:
            self.trace.append("  interrupted")
        except ClientCrash:
            self.trace.append("  crashed")
            self.computer.clients.clear()
            return self.computer.session()
        except Exception as error:
            self.violations.append(f"{verb}: a bug: {error!r}")
            self.trace.append("".join(traceback.format_exception(error)))
        return session

    def _boundary(self, phase: str, action: str, _: int) -> None:
        if phase == "before":
            self.calls += 1
        self._check_journal()
        kind, at, wanted, number = self.interruption
        if not self.is_armed or not kind or at != phase or wanted not in ("", action):
            return
        if not wanted and self.calls != number:
            return
        self.is_armed, self.is_interrupted = False, True
        self.trace.append(f"  {kind} {phase} {action}")
        if kind == "crash":
            raise ClientCrash
        signal.raise_signal(signal.SIGINT)

    def _check_journal(self) -> None:
        lines = self.live()
        if not lines:
            return
        entries = Journal(self.computer.home, REAL_CLOCK).entries()
        for line in lines:
            if not self.is_recorded(line, entries) and f"{line}: no journal entry" not in self.violations:
                self.violations.append(f"{line}: no journal entry")


def live(kind: type[Life], seed: int) -> Life:
    """Live the life of a seed."""
    folder = Path(tempfile.mkdtemp(prefix=f"{kind.name}-", dir=SCRATCH))
    try:
        with InMemoryCloud(seed) as cloud:
            life = kind(seed, folder, cloud)
            life.execute()
            cloud.on_call_boundary = lambda *_: None
            return life
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class LifeResult:
    """Outcome of one life."""

    seed: int
    violations: tuple[str, ...]
    trace: tuple[str, ...]
    calls: int
    is_interrupted: bool


def _result(kind: type[Life], seed: int) -> LifeResult:
    life = live(kind, seed)
    return LifeResult(seed, tuple(life.violations), tuple(life.trace), life.calls, life.is_interrupted)


def run_and_print(kind: type[Life], seeds: range, at_once: int) -> bool:
    """Live many lives in several processes and print what went wrong, and totals; True if any life has a violation."""
    calls = interrupted = failed = 0
    with multiprocessing.get_context("spawn").Pool(at_once) as pool:
        for result in pool.imap_unordered(partial(_result, kind), seeds):
            calls += result.calls
            interrupted += result.is_interrupted
            failed += bool(result.violations)
            if result.violations:
                lines = [f"seed {result.seed}: {'; '.join(result.violations)}", *result.trace]
                print("\n".join(lines), flush=True)
    print(f"{len(seeds)} lives {kind.title}, {calls} calls, {interrupted} interrupted; {failed} failed", flush=True)
    return bool(failed)
