"""Following a run on the screen, and the choice after Ctrl-C."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from orchestrator.core.output_line import OutputLine, as_output_line
from orchestrator.interface.console import CannotAsk, Console
from orchestrator.interface.render.styles import job_line, job_prefix
from orchestrator.interface.run_progress import RunProgress

QUESTION = "\n  Leave it running, cancel it, or keep watching?  [l/c/W] "


@dataclass
class LogPrinter:
    """Prints a run's output line by line, from whichever thread it comes.

    A run that is followed again starts from its first line, so lines that were printed before are counted and skipped.

    :param with_host: print the host's name before each line; switched on when a second host prints.
    :param progress: reads the lines, and shows those about nothing but progress; None prints all.
    """

    console: Console
    with_host: bool = False
    progress: RunProgress | None = None
    printed: Counter[str] = field(default_factory=Counter)
    _round: int = 0
    _open: set[str] = field(default_factory=set)

    def listener(self) -> Callable[[str, str], None]:
        """Return the function to call with (host, line); earlier ones print nothing from now on."""
        self._round += 1
        own_round, received = self._round, Counter[str]()

        def on_line(host: str, line: str) -> None:
            # Threads of an abandoned round may still deliver lines.
            if own_round != self._round:
                return
            received[host] += 1
            if received[host] > self.printed[host]:
                self.printed[host] = received[host]
                self._print(host, line)

        return on_line

    def expect(self, hosts: Sequence[str]) -> None:
        """Prepare for the output of some hosts: of several, each line gets its host's name from the first one on."""
        self.with_host = self.with_host or len(hosts) > 1

    def pause(self) -> None:
        """Silence every listener so far."""
        self._round += 1

    def _print(self, host: str, line: str) -> None:
        # Which hosts print is not known before: while only one does, its name would be noise.
        self.with_host = self.with_host or len(self.printed) > 1
        if self.progress is None or not self.progress.read_line(host, line):
            self._print_line(host, line)

    def _print_line(self, host: str, line: str) -> None:
        name = host if self.with_host else ""
        if self.console.is_terminal:
            self.console.print(job_line(line, name))
        else:
            self._pass_on(host, as_output_line(line), job_prefix(name))

    def _pass_on(self, host: str, line: OutputLine, prefix: str) -> None:
        # States of a progress bar are printed with their line: what is read by a program stays as it was written.
        if line.raw or line.ends_line:
            self.console.print_output(prefix, line, at_start=host not in self._open)
            self._open.discard(host) if line.ends_line else self._open.add(host)

    @contextmanager
    def showing_progress(self) -> Iterator[None]:
        """Show progress below the lines while the block runs; its last state stays."""
        if self.progress is None:
            yield
            return
        try:
            with self.progress.shown():
                yield
        finally:
            for host, line in self.progress.take_unprinted():
                self._print_line(host, line)


def ask_after_interrupt(console: Console) -> str:
    """Ask what to do after Ctrl-C: ``l`` leave the run, ``c`` cancel it, ``w`` keep watching.

    Without a terminal, and on a second Ctrl-C, the run is left: it continues on the VMs, so nothing is lost.
    """
    if not console.is_interactive:
        return "l"
    try:
        answer = console.ask(QUESTION, "w")[:1]
    except (KeyboardInterrupt, EOFError, CannotAsk):
        # Ctrl-C leaves the cursor behind the question.
        console.print("")
        return "l"
    return answer if answer in ("l", "c") else "w"
