"""Lives in which everything goes wrong, to see that nothing is ever left: 1,000 in memory, 60 with real processes.

scripts/chaos                         all of them; under 10 minutes on two cores
scripts/chaos --lives 100 --runs 0    fewer
scripts/chaos --seed 123 --trace      one life again, bit for bit, with all that happened
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def main() -> int:
    """Read the command line, live, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--simulated", "--lives", type=int, default=1000, help="in memory, in virtual time (default: 1000)"
    )
    parser.add_argument("--runs", type=int, default=60, help="of the real program with real hosts (default: 60)")
    parser.add_argument("--first", type=int, default=0, help="the first seed (default: 0)")
    parser.add_argument("--at-once", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--seed", type=int, help="only this life")
    parser.add_argument("--trace", action="store_true", help="with --seed: print all that happened")
    options = parser.parse_args()
    return _one(options) if options.seed is not None else _all(options)


def _one(options: argparse.Namespace) -> int:
    from tests.chaos.runs import attempt

    one = attempt(options.seed)
    if options.trace:
        print("\n".join(one.trace))
    print(f"seed {one.seed}: {'; '.join(one.broken) or 'nothing left'} ({one.calls} calls, trace {one.digest})")
    return int(bool(one.broken))


def _all(options: argparse.Namespace) -> int:
    from tests.chaos.runs import many, summarise

    seeds = range(options.first, options.first + options.simulated)
    summary = summarise(many(seeds, at_once=options.at_once), tell=partial(print, flush=True))
    print("\n".join(summary.lines), flush=True)
    failed = bool(summary.failed)
    if options.runs:
        from tests.chaos.blackbox import play

        failed |= play(range(options.first, options.first + options.runs), at_once=options.at_once)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
