"""Run scripts/test several times beside processes that keep all cores busy; list the tests that failed."""

from __future__ import annotations

import contextlib
import re
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

RUNS = 5
BUSY_PROCESSES = 10
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class TestRun:
    """One run of the tests.

    :param summary: pytest's last line.
    :param failed: ids of the tests that failed.
    """

    summary: str
    failed: tuple[str, ...]
    seconds: float
    cpu_seconds: float


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep all cores busy with this number of processes until the end of the block."""
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in burners:
            process.kill()
        for process in burners:
            process.wait(10)


def run_tests(args: Sequence[str]) -> TestRun:
    """Run the tests once; ``args`` go to pytest."""
    before, began = _child_cpu_seconds(), time.monotonic()
    done = subprocess.run(["scripts/test", "-q", *args], capture_output=True, text=True, check=False)
    seconds, cpu_seconds = time.monotonic() - began, _child_cpu_seconds() - before
    lines = done.stdout.strip().splitlines() or [f"no output; exit status {done.returncode}: {done.stderr[-500:]}"]
    failed = tuple(FAILED.findall(done.stdout)) or (("pytest itself",) if done.returncode else ())
    return TestRun(lines[-1], failed, seconds, cpu_seconds)


def _child_cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main(argv: Sequence[str]) -> int:
    """Run the tests and print what failed; return the exit status."""
    runs = int(argv[0]) if argv else RUNS
    count = int(argv[1]) if len(argv) > 1 else BUSY_PROCESSES
    failures: Counter[str] = Counter()
    with busy(count):
        for number in range(1, runs + 1):
            result = run_tests(argv[2:])
            failures.update(result.failed)
            print(
                f"run {number}: {result.summary}  ({result.seconds:.0f} s, {result.cpu_seconds:.0f} s of CPU)",
                flush=True,
            )
    for test, times in failures.most_common():
        print(f"failed in {times} of {runs}: {test}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
