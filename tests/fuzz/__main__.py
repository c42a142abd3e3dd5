"""Fuzzer over everything that a host, a file or a user can hand in; see ``scripts/fuzz``."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from typing import Any

from hypothesis import HealthCheck, given, seed, settings

from tests.fuzz.checks import FUZZERS

ROUND = settings(max_examples=200, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def fuzz(name: str, number: int) -> str:
    """Check inputs of one kind; return the traceback of the smallest that fails, empty if none does.

    :param number: seed of the inputs.
    """
    strategy, check = FUZZERS[name]

    @ROUND
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
    number = options.seed
    while time.monotonic() < ends_at:
        for name in [options.only] if options.only else FUZZERS:
            if failure := fuzz(name, number):
                print(f"{failure}\n{name}: fails; again: scripts/fuzz --only {name!r} --seed {number}", file=sys.stderr)
                return 1
        number += 1
    print(f"{number - options.seed} rounds of {ROUND.max_examples} inputs of {len(FUZZERS)} kinds: no traceback")
    return 0


if __name__ == "__main__":
    sys.exit(main())
