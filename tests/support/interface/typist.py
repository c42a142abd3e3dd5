"""A user at a real prompt, who types what the program's hints say."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import pytest

from orchestrator.interface.verbs.registry import default_registry
from tests.support.interface import children
from tests.support.interface.shell_process import ESCAPES

pexpect = pytest.importorskip("pexpect")

PROMPT = r"\w+ \[[^\]]*\]: $"
QUESTION = r"\[[^\]]*/[^\]]*\] $"
BROKEN = re.compile(r"a bug in Stratus|Traceback|no such verb|SyntaxError|TypeError")
VERBS = "|".join([*default_registry().by_name, "Help"])
CALL = re.compile(rf"\b(?:{VERBS})\([^()]*\)")
TIMEOUT_S = 180.0


def hints(text: str) -> list[str]:
    """Return the calls of verbs in a text of the program; each is Python that fits its verb."""
    calls = CALL.findall(text)
    for call in calls:
        tree = ast.parse(call, mode="eval").body
        assert isinstance(tree, ast.Call), call
        assert isinstance(tree.func, ast.Name), call
        if verb := default_registry().find(tree.func.id):
            values = [ast.literal_eval(argument) for argument in tree.args]
            options = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in tree.keywords}
            verb.signature.bind(*values, **options)
    return calls


class Typist:
    """One shell on a pseudo-terminal.

    :param command: the program and its arguments.
    """

    def __init__(self, command: Sequence[str], folder: Path, env: Mapping[str, str]) -> None:
        self.child = pexpect.spawn(
            command[0],
            list(command[1:]),
            cwd=str(folder),
            env=dict(env),
            encoding="utf-8",
            dimensions=(60, 110),
            timeout=TIMEOUT_S,
        )
        self._seen = ""
        self.banner = self.until(PROMPT)

    def __enter__(self) -> Typist:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        children.end(self.child)

    def until(self, pattern: str) -> str:
        """Read until a pattern has come; return the text up to its end."""
        while True:
            text = ESCAPES.sub("", self._seen)
            if match := re.search(pattern, text):
                self._seen = text[match.end() :]
                return text[: match.end()]
            try:
                self._seen += self.child.read_nonblocking(4096, timeout=TIMEOUT_S)
            except (pexpect.TIMEOUT, pexpect.EOF) as error:
                raise AssertionError(f"{pattern!r} never came; there was:\n{text}") from error

    def type(self, line: str, answer: str = "") -> str:
        """Type a line, answer the question that it asks, and return what was printed.

        :param answer: to its question; the empty line takes the default.
        """
        self.child.send(line + "\r")
        self.until(re.escape(line))
        text = self.until(f"{PROMPT}|{QUESTION}")
        if re.search(QUESTION, text):
            self.child.send(answer + "\r")
            text += self.until(PROMPT)
        assert not BROKEN.search(text), text
        hints(text)
        return text

    def follow(self, text: str, verb: str, answer: str = "") -> str:
        """Type the hint for a verb in a text as it was printed, and return what that prints."""
        matching = [hint for hint in hints(text) if hint.startswith(f"{verb}(")]
        assert matching, f"no hint {verb}(...) in:\n{text}"
        return self.type(matching[-1], answer)
