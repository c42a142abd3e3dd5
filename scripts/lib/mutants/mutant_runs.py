"""Runs of mutants, each in a forked process: nothing on disk changes.

A mutant of a function replaces the function's code in a process that has collected all tests. A mutant of a
module or a class is compiled when the module is imported: its process begins before the project is loaded.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import inspect
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TypedDict

import pytest
from mutations import Mutant

POLL_S = 0.02
START_S = 40.0
"""Deadline of a mutant besides the time of its tests: the start of pytest on a busy computer."""

TEST_S = 15.0
"""Deadline of one test besides its own time: a loop without an end is found in the first test that runs it."""

SLOWER = 5.0
"""A mutant may be this many times slower than its tests were; then it is run again, alone, and counts as killed."""

WARM_UP_S = 0.2
"""A test that takes longer uses what most tests of its file use, such as the embedded cloud."""

KILLED, BROKEN, SURVIVED = 1, 70, 0
OPTIONS = ("-x", "-qq", "-s", "--disable-warnings", "-p", "no:xdist", "-p", "no:cacheprovider", "--tb=line")


@dataclass(frozen=True)
class Trial:
    """One mutant and the tests that could notice it.

    :param tests: their ids, each with its time in seconds.
    """

    mutant: Mutant
    tests: Mapping[str, float]


@dataclass(frozen=True)
class Outcome:
    """Outcome of a trial.

    :param state: ``killed``, ``slow`` (met the deadline twice, the second time alone), ``survived`` or ``untested``.
    """

    mutant: Mutant
    state: str


@dataclass(frozen=True)
class _Process:
    pid: int
    trial: Trial
    deadline: float


def run_all(root: Path, trials: Sequence[Trial], workers: int, show: Callable[[Outcome], None]) -> None:
    """Run trials side by side, and call ``show`` with the outcome of each as it comes."""
    os.environ["CI"] = "true"
    os.chdir(root)
    sys.path[0] = str(root)
    _preload()
    tested = [trial for trial in trials if trial.tests]
    for trial in trials:
        if not trial.tests:
            show(Outcome(trial.mutant, "untested"))
    modules = [trial for trial in tested if not trial.mutant.is_in_function]
    functions = [trial for trial in tested if trial.mutant.is_in_function]
    for outcome in _side_by_side(modules, workers, lambda trial: _run_with_module(root, trial)):
        show(outcome)
    if functions:
        files = sorted({test.partition("::")[0] for trial in functions for test in trial.tests})
        pytest.main([*OPTIONS, "-m", "not slow", *files], plugins=[_Functions(functions, workers, show)])


class _Functions:
    """pytest plugin that runs trials where pytest would run the tests that it has collected."""

    def __init__(self, trials: Sequence[Trial], workers: int, show: Callable[[Outcome], None]) -> None:
        self.trials, self.workers, self.show = trials, workers, show
        self.failed = False

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run each trial in a process of its own."""
        items = {item.nodeid: item for item in session.items}
        # Shared, so that two processes never choose the same folder.
        folder: Path = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        killers = folder / "killers"

        def run(trial: Trial) -> int:
            if not _replace_code(trial.mutant):
                return BROKEN
            tests = _in_order([items[test] for test in trial.tests if test in items], trial, killers)
            threadless = list[str]()
            for item, following in zip(tests, [*tests[1:], None], strict=True):
                # Its default action ends the process.
                signal.setitimer(signal.ITIMER_REAL, TEST_S + SLOWER * trial.tests[item.nodeid])
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if self.failed:
                    with killers.open("a") as file:
                        file.write(f"{trial.mutant.place}\t{item.nodeid}\n")
                    return KILLED
                threadless += [item.nodeid] if threading.active_count() == 1 else []
            if trial.mutant.is_control:
                notes = _Notes(modules=[*sys.modules], threadless=threadless)
                (folder / f"{os.getpid()}.notes").write_text(json.dumps(notes))
            return SURVIVED if tests else BROKEN

        controls = [trial for trial in self.trials if trial.mutant.is_control]
        for outcome in _side_by_side(controls, self.workers, run):
            self.show(outcome)
        for file in folder.glob("*.notes"):
            _warm_up(json.loads(file.read_text()), items, controls)
        self.failed = False
        for outcome in _side_by_side([trial for trial in self.trials if trial not in controls], self.workers, run):
            self.show(outcome)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a failure."""
        self.failed = self.failed or report.failed


def _preload() -> None:
    """Import what the tests need from elsewhere, so that a forked process has it."""
    for name in ("boto3", "fabric", "hypothesis", "paramiko", "rich.console"):
        importlib.import_module(name)


def _in_order(tests: Sequence[pytest.Item], trial: Trial, killers: Path) -> list[pytest.Item]:
    """Return tests, those first that killed other mutants of the same function.

    :param killers: file with lines of a function and a test.
    """
    lines = killers.read_text().splitlines() if killers.exists() else []
    counts = Counter(test for place, _, test in (line.partition("\t") for line in lines) if place == trial.mutant.place)
    return sorted(tests, key=lambda item: -counts[item.nodeid])


class _Notes(TypedDict):
    """Facts that a control leaves for the mutants of its module.

    :ivar modules: names of all that its tests imported.
    :ivar threadless: ids of the tests that left no thread.
    """

    modules: list[str]
    threadless: list[str]


def _warm_up(notes: _Notes, items: Mapping[str, pytest.Item], controls: Sequence[Trial]) -> None:
    """Import what tests import as they run, and run one for each file: both take most of the time of a cold process."""
    for name in notes["modules"]:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    seconds = {test: duration_s for trial in controls for test, duration_s in trial.tests.items()}
    # A process with threads cannot be forked safely.
    tests = [test for test in notes["threadless"] if seconds[test] > WARM_UP_S]
    first_tests = {test.partition("::")[0]: items[test] for test in reversed(tests)}
    with _silence():
        for item in first_tests.values():
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    sys.stdout.flush()
    stdout = os.dup(1)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(stdout, 1)
        os.close(stdout)


def _side_by_side(trials: Sequence[Trial], workers: int, run: Callable[[Trial], int]) -> Iterator[Outcome]:
    """Run trials; those that meet their deadline are run once more, one at a time: the computer may have been busy."""
    slow = list[Trial]()
    for trial, state in _states(trials, workers, run):
        if state == "slow":
            slow.append(trial)
        else:
            yield Outcome(trial.mutant, state)
    for trial, state in _states(slow, 1, run):
        yield Outcome(trial.mutant, state)


def _states(trials: Sequence[Trial], workers: int, run: Callable[[Trial], int]) -> Iterator[tuple[Trial, str]]:
    waiting, running = list(reversed(trials)), list[_Process]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(_start(waiting.pop(), run))
            for process in list(running):
                if state := _state(process):
                    running.remove(process)
                    yield process.trial, state
            time.sleep(POLL_S)
    finally:
        for process in running:
            _end(process)


def _start(trial: Trial, run: Callable[[Trial], int]) -> _Process:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        status = BROKEN
        try:
            os.setsid()
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            status = run(trial)
        finally:
            os._exit(status)
    return _Process(pid, trial, time.monotonic() + START_S + SLOWER * sum(trial.tests.values()))


def _state(process: _Process) -> str:
    """Return the outcome of a process; empty while it runs."""
    pid, status = os.waitpid(process.pid, os.WNOHANG)
    if not pid and time.monotonic() < process.deadline:
        return ""
    _end(process)
    code = os.waitstatus_to_exitcode(status) if pid else -signal.SIGALRM
    if code == -signal.SIGALRM:
        return "slow"
    return {BROKEN: "untested", SURVIVED: "survived"}.get(code, "killed")


def _end(process: _Process) -> None:
    """End a process with those that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, 0)


