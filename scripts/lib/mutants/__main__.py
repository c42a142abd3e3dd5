"""Mutation testing: changes of the source that no test notices. scripts/mutants --help explains it."""

from __future__ import annotations

import argparse
import math
import os
import random
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from groups import GROUPS, TESTS
from line_tests import LineTests, measure
from mutant_runs import Outcome, Trial, run_all
from mutations import Key, Mutant, mutants_of, unchanged

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


def equivalents() -> dict[Key, str]:
    """Return the reasons of mutants that change nothing which matters, by the mutants' keys."""
    entries = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))["mutant"]
    return {(entry["file"], entry["in"], entry["before"], entry["after"]): entry["reason"] for entry in entries}


def stale(sources: Mapping[str, bytes], known: Iterable[Key]) -> list[Key]:
    """Return the keys of equivalent mutants that some modules no longer have."""
    keys = {mutant.key for file, source in sources.items() for mutant in mutants_of(file, source)}
    return [key for key in known if key[0] in sources and key not in keys]


def tests_of(files: Iterable[str], given: Sequence[str]) -> dict[str, Sequence[str]]:
    """Return the test files of modules: those that were given, or those that groups.py names.

    :raises SystemExit: a module has none, or one that does not exist.
    """
    tests = {file: given or TESTS.get(file, ()) for file in files}
    for file, names in tests.items():
        if not names:
            raise SystemExit(f"scripts/lib/mutants/groups.py names no tests of {file}: name some with --tests FILE")
        if missing := [name for name in names if not (ROOT / name).is_file()]:
            raise SystemExit(f"no test file {missing[0]}, for {file}")
    return tests


def trial_of(mutant: Mutant, line_tests: LineTests, limit_s: float) -> Trial:
    """Return a mutant with its tests."""
    # Code that runs when the module is imported belongs to no test: every test may notice it.
    first, last = (mutant.line, mutant.last_line) if mutant.is_in_function else (0, 0)
    tests = line_tests.tests_for(mutant.file, first, last, limit_s=limit_s)
    return Trial(mutant, {test: line_tests.seconds[test] for test in tests})


def report(outcomes: Sequence[Outcome], equivalent: Counter[str]) -> None:
    """Print the share of killed mutants of each module.

    :param equivalent: their number by module.
    """
    totals, killed, slow = Counter[str](), Counter[str](), Counter[str]()
    for outcome in outcomes:
        totals[outcome.mutant.file] += 1
        killed[outcome.mutant.file] += outcome.state in KILLED
        slow[outcome.mutant.file] += outcome.state == "slow"
    print("killed   of  by time  equivalent")
    for file, total in [*totals.items(), ("all", totals.total())]:
        columns = [counter[file] if file in totals else counter.total() for counter in (killed, slow, equivalent)]
        print(f"{columns[0]:6} {total:4}  {columns[1]:7}  {columns[2]:10}  {file}")


def main(argv: Sequence[str]) -> int:
    """Run the mutants and print the survivors; return the exit status."""
    options = parse(argv)
    mutants, known = chosen(options.targets), equivalents()
    equivalent = Counter(mutant.file for mutant in mutants if mutant.key in known)
    wanted = [mutant for mutant in mutants if mutant.key not in known]
    if options.sample:
        wanted = random.Random(options.seed).sample(wanted, min(options.sample, len(wanted)))
    sources = {mutant.file: mutant.source for mutant in mutants}
    line_tests = measure(ROOT, tests_of(sources, options.tests), options.workers)
    controls = [trial_of(unchanged(*item), line_tests, math.inf) for item in sources.items()]
    trials = [trial_of(mutant, line_tests, options.seconds) for mutant in wanted]
    outcomes, untrusted = list[Outcome](), list[str]()

    def show(outcome: Outcome) -> None:
        if outcome.mutant.is_control:
            untrusted.extend([outcome.mutant.file] if outcome.state != "survived" else [])
            return
        outcomes.append(outcome)
        if len(outcomes) % 25 == 0:
            print(f"{len(outcomes)} of {len(trials)}", file=sys.stderr, flush=True)
        if outcome.state not in KILLED:
            _show(outcome, f"{len(outcomes)} of {len(trials)}")

    run_all(ROOT, [*controls, *trials], options.workers, show)
    report(outcomes, equivalent)
    for file, function, before, _ in stale(sources, known):
        print(f"{EQUIVALENT.name}: not a mutant any longer: {file} {function}: {before}")
    for file in untrusted:
        print(f"{file}: its tests fail, or take too long, without a change: its figures are not valid")
    return 1 if untrusted or any(outcome.state not in KILLED for outcome in outcomes) else 0


def _show(outcome: Outcome, number: str) -> None:
    mutant = outcome.mutant
    print(f"{number}: {outcome.state}  {mutant.file}:{mutant.line} {mutant.function}")
    print(f"    - {mutant.before}\n    + {mutant.after}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
