"""Mutation testing: changes of the source that no test notices. scripts/mutants --help explains it."""

from __future__ import annotations

import argparse
import math
import os
import random
import sys
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from groups import GROUPS
from line_tests import LineTests, measure, of_files
from mutant_runs import Outcome, Trial, run_all
from mutations import Mutant, mutants_of

ROOT = Path(__file__).resolve().parents[3]
KILLED = ("killed", "slow")
EQUIVALENT = Path(__file__).with_name("equivalent.toml")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(prog="scripts/mutants")
    parser.add_argument("targets", nargs="*", default=list(GROUPS), metavar="GROUP|FILE[:FUNCTION]")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--tests", action="append", default=[], metavar="FILE")
    return parser.parse_args(argv)


def chosen(targets: Sequence[str]) -> list[Mutant]:
    """Return the mutants of groups, modules and functions."""
    mutants = list[Mutant]()
    for target in targets:
        for name in GROUPS.get(target, (target,)):
            file, _, function = name.partition(":")
            if not (ROOT / file).is_file():
                raise SystemExit(f"no group or module {target}: {', '.join(GROUPS)}, or a file of the checkout")
            mutants += [
                mutant
                for mutant in mutants_of(file, (ROOT / file).read_bytes())
                if function in ("", mutant.function, mutant.function.rpartition(".")[2])
            ]
    return mutants


def equivalents() -> dict[tuple[str, str, str, str], str]:
    """Return the reasons of mutants that change nothing which matters, by the mutants' keys."""
    entries = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))["mutant"]
    return {(entry["file"], entry["in"], entry["before"], entry["after"]): entry["reason"] for entry in entries}


def trial_of(mutant: Mutant, line_tests: LineTests, limit_s: float) -> Trial:
    """Return a mutant with its tests."""
    tests = line_tests.tests_for(mutant.file, mutant.line, mutant.last_line, limit_s=limit_s)
    return Trial(mutant, tuple(tests), sum(line_tests.seconds[test] for test in tests))


def report(outcomes: Sequence[Outcome], known: int) -> None:
    """Print the share of killed mutants of each module."""
    totals, dead = Counter[str](), Counter[str]()
    for outcome in outcomes:
        totals[outcome.mutant.file] += 1
        dead[outcome.mutant.file] += outcome.state in KILLED
    for file, total in totals.items():
        print(f"{dead[file]:5} of {total:4}  {100 * dead[file] / total:5.1f} %  {file}")
    slow = sum(outcome.state == "slow" for outcome in outcomes)
    print(f"{slow} of the killed ones took too long")
    print(f"{sum(dead.values()):5} of {sum(totals.values()):4} killed; {known} are equivalent and were not run")


def main(argv: Sequence[str]) -> int:
    """Run the mutants and print the survivors; return the exit status."""
    options = parse(argv)
    mutants, known = chosen(options.targets), equivalents()
    wanted = [mutant for mutant in mutants if mutant.key not in known]
    if options.sample:
        wanted = random.Random(options.seed).sample(wanted, min(options.sample, len(wanted)))
    if options.tests:
        line_tests, limit_s = of_files(ROOT, options.tests, {mutant.file for mutant in wanted}), math.inf
    else:
        line_tests, limit_s = measure(ROOT, options.workers), options.seconds
    trials = [trial_of(mutant, line_tests, limit_s) for mutant in wanted]
    outcomes = list[Outcome]()

    def show(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if outcome.state not in KILLED:
            _show(outcome, f"{len(outcomes)} of {len(trials)}")

    run_all(ROOT, trials, options.workers, show)
    report(outcomes, len([mutant for mutant in mutants if mutant.key in known]))
    return 1 if any(outcome.state not in KILLED for outcome in outcomes) else 0


def _show(outcome: Outcome, number: str) -> None:
    mutant = outcome.mutant
    print(f"{number}: {outcome.state}  {mutant.file}:{mutant.line} {mutant.function}")
    print(f"    - {mutant.before}\n    + {mutant.after}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
