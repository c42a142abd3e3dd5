"""One seeded life: a researcher, a cloud, what goes wrong, and whether anything was left."""

from __future__ import annotations

import hashlib
import random
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud.simulation.cloud import ClientCrash, InMemoryCloud
from orchestrator.core.errors import LeftRunning, StratusError
from orchestrator.core.next_step import advice_of
from tests.chaos import invariants
from tests.chaos.random_plan import Draw, Step, draw
from tests.chaos.virtual_computer import SCRATCH, Computer, minutes_of

if TYPE_CHECKING:
    from orchestrator.session import Session

LONGEST_S = {"plan": 900.0, "launch": 3600.0, "look": 900.0, "stop": 1800.0, "start": 1800.0, "terminate": 1800.0}
"""No verb may take longer, in virtual time, whatever happens: the sum of its deadlines, with all retries."""

CONFIG = "[cluster]\nname = ml\n{rest}\n[aws]\nregion = us-west-2\nssh_from = 203.0.113.7/32\n"
QUIET_S = 3600.0  # after which every fault has passed by itself
GRACE_S = 900.0  # boot, shutting down, and the minutes that a machine's clock rounds up


@dataclass
class Result:
    """How a life went.

    :param broken: what did not hold; nothing when all is well.
    :param trace: all that happened, in order.
    :param exits: the exit code of every verb.
    :param longest: verb -> virtual seconds that it took at most.
    """

    seed: int
    broken: list[str]
    trace: list[str]
    calls: int
    most: int
    orphans: int
    stopped: int
    struck: int
    exits: list[int]
    longest: dict[str, float]
    expired: bool

    @property
    def digest(self) -> str:
        """A few letters that differ when anything does."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()[:12]


def live(seed: int) -> Result:
    """Live the life of a seed."""
    _warm_up()
    return _live(seed)


@cache
def _warm_up() -> None:
    """What a process loads with its first cloud draws from the same chance as ids do; let it be over by then."""
    _live(0)


def _live(seed: int) -> Result:
    folder = Path(tempfile.mkdtemp(prefix="life-", dir=SCRATCH))
    try:
        with InMemoryCloud(seed, read_shutdown=minutes_of) as cloud:
            return _Life(draw(seed), cloud, folder).live()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class _Life:
    draw: Draw
    cloud: InMemoryCloud
    folder: Path
    trace: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    exits: list[int] = field(default_factory=list)
    longest: dict[str, float] = field(default_factory=dict)
    armed: bool = True
    struck: int = 0
    homes: int = 0
    asked_to_stop: bool = False
    hours: float = 0.0
    run: str = "-"

    def __post_init__(self) -> None:
        config = self.folder / "config.ini"
        config.write_text(CONFIG.format(rest="\n".join(f"{name} = {value}" for name, value in self.draw.config)))
        self.watch = invariants.Watch(self.cloud)
        self.computer = Computer(
            self.cloud,
            self.folder / "home-0",
            config,
            random.Random(f"computer/{self.draw.seed}"),
            sent=self.watch.sent,
        )
        self.watch.new_home(self.computer.home)

    def live(self) -> Result:
        """All of it."""
        self.cloud.play(self.draw.scenario)
        self.trace += self.draw.lines()
        them = invariants.things(self.cloud, ours=False)
        self.watch.foreign = invariants.foreign_names(them)
        self.cloud.on_call_boundary = self._boundary
        self._day()
        self.armed = False
        expired = self._nobody() if not self.draw.returns else False
        self._return()
        self.cloud.on_call_boundary = lambda *_: None
        if invariants.things(self.cloud, ours=False) != them:
            self.watch.break_("something of somebody else's was changed")
        return self._result(expired=expired)

    # -- what the researcher does

    def _day(self) -> None:
        session = self.computer.session()
        for step in self.draw.steps:
            try:
                session = self._step(session, step)
            except _NobodyReturns:
                return

    def _step(self, session: Session, step: Step) -> Session:
        """Do one thing; a crash is followed by a new start, and by the same thing again if it was no launch."""
        crashed = self._do(session, step)
        if crashed is None:
            return session
        if not self.draw.returns:
            raise _NobodyReturns
        self._pick_up(crashed)
        again = self.computer.session()
        if step.verb != "launch":
            self._do(again, step)
        return again

    def _pick_up(self, crash: ClientCrash) -> None:
        self.computer = crash.args[0]
        self.watch.new_home(self.computer.home)

    def _do(self, session: Session, step: Step) -> ClientCrash | None:
        """Do one thing and write down how it ended; the crash that the laptop died of, if it did."""
        self.trace.append(f"{self._now():.2f} {step.verb} {step.count or ''}".rstrip())
        began, crash = self.cloud.clock.now(), None
        code, words = 0, ""
        try:
            code, words = _VERBS[step.verb](self, session, step)
        except StratusError as error:
            code, words = error.exit_code, str(error)
            self._listed(error)
        except KeyboardInterrupt as interrupt:
            code, words = 130, "\n".join([str(interrupt), *map(str, advice_of(interrupt))])
        except ClientCrash as error:
            code, words, crash = 137, "crash", error
        except Exception as error:
            code, words = 1, "".join(traceback.format_exception(error))
            self.watch.break_(f"{step.verb}: a bug: {error!r}")
        self._ended(step, code, words, self.cloud.clock.now() - began)
        if step.verb == "launch" and code in (3, 4, 130):
            self._came_to_nothing(words)
        return crash

    def _came_to_nothing(self, words: str) -> None:
        """A launch that failed, or that Ctrl-C ended: what it left was named."""
        run = self.run
        left = [each for each in invariants.orphans(self.cloud) if each.tags.get(invariants.TAG_RUN) == run]
        silent = [each.id for each in left if each.state in invariants.LASTING and each.id not in words]
        if silent and (run not in words or "was taken back" in words):
            self.watch.break_(f"launch {run} came to nothing, left {', '.join(silent)}, and did not say so")

    def _ended(self, step: Step, code: int, words: str, seconds: float) -> None:
        self.exits.append(code)
        self.longest[step.verb] = max(self.longest.get(step.verb, 0.0), seconds)
        if seconds > LONGEST_S[step.verb]:
            self.watch.break_(f"{step.verb} took {seconds:.0f} s of virtual time")
        self.trace.append(f"{self._now():.2f} {step.verb} ended: {code} after {seconds:.2f} s")
        self.trace += [f"  | {line}" for line in words.replace(str(self.folder), "").splitlines()]
        self.watch.look()

    def _listed(self, error: StratusError) -> None:
        if isinstance(error, LeftRunning) and not error.left:
            self.watch.break_("exit 4 without a list")

    def _launch(self, session: Session, step: Step) -> tuple[int, str]:
        self.run = "-"
        plan = session.plan(step.count)
        self.run = plan.launch_id
        self.watch.wanted[plan.launch_id] = plan.count
        self.hours = max(self.hours, plan.hours)
        report = session.launch(plan)
        told = [f"ready {' '.join(each.name for each in report.ready)}"]
        told += [f"failed {name}: {str(error).splitlines()[0]}" for name, error in report.failed.items()]
        return int(bool(report.failed)), "\n".join(told)

    def _look(self, session: Session, _: Step) -> tuple[int, str]:
        machines = session.status().machines
        return 0, " ".join(f"{each.name}={each.state}" for each in machines)

    def _stop(self, session: Session, _: Step) -> tuple[int, str]:
        self.asked_to_stop = True
        return _told(session.stop_all())

    def _start(self, session: Session, _: Step) -> tuple[int, str]:
        return _told(session.start_all())

    def _terminate(self, session: Session, _: Step) -> tuple[int, str]:
        report = session.terminate()
        self._check_end(report.left)
        code, words = _told(report.instances)
        return 4 if report.left else code, "\n".join([words, *report.left])

    def _check_end(self, left: tuple[str, ...]) -> None:
        """Whatever is still there must have been listed."""
        told = "\n".join(left)
        for each in invariants.orphans(self.cloud):
            run = each.tags.get(invariants.TAG_RUN, "-")
            if each.state != "shutting-down" and each.id not in told and run not in told and "cluster " not in told:
                self.watch.break_(f"{each.id} ({each.state}) of launch {run} is there, and TerminateAll did not say so")

    # -- the end

    def _nobody(self) -> bool:
        """Hours pass; every machine must have ended itself, by max_hours or by what max_dollars buys."""
        self.cloud.clock.sleep(self.hours * 3600 + GRACE_S)
        self.watch.look()
        left = [each for each in invariants.orphans(self.cloud) if not (each.state == "stopped" and self.asked_to_stop)]
        if left:
            words = ", ".join(f"{each.id} {each.state}" for each in left)
            self.watch.break_(f"nobody returned, and after {self.hours:g} h there is {words}")
        return True

    def _return(self) -> None:
        """Somebody comes back, once the bad day is over: a fresh process ends everything."""
        self._again("terminate")
        if self.exits[-1] or invariants.orphans(self.cloud):
            self.cloud.clock.sleep(QUIET_S)
            self._again("terminate")
        kept = any(invariants.protected(each.id) for each in invariants.orphans(self.cloud))
        if self.exits[-1] != (4 if kept else 0):
            self.watch.break_(f"TerminateAll on a quiet day: exit {self.exits[-1]}")
        self.left = [each for each in invariants.orphans(self.cloud) if not invariants.protected(each.id)]
        for each in self.left:
            self.watch.break_(f"an orphan: {each.id}, {each.state}")
        if not invariants.orphans(self.cloud):
            us = invariants.things(self.cloud, ours=True)
            for name in (*us.groups, *us.keys):
                self.watch.break_(f"left behind: {name}")

    def _again(self, verb: str) -> None:
        if self._do(self.computer.session(), Step(verb)) is not None:
            raise AssertionError("nothing strikes any more")

    # -- what strikes

    def _boundary(self, phase: str, action: str, _: int) -> None:
        self.watch.look()
        if phase == "before":
            self.counts[action] = self.counts.get(action, 0) + 1
            self.counts[""] = self.counts.get("", 0) + 1
        self.trace.append(f"{self._now():.2f} {phase} {action}")
        for blow in self.draw.blows if self.armed else ():
            if (blow.phase, blow.number) == (phase, self.counts.get(blow.action, 0)) and blow.action in ("", action):
                self._strike(blow.kind)

    def _strike(self, kind: str) -> None:
        self.struck += 1
        self.trace.append(f"{self._now():.2f} {kind}")
        if kind.startswith("ctrl-c"):
            signal.raise_signal(signal.SIGINT)
            if kind.endswith("twice"):
                signal.raise_signal(signal.SIGINT)
            return
        self.homes += 1
        raise ClientCrash(self.computer.after_crash(self.folder / f"home-{self.homes}", empty=kind == "moves"))

    def _now(self) -> float:
        return self.cloud.clock.now()

    def _result(self, *, expired: bool) -> Result:
        self.trace += [f"{call.time:.2f} {call.action} -> {call.outcome}" for call in self.cloud.calls]
        self.trace += [f"BROKEN {what}" for what in self.watch.broken]
        stopped = sum(each.state == "stopped" for each in invariants.orphans(self.cloud))
        return Result(
            self.draw.seed,
            self.watch.broken,
            self.trace,
            len(self.cloud.calls),
            self.watch.most,
            len(self.left),
            stopped,
            self.struck,
            self.exits,
            self.longest,
            expired,
        )


class _NobodyReturns(Exception):
    """The laptop has died, and its owner with it."""


def _told(results: object) -> tuple[int, str]:
    found = list(results)  # type: ignore[call-overload]
    failed = any(each.error for each in found)
    return int(failed), "\n".join(f"{each.name} {each.id} {each.state} {each.error}".rstrip() for each in found)


_VERBS: dict[str, Callable[[_Life, Session, Step], tuple[int, str]]] = {
    "launch": _Life._launch,
    "look": _Life._look,
    "stop": _Life._stop,
    "start": _Life._start,
    "terminate": _Life._terminate,
}
