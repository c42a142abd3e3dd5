"""The shell as a process on a pseudo-terminal, with the session of tests/support/interface/fake_session.py."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.support.interface.command_line import FAKE
from tests.support.paths import ROOT

pexpect = pytest.importorskip("pexpect")

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|\x1b[=>]|\r")


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

    def do(self, line: str, then: str = r"\]: $") -> str:
        """Type a line and return what was answered, up to the next prompt."""
        self.child.send(line + "\r")
        self.until(re.escape(line))
        return self.until(then)
