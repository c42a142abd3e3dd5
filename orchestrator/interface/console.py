"""The one door to the user: everything that is printed or asked goes through a :class:`Console`."""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TextIO

from orchestrator.interface.render import units

# Words that a glance should find. Only what is at the start of a cell or a sentence of ours, so paths stay as they are.
_COLOURS = (
    (re.compile(r"(?<= )(ready|done|running|terminated|gone)(?=  |$|   )"), "32"),
    (re.compile(r"(?<= )(?<! 0 )(failed|lost|NOT encrypted|price unknown)(?=  |$|,| )"), "31"),
    (re.compile(r"<?\$[0-9][0-9,.]*(?:/h)?"), "33"),
    (re.compile(r"(?<=Next: )[A-Z]\w+\([^)]*\)(?: or [A-Z]\w+\([^)]*\))*"), "1;36"),
    (re.compile(r"^  (Plan|Price|Limit|Access)(?= )"), "1"),
)
_DIM = re.compile(r"^  (?:\S+ )?\| ")


def coloured(line: str) -> str:
    """Return a line with its telling words coloured, for a terminal."""
    if _DIM.match(line):
        return _DIM.sub(lambda match: f"\x1b[2m{match[0]}\x1b[0m", line)
    for pattern, code in _COLOURS:
        line = pattern.sub(lambda match, code=code: f"\x1b[{code}m{match[0]}\x1b[0m", line)  # type: ignore[misc]
    return line


def _as_typed(line: str) -> str:
    return line


@dataclass
class Console:
    """Where words go, and where answers come from.

    :param document: stdout carries one JSON document, so everything else goes to stderr.
    :param can_ask: somebody is there to answer; None: find out from stdin.
    :param reword: rewrites a line for where it is read: verbs become commands on the command line.
    :param program: what starts this program from a terminal.
    :param env: ``NO_COLOR`` (https://no-color.org) and ``TERM`` are looked at.
    """

    document: bool = False
    can_ask: bool | None = None
    reword: Callable[[str], str] = _as_typed
    program: str = "stratus"
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # sys.stdout is looked up each time: IPython and notebooks exchange it.

    @property
    def stream(self) -> TextIO:
        """Where ordinary words go."""
        return sys.stderr if self.document else sys.stdout

    @property
    def moves(self) -> bool:
        """Whether ordinary words go to a terminal on which lines can be redrawn."""
        return _terminal(self.stream) and self.env.get("TERM", "") not in ("", "dumb")

    @property
    def asks(self) -> bool:
        """Whether somebody is there to answer a question."""
        return sys.stdin is not None and sys.stdin.isatty() if self.can_ask is None else self.can_ask

    def say(self, lines: str | Iterable[str]) -> None:
        """Print ordinary words."""
        self._write(self.stream, lines)

    def complain(self, lines: str | Iterable[str]) -> None:
        """Print what went wrong, to stderr."""
        self._write(sys.stderr, lines)

    def write(self, text: str) -> None:
        """Print the one thing that was asked for (a JSON document, a template), as it is, to stdout."""
        with self._lock:
            sys.stdout.write(_writable(text if text.endswith("\n") else text + "\n", sys.stdout))
            sys.stdout.flush()

    def ask(self, question: str, default: str) -> str:
        """Ask and return the answer in lower case; an empty line is the default.

        :raises EOFError: when the input has ended.
        """
        stream = self.stream
        stream.flush()
        if stream is sys.stdout:
            return input(question).strip().lower() or default
        stream.write(question)
        stream.flush()
        return input().strip().lower() or default

    def _write(self, stream: TextIO, lines: str | Iterable[str]) -> None:
        found = lines.splitlines() if isinstance(lines, str) else list(lines)
        colours = _terminal(stream) and not self.env.get("NO_COLOR") and self.env.get("TERM") != "dumb"
        said = [self.reword(line) for line in found]
        if _terminal(stream):
            width = shutil.get_terminal_size().columns
            said = [part for line in said for part in units.wrapped(line, width)]
        text = "".join(f"{coloured(line) if colours else line}\n" for line in said)
        with self._lock:
            stream.write(_writable(text, stream))
            stream.flush()


def _writable(text: str, stream: TextIO) -> str:
    """Return a text with what the stream's encoding lacks replaced: a job's umlaut must not end its display."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def _terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False
