"""The command behind scripts/chaos."""

from __future__ import annotations

import argparse
import sys
from functools import partial

from tests.chaos import lives
from tests.chaos.disk_runs import DiskLife
from tests.chaos.managed_runs import ManagedLife
from tests.chaos.random_runs import campaign, process_runs


def main() -> int:
    """Parse the command line, execute the runs and print their totals; 1 if one failed."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description="Randomized fault-injection runs.")
    parser.add_argument("--simulated", "--lives", type=int, default=1000, help="runs in virtual time (default: 1000)")
    parser.add_argument("--runs", type=int, default=60, help="runs of the real program on real hosts (default: 60)")
    parser.add_argument("--managed", type=int, default=100, help="lives with SageMaker (default: 100)")
    parser.add_argument("--disks", type=int, default=100, help="lives with disks and images (default: 100)")
    parser.add_argument("--first", type=int, default=0, help="first seed (default: 0)")
    parser.add_argument("--at-once", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--seed", type=int, help="only this simulated run")
    parser.add_argument("--trace", action="store_true", help="with --seed: print everything that happened")
    options = parser.parse_args()
    return _run_seed(options) if options.seed is not None else _run_all(options)


def _run_seed(options: argparse.Namespace) -> int:
    result = campaign.run_safely(options.seed)
    if options.trace:
        print("\n".join(result.trace))
    print(
        f"seed {result.seed}: {'; '.join(result.violations) or 'no violations'} "
        f"({result.calls} calls, trace {result.digest})"
    )
    return int(bool(result.violations))


def _run_all(options: argparse.Namespace) -> int:
    seeds = range(options.first, options.first + options.simulated)
    results = campaign.run_all(seeds, at_once=options.at_once)
    summary = campaign.summarize(results, print_line=partial(print, flush=True))
    print("\n".join(summary.lines), flush=True)
    failed = bool(summary.failed)
    for kind, count in ((ManagedLife, options.managed), (DiskLife, options.disks)):
        if count:
            seeds = range(options.first, options.first + count)
            failed |= lives.run_and_print(kind, seeds, at_once=options.at_once)
    if options.runs:
        seeds = range(options.first, options.first + options.runs)
        failed |= process_runs.run_and_print(seeds, at_once=options.at_once)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
