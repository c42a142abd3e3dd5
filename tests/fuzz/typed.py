"""Typed input: command lines and lines at the prompt, on a session whose VMs are names in a file."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.interface.cli import invocation
from orchestrator.interface.cli import main as cli_main
from orchestrator.interface.verbs.registry import default_registry
from tests.support.interface.command_line import make_workplace
from tests.support.interface.fake_session import FakeSession

# Those that replace this process, wait for Ctrl-C, or start clouds and programs.
_EXCLUDED = ("ssh", "jupyter", "tunnel", "dashboard", "rehearse", "shell", "sample-data")
_VERBS = [verb for verb in default_registry() if verb.command not in _EXCLUDED]
COMMANDS = tuple(sorted({verb.command for verb in _VERBS} | {"completion", "manual", "--help", "--version"}))
VERBS = tuple(sorted(verb.name for verb in _VERBS))
EXIT_CODES = (0, 1, 2, 3, 4, 130)


@contextlib.contextmanager
def _workplace() -> Iterator[None]:
    """Work in a new folder, with two VMs that are up."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = make_workplace(Path(scratch))
        old = {name: os.environ.get(name) for name in ("STRATUS_HOME", "HOME")}
        os.environ |= {"STRATUS_HOME": str(folder / "home"), "HOME": str(folder)}
        try:
            with contextlib.chdir(folder):
                yield
        finally:
            for name, value in old.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def _run(words: list[str]) -> tuple[int, str]:
    """Carry out a command line; return its exit code and everything it printed."""
    setup: Any = invocation.Setup("stratus", session_factory=FakeSession)  # type: ignore[arg-type]
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace", write_through=True)
    with _workplace(), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        stdin, sys.stdin = sys.stdin, io.StringIO("")
        try:
            code = cli_main.main(words, setup)
        except SystemExit as end:
            # argparse ends the program itself for --help and --version.
            code = end.code if isinstance(end.code, int) else 0
        finally:
            sys.stdin = stdin
    printed.seek(0)
    return code, printed.read()


def check_command(words: list[str]) -> None:
    """A command line ends with a documented exit code, and is no bug."""
    if words[0] in _EXCLUDED or "-c" in words:
        return
    code, text = _run(words)
    _check(code, text)


def check_line(line: str) -> None:
    """A line at the prompt is carried out, or answered by one error."""
    code, text = _run(["-c", line])
    _check(code, text)


def _check(code: int, text: str) -> None:
    assert code in EXIT_CODES, code
    # The user's own statements have tracebacks of their own; the fake services have some of the methods only.
    shown = text.replace('File "<statements>"', "")
    assert "'Fake" in text or ("bug in Stratus" not in text and 'File "' not in shown), text