# -- mutants of functions


def _replace_code(mutant: Mutant) -> bool:
    """Replace the code of a function in all its forms: methods, properties, decorated and partial functions.

    :return: False if a change was to be made and the function was not found.
    """
    path = str(Path(mutant.file).resolve())
    before, after = (compile(source, path, "exec") for source in (mutant.source, mutant.mutated))
    pairs = zip(_functions(before), _functions(after), strict=True)
    replacements = {_identity(old): new for old, new in pairs if old != new}
    is_replaced = not replacements
    # The embedded cloud freezes what exists, and frozen objects are not listed.
    gc.unfreeze()
    for item in gc.get_objects():
        if isinstance(item, FunctionType) and (code := replacements.get(_identity(item.__code__))):
            item.__code__, is_replaced = code, True
        elif isinstance(item, functools._lru_cache_wrapper) and item.__module__.startswith("orchestrator."):
            # Filled by the test that ran before.
            item.cache_clear()
    return is_replaced


def _identity(code: CodeType) -> tuple[str, str, int]:
    return code.co_filename, code.co_qualname, code.co_firstlineno


def _functions(code: CodeType) -> Iterator[CodeType]:
    """Return the functions and methods of a module, without those inside of them."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType) and constant.co_flags & inspect.CO_OPTIMIZED:
            yield constant
        elif isinstance(constant, CodeType):
            yield from _functions(constant)


# -- mutants of modules and classes


class _Finder(MetaPathFinder):
    """Finder that compiles one module from its mutated source."""

    def __init__(self, path: Path, mutant: Mutant) -> None:
        self.path, self.mutant = path, mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the module's usual spec with another loader."""
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin != str(self.path):
            return None
        spec.loader = _Loader(fullname, str(self.path), self.mutant)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, mutant: Mutant) -> None:
        super().__init__(name, path)
        self.mutant = mutant

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - importlib gives the name
        """Return the mutated module's code, never that of a compiled file."""
        return compile(self.mutant.mutated, self.path, "exec")


def _run_with_module(root: Path, trial: Trial) -> int:
    sys.meta_path.insert(0, _Finder(root / trial.mutant.file, trial.mutant))
    status = pytest.main([*OPTIONS, *trial.tests])
    return SURVIVED if status == pytest.ExitCode.OK else KILLED
