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

from groups import GROUPS, TEST_FOLDERS

RUN_TIMEOUT_S = 3600
COLLECT_TIMEOUT_S = 300
ASSUMED_S = 2.0
"""Time of a test that was not measured."""


@dataclass
class LineTests:
    """Tests that ran each line, and their time.

    :param lines: file -> line number -> ids of tests; those of line 0 ran any line of the file.
    :param seconds: of each test that passed.
    """

    lines: dict[str, dict[int, set[str]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(set)))
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, record: Mapping[str, Mapping[str, Sequence[str] | float]]) -> None:
        """Add what was measured for one test file."""
        self.seconds.update(record["seconds"])
        for place, tests in record["lines"].items():
            file, line = place.rsplit(":", 1)
            self.lines[file][int(line)].update(tests)
            self.lines[file][0].update(tests)

    def tests_for(self, file: str, first: int, last: int, *, limit_s: float) -> list[str]:
        """Return the tests of some lines within a limit, those in the file of the same name first, then the quick ones.

        :param limit_s: of the tests' time together; at least one is returned, if there are any.
        """
        lines = self.lines[file]
        # A line that runs when the module is imported belongs to no test: every test of the module may notice it.
        tests = set().union(*(lines.get(line, ()) for line in range(first, last + 1))) or lines.get(0, set())
        name = f"test_{Path(file).stem}.py"
        ranked = sorted(tests & self.seconds.keys(), key=lambda test: (name not in test, self.seconds[test], test))
        tests_in_time, total_s = list[str](), 0.0
        for test in ranked:
            total_s += self.seconds[test]
            if tests_in_time and total_s > limit_s:
                break
            tests_in_time.append(test)
        return tests_in_time


def measure(root: Path, workers: int) -> LineTests:
    """Return the tests of each line; run the test files that have changed since, or all if a module has."""
    cache = root / ".mutants"
    cache.mkdir(exist_ok=True)
    modules = _checksum(root / file for files in GROUPS.values() for file in files)
    files = [path for name in TEST_FOLDERS for path in sorted((root / name).rglob("test_*.py"))]
    records = {str(path.relative_to(root)): cache / f"{path.stem}-{_checksum([path])}-{modules}.json" for path in files}
    if missing := {name: str(record) for name, record in records.items() if not record.exists()}:
        print(f"measuring the lines of {len(missing)} test files", file=sys.stderr, flush=True)
        _run(root, missing, workers)
    line_tests = LineTests()
    for record in records.values():
        if record.exists():
            line_tests.add(json.loads(record.read_text()))
    return line_tests


def of_files(root: Path, test_files: Sequence[str], modules: Iterable[str]) -> LineTests:
    """Return the tests of some files as the tests of every line of some modules, without measuring any."""
    options = ["-q", "--collect-only", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:xdist"]
    collected = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *test_files],
        cwd=root,
        timeout=COLLECT_TIMEOUT_S,
        check=True,
        capture_output=True,
        text=True,
    )
    line_tests = LineTests()
    line_tests.seconds = {line: ASSUMED_S for line in collected.stdout.splitlines() if "::" in line}
    for module in modules:
        line_tests.lines[module][0].update(line_tests.seconds)
    return line_tests


def _checksum(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _run(root: Path, records: Mapping[str, str], workers: int) -> None:
    """Run test files with coverage; each process writes the record of a file when it is through with it."""
    task = {"records": records, "modules": [str(root / file) for files in GROUPS.values() for file in files]}
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
