"""Many lives: how many were left with something, and how to see one of them again."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from tests.chaos.random_run import Result, live

LIVES = 1000
AT_ONCE = 2


@dataclass
class Summary:
    """What many lives came to."""

    lives: int = 0
    orphans: int = 0
    foreign: int = 0
    most: int = 0
    calls: int = 0
    struck: int = 0
    alone: int = 0
    stopped: int = 0
    seconds: float = 0.0
    failed: dict[int, list[str]] = field(default_factory=dict)
    exits: Counter[int] = field(default_factory=Counter)
    longest: dict[str, float] = field(default_factory=dict)

    def add(self, one: Result) -> None:
        """Count one more."""
        self.lives += 1
        self.orphans += one.orphans
        self.foreign += any("somebody else" in what for what in one.broken)
        self.most += any("were wanted" in what for what in one.broken)
        self.calls += one.calls
        self.struck += one.struck
        self.alone += one.expired
        self.stopped += one.stopped
        self.exits.update(one.exits)
        for verb, seconds in one.longest.items():
            self.longest[verb] = max(seconds, self.longest.get(verb, 0.0))
        if one.broken:
            self.failed[one.seed] = one.broken

    @property
    def lines(self) -> list[str]:
        """The figures."""
        more = "never more than N alive" if not self.most else f"more than N alive in {self.most}"
        codes = ", ".join(f"{code}: {count}" for code, count in sorted(self.exits.items()))
        longest = ", ".join(f"{verb} {seconds:.0f} s" for verb, seconds in sorted(self.longest.items()))
        return [
            f"{self.lives} lives, {self.orphans} orphans, {self.foreign} foreign touched, {more}; "
            f"{len(self.failed)} failed",
            f"{self.alone} of them with a laptop that died and nobody who came back; {self.stopped} machines that were "
            "stopped on request outlasted it",
            f"{self.calls} calls, {self.struck} crashes and Ctrl-C at their boundaries; exit codes {codes}",
            f"longest waits in virtual time: {longest}; {self.seconds:.0f} s in all",
        ]


def many(seeds: Iterable[int], *, at_once: int = AT_ONCE) -> Iterator[Result]:
    """Live many lives; each process lives one after another, and signals are its own."""
    if at_once == 1:
        yield from map(attempt, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(at_once) as crew:
        yield from crew.imap_unordered(attempt, seeds, chunksize=5)


def attempt(seed: int) -> Result:
    """Live one life; an accident of the test's own is told as such, with the seed."""
    try:
        return live(seed)
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        what = f"the life broke off: {error!r} at {where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
        trace = traceback.format_exc().splitlines()
        return Result(seed, [what], trace, 0, 0, 0, 0, 0, [], {}, expired=False)


def summarise(results: Iterable[Result], *, tell: Callable[[str], None] = lambda line: None) -> Summary:
    """Count; every life that fails is told at once."""
    began, summary = time.monotonic(), Summary()
    for one in results:
        summary.add(one)
        if one.broken:
            tell(f"seed {one.seed}: {'; '.join(one.broken)}   scripts/chaos --seed {one.seed} --trace")
    summary.seconds = time.monotonic() - began
    return summary
