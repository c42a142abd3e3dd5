"""Output of a training job: the lines of CloudWatch while it runs, and the last ones of what was fetched."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.aws.sagemaker.logs import LogReader
from orchestrator.core.errors import CloudRefused, first_line

TAIL_LINES = 10
OnLine = Callable[[str, str], None]


def last_lines(logs: Path, hosts: Iterable[str]) -> list[str]:
    """Return the last lines of the first log that was fetched: where CloudWatch did not show them."""
    for path in (logs / f"{host}.main.log" for host in hosts):
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:]
    return []


@dataclass
class Output:
    """Lines of a job; after a refusal, which is told once, none: they come with the results as well."""

    reader: LogReader
    warn: Callable[[str], None]
    has_news: bool = False
    is_refused: bool = False

    def pass_on(self, on_line: OnLine) -> None:
        """Pass on what has come since the last call."""
        self.has_news = False
        if self.is_refused:
            return
        try:
            for host, line in self.reader.read():
                self.has_news = True
                on_line(host, line)
        except CloudRefused as refusal:
            self.is_refused = True
            self.warn(f"its lines come with its results: {first_line(refusal)}")
