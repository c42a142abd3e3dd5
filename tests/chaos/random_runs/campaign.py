"""Execute many random runs in virtual time, and count what went wrong."""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal

from tests.chaos.random_runs.result import RunResult
from tests.chaos.random_runs.run import run


@dataclass
class Summary:
    """Totals of many runs.

    :param orphans: instances that were left behind.
    :param foreign_touched: runs that changed a resource of another owner.
    :param over_limit: runs in which a launch had more instances than requested.
    :param left_alone: runs in which the user never came back after a crash.
    :param billed_usd: the bill of all launches.
    :param over_usd: dollars beyond ``max_dollars`` and one minute of the launch's instances.
    :param receipts: receipts of TerminateAll that were compared with the bill.
    :param failed: seed -> its violations.
    """

    runs: int = 0
    orphans: int = 0
    foreign_touched: int = 0
    over_limit: int = 0
    calls: int = 0
    interruptions: int = 0
    left_alone: int = 0
    stopped: int = 0
    billed_usd: Decimal = Decimal(0)
    over_usd: Decimal = Decimal(0)
    receipts: int = 0
    elapsed_s: float = 0.0
    failed: dict[int, list[str]] = field(default_factory=dict)
    exit_codes: Counter[int] = field(default_factory=Counter)
    longest_s: dict[str, float] = field(default_factory=dict)

    def add(self, result: RunResult) -> None:
        """Add one run."""
        self.runs += 1
        self.orphans += result.orphans
        self.foreign_touched += any("another owner" in violation for violation in result.violations)
        self.over_limit += any("requested" in violation for violation in result.violations)
        self.calls += result.calls
        self.interruptions += result.interruptions
        self.left_alone += result.left_alone
        self.stopped += result.stopped
        self.billed_usd += result.billed_usd
        self.over_usd += result.over_usd
        self.receipts += result.receipts
        self.exit_codes.update(result.exit_codes)
        for verb, seconds in result.longest_s.items():
            self.longest_s[verb] = max(seconds, self.longest_s.get(verb, 0.0))
        if result.violations:
            self.failed[result.seed] = result.violations

    @property
    def lines(self) -> list[str]:
        """The totals as text."""
        limit = f"too many instances in {self.over_limit}" if self.over_limit else "never too many instances"
        codes = ", ".join(f"{code}: {count}" for code, count in sorted(self.exit_codes.items()))
        longest = ", ".join(f"{verb} {seconds:.0f} s" for verb, seconds in sorted(self.longest_s.items()))
        return [
            f"{self.runs} simulated runs, {self.orphans} orphans, {self.foreign_touched} foreign touched, {limit}; "
            f"{len(self.failed)} failed",
            f"${self.billed_usd:.2f} billed, ${self.over_usd:.2f} beyond caps and one minute; {self.receipts} receipts "
            "compared with the bill",
            f"{self.left_alone} left alone after a crash; {self.stopped} instances that the user stopped remained",
            f"{self.calls} API calls, {self.interruptions} crashes and Ctrl-C around them; exit codes {codes}",
            f"longest waits in virtual time: {longest}; {self.elapsed_s:.0f} s in all",
        ]


def run_all(seeds: Iterable[int], *, at_once: int = 2) -> Iterator[RunResult]:
    """Execute runs in processes of their own: one cloud per process, and signals reach only their own run."""
    if at_once == 1:
        yield from map(run_safely, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(at_once) as pool:
        yield from pool.imap_unordered(run_safely, seeds, chunksize=5)


def run_safely(seed: int) -> RunResult:
    """Execute one run; return an error of the test code itself as a violation, so that its seed is printed."""
    try:
        return run(seed)
    except BaseException as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        violation = f"the run itself failed: {error!r} at {frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}"
        trace = traceback.format_exc().splitlines()
        return RunResult(seed, [violation], trace, 0, 0, 0, 0, 0, [], {}, left_alone=False)


def summarize(results: Iterable[RunResult], *, print_line: Callable[[str], None] = lambda line: None) -> Summary:
    """Return the totals; ``print_line`` gets one line per failed run, at once."""
    start, summary = time.monotonic(), Summary()
    for result in results:
        summary.add(result)
        if result.violations:
            violations = "; ".join(result.violations)
            print_line(f"seed {result.seed}: {violations}   scripts/chaos --seed {result.seed} --trace")
    summary.elapsed_s = time.monotonic() - start
    return summary
