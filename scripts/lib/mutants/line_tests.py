"""Tests of each line of the source: measured once per test file, with coverage, and kept in .mutants/."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

RUN_TIMEOUT_S = 3600
QUICK_S = 1.0
"""Tests below run first: a mutant ends with the first test that fails."""


@dataclass
class LineTests:
    """Tests that ran each line, and their time.

    :param lines: file -> line number -> ids of tests; line 0 has all tests of the file.
    :param seconds: of each test that passed.
    """

    lines: dict[str, dict[int, set[str]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(set)))
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, record: Mapping[str, Mapping[str, Sequence[str] | float]], modules: Sequence[str]) -> None:
        """Add what was measured for one test file, of the modules that it holds."""
        self.seconds.update(record["seconds"])
        for file in modules:
            self.lines[file][0].update(record["seconds"])
        for place, tests in record["lines"].items():
            file, line = place.rsplit(":", 1)
            if file in modules:
                self.lines[file][int(line)].update(tests)

    def tests_for(self, file: str, first: int, last: int, *, limit_s: float) -> list[str]:
        """Return the tests of some lines within a limit: the quick ones first, and of these the module's own.

        :param limit_s: of the tests' time together; at least one is returned, if there are any.
        """
        lines = self.lines[file]
        # Coverage does not count each line of an expression: then every test may notice it.
        tests = set().union(*(lines.get(line, ()) for line in range(first, last + 1))) or lines.get(0, set())
        name = f"test_{Path(file).stem}.py"
        ranked = sorted(tests & self.seconds.keys(), key=lambda test: self._rank(test, name))
        tests_in_time, total_s = list[str](), 0.0
        for test in ranked:
            total_s += self.seconds[test]
            if tests_in_time and total_s > limit_s:
                break
            tests_in_time.append(test)
        return tests_in_time

    def _rank(self, test: str, name: str) -> tuple[bool, bool, float, str]:
        return self.seconds[test] > QUICK_S, name not in test, self.seconds[test], test


def measure(root: Path, tests: Mapping[str, Sequence[str]], workers: int) -> LineTests:
    """Return the tests of each line of some modules; run the test files that have changed since, or whose modules have.

    :param tests: module -> its test files.
    """
    cache = root / ".mutants"
    cache.mkdir(exist_ok=True)
    modules = defaultdict[str, list[str]](list)
    for module, files in tests.items():
        for file in files:
            modules[file].append(module)
    records = {file: cache / f"{Path(file).stem}-{_checksum(root, [file, *modules[file]])}.json" for file in modules}
    if missing := {name: str(record) for name, record in records.items() if not record.exists()}:
        print(f"measuring the lines of {len(missing)} test files", file=sys.stderr, flush=True)
        _run(root, missing, [str(root / module) for module in tests], workers)
    line_tests = LineTests()
    for file, record in records.items():
        if record.exists():
            line_tests.add(json.loads(record.read_text()), modules[file])
    return line_tests


def _checksum(root: Path, names: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}\0".encode() + (root / name).read_bytes())
    return digest.hexdigest()[:16]


def _run(root: Path, records: Mapping[str, str], modules: Sequence[str], workers: int) -> None:
    """Run test files with coverage; each process writes the record of a file when it is through with it."""
    task = {"records": records, "modules": modules}
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "MUTANTS_MEASURE": json.dumps(task)}
    options = ["-q", "-m", "not slow", "-p", "no:cacheprovider", "-p", "coverage_plugin"]
    subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--numprocesses", str(workers), "--dist", "loadfile", *records],
        cwd=root,
        env=environment,
        timeout=RUN_TIMEOUT_S,
        check=False,
        stdout=sys.stderr,
    )
