"""Fuzzer over everything that a host, a file or a user can hand in; see ``scripts/fuzz``."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
import traceback
from typing import Any

from hypothesis import HealthCheck, given, seed, settings

from tests.fuzz.checks import FUZZERS, SLOW

ROUND = settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))


SLOW_ROUND = settings(ROUND, max_examples=10)
"""For kinds whose inputs take a second each."""


def fuzz(name: str, number: int) -> str:
    """Check inputs of one kind; return the traceback of the smallest that fails, empty if none does.

    :param number: seed of the inputs.
    """
    strategy, check = FUZZERS[name]

    @(SLOW_ROUND if name in SLOW else ROUND)
    @seed(number)
    @given(strategy)
    def run(value: Any) -> None:
        check(value)

    try:
        run()
    except Exception:
        return traceback.format_exc()
    return ""


def main() -> int:
    """Fuzz until the time is up or an input fails; return the exit status."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--only", choices=FUZZERS, default=None)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    ends_at = time.monotonic() + 60 * options.minutes
    names = [options.only] if options.only else list(FUZZERS)
    inputs = 0
    # In turns, so that each kind gets its share of any time.
    for number, name in enumerate(itertools.cycle(names), options.seed * len(names)):
        if time.monotonic() >= ends_at:
            break
        if failure := fuzz(name, number // len(names)):
            again = f"scripts/fuzz --only {name!r} --seed {number // len(names)}"
            print(f"{failure}\n{name}: fails; again: {again}", file=sys.stderr)
            return 1
        inputs += (SLOW_ROUND if name in SLOW else ROUND).max_examples
    print(f"{inputs:,} inputs of {len(names)} kinds in {time.process_time():.0f} s of CPU time: no traceback")
    return 0


if __name__ == "__main__":
    sys.exit(main())
