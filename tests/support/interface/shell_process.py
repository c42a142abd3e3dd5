"""The shell as a process on a pseudo-terminal, with the session of tests/support/interface/fake_session.py."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from pathlib import Path

import pytest

from tests.support.interface.command_line import FAKE
from tests.support.paths import ROOT

pexpect = pytest.importorskip("pexpect")

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|\x1b[=>]|\r")
TABS, TAB_WAIT_S = 10, 3.0


class ShellProcess:
    """One shell on a pseudo-terminal, typed into and read as text without colors and cursor moves."""

    def __init__(self, place: Path, bad: str = "", term: str = "xterm") -> None:
        env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(place),
            "PYTHONPATH": str(ROOT),
            "STRATUS_HOME": str(place / "home"),
            "IPYTHONDIR": str(place / "ipython"),
            "TERM": term,
            "PROMPT_TOOLKIT_NO_CPR": "1",
            "PAPER": bad,
            "LC_ALL": "C.UTF-8",
        }
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", FAKE],
            cwd=place,
            env=env,
            encoding="utf-8",
            timeout=20,
            dimensions=(60, 130),
        )
        self.seen = ""

    def until(self, pattern: str) -> str:
        """Read until a pattern has come; return the text since the last time up to its end."""
        while True:
            text = ESCAPES.sub("", self.seen)
            if found := re.search(pattern, text):
                self.seen = text[found.end() :]
                return text[: found.end()]
            try:
                self.seen += self.child.read_nonblocking(4096, timeout=20)
            except (pexpect.TIMEOUT, pexpect.EOF) as error:
                raise AssertionError(f"{pattern!r} never came; there was:\n{text}") from error

    def complete(self, typed: str, shown: str) -> None:
        """Type a beginning and Tab, wait until a pattern is shown, and clear the line."""
        self.child.send(typed)
        self.until(re.escape(typed))
        for _ in range(TABS):
            # prompt_toolkit ignores a Tab that comes while the completion before it is being made.
            self.child.send("\t")
            if self._comes(shown, TAB_WAIT_S):
                break
        self.until(shown)
        self.child.send("\x15")

    def _comes(self, pattern: str, seconds: float) -> bool:
        """Read for some time; return True when a pattern has come, which is left to be read."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if re.search(pattern, ESCAPES.sub("", self.seen)):
                return True
            with contextlib.suppress(pexpect.TIMEOUT):
                self.seen += self.child.read_nonblocking(4096, timeout=0.2)
        return False

    def do(self, line: str, then: str = r"\]: $") -> str:
        """Type a line and return what was answered, up to the next prompt."""
        self.child.send(line + "\r")
        self.until(re.escape(line))
        return self.until(then)
