"""One command line from its words to its exit code."""

from __future__ import annotations

import argparse
import shlex
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import CloudRefused, StratusError, UsageError
from orchestrator.core.next_step import NextStep
from orchestrator.core.version import __version__
from orchestrator.interface.cli import commands, groups, parser
from orchestrator.interface.cli.commands import Command
from orchestrator.interface.console import Console
from orchestrator.interface.verbs.registry import VerbRegistry, default_registry

if TYPE_CHECKING:
    from orchestrator.config.settings import Settings
    from orchestrator.interface.workspace import SessionFactory, Workspace


class NoCloud(CloudRefused):
    """The embedded cloud could not be started."""

    json_name = "NoCloud"


def _nothing() -> None:
    pass


def _unchanged(settings: Settings) -> Settings:
    return settings


@dataclass(frozen=True)
class Setup:
    """Circumstances in which this program was started.

    :param program: what to type to start it again.
    :param config: the config file when ``--config`` names none; None looks in the working directory.
    :param local: ``--local`` was given and is taken care of.
    :param prepare: called before the first verb that needs the cloud, and not for ``--help`` and the like.
    :param adapt: adapts the settings of a config file to the cloud.
    :param session_factory: opens sessions; None is the real one.
    :param registry: the verbs.
    """

    program: str = "stratus"
    config: Path | None = None
    local: bool = False
    prepare: Callable[[], None] = _nothing
    adapt: Callable[[Settings], Settings] = _unchanged
    session_factory: SessionFactory | None = None
    registry: VerbRegistry = field(default_factory=default_registry)


class Invocation:
    """One command line.

    :param argv: its words, without the program.
    """

    def __init__(self, argv: Sequence[str], setup: Setup, console: Console) -> None:
        self.argv = argv
        self.setup = setup
        self.console = console
        self.workspace: Workspace | None = None
        self._changes_cluster = False
        # Before parsing, so that hints of usage errors are commands as well.
        self._word_for(setup.program)

    def _word_for(self, program: str) -> None:
        """Word hints as commands of this program."""

        def word(step: NextStep) -> str:
            return self.setup.registry.as_command(step, program)

        self.console.program = program
        self.console.word = word

    def run(self) -> int:
        """Carry it out and return the exit code."""
        at = parser.verb_at(self.argv)
        self.argv = groups.expanded(self.argv, at, self.setup.registry, self.setup.program)
        word = self.argv[at] if at < len(self.argv) else ""
        known = commands.commands_for(self.setup.registry, self.setup.program, word)
        options = parser.parse(self.argv, known, self.setup.program)
        # The parser has to know the option, because run_interface.py parses with the same one.
        if options.local and not self.setup.local:
            raise UsageError(
                "--local starts the embedded cloud, and only run_interface.py can do that",
                fix=f"python run_interface.py {shlex.join(self.argv)}",
            )
        # From here on hints repeat the options before the verb: without --config they would name another cluster.
        self._word_for(_with_config(self.setup.program, options))
        command = next((item for item in known if options.verb in (item.name, *item.aliases)), None)
        if command is None or not command.verbs:
            own = {"completion": self._completion, "manual": self._manual, "shell": self._shell}
            return own[options.verb or "shell"](options, known)
        return self._verb(command, options)

    def _verb(self, command: Command, options: argparse.Namespace) -> int:
        arguments = vars(options)
        verb = commands.select(command, arguments)
        positional, named, foreign = commands.bind(command, verb, arguments)
        if foreign:
            raise UsageError(f"{foreign[0]} does not go with {verb.flag or verb.command}", fix="leave one of them out")
        # After the checks above: a mistake in the options must not start the embedded cloud first.
        workspace = self.open_workspace(options, needs_cloud=verb.needs_cloud(named))
        self._changes_cluster = verb.changes_cluster
        workspace.open_until = "Ctrl-C"
        answer = verb.function(workspace, *positional, **named)
        if self.console.document and verb.document is not None:
            self._print_document(verb.document(answer))
        # After the document: a script reads the tunnel's address while the tunnel is open.
        if verb.stays_open and workspace.holds_open:
            self._wait_for_interrupt()
        return verb.exit_code(answer, named)

    def _wait_for_interrupt(self) -> None:
        try:
            # The timeout lets Python notice Ctrl-C on every platform.
            while not threading.Event().wait(3600):
                pass
        except KeyboardInterrupt:
            self.console.print("  closed")

    def _completion(self, options: argparse.Namespace, known: list[Command]) -> int:
        from orchestrator.interface.cli import completion

        return self._print_text(completion.script(options.shell, known))

    def _manual(self, options: argparse.Namespace, known: list[Command]) -> int:  # noqa: ARG002 - as the others
        from orchestrator.interface.verbs import help as verb_help

        return self._print_text(verb_help.manual(self.setup.registry))

    def _print_text(self, text: str) -> int:
        """Print a text that is the answer itself; in a document it is a value."""
        if self.console.document:
            self._print_document({"text": text})
        else:
            self.console.print_raw(text)
        return 0

    def _shell(self, options: argparse.Namespace, known: list[Command]) -> int:  # noqa: ARG002 - as the others
        # IPython is slow to import: only the shell pays for it.
        from orchestrator.interface.shell import app, statements

        # A script cannot answer questions, and was started on purpose.
        scripted = options.statements is not None or not sys.stdin.isatty()
        if self.console.document and not scripted:
            raise UsageError("--output json takes a verb or statements", fix=f"{self.setup.program} --help")
        workspace = self.open_workspace(options, assume_yes=scripted)
        word = self.console.word
        # What is typed next here is Python.
        self.console.word = str
        if not scripted:
            try:
                return app.start(workspace, self.setup.registry, version=__version__)
            except StratusError:
                # No shell has opened: what is typed next is a command.
                self.console.word = word
                raise
        text = sys.stdin.read() if options.statements is None else options.statements
        if not text.strip():
            raise UsageError("no verb, and no terminal for the shell", fix=f"{self.setup.program} --help")
        outcome = statements.run(workspace, self.setup.registry, text)
        if self.console.document:
            self._print_document(outcome.document)
        return outcome.exit_code

    def open_workspace(
        self, options: argparse.Namespace, *, assume_yes: bool = False, needs_cloud: bool = True
    ) -> Workspace:
        """Return the workspace; its session opens when a verb needs it.

        :param assume_yes: do not ask for confirmation of prices.
        :param needs_cloud: start the embedded cloud, if it is the one.
        """
        from orchestrator.interface.workspace import Workspace

        # Before the config is read: it may refer to what the embedded cloud sets up.
        if needs_cloud:
            self.setup.prepare()
        factory: dict[str, Any] = {"session_factory": self.setup.session_factory} if self.setup.session_factory else {}
        config = options.config or self.setup.config
        # The composition root of the command line: the only clock of all verbs.
        self.workspace = Workspace(
            config, self.console, REAL_CLOCK, assume_yes=assume_yes, adapt=self.setup.adapt, **factory
        )
        return self.workspace

    def _print_document(self, record: object) -> None:
        from orchestrator.interface.cli import json_output

        self.console.print_raw(json_output.text(json_output.document(record), self.console.worded))

    def fail(self, error: StratusError) -> int:
        """Print what went wrong, as the document too if one was asked for, and return the exit code."""
        # Also with a document: the log of a CI job shows stderr.
        self.console.print_error(error.lines())
        if self.console.document:
            from orchestrator.interface.cli import json_output

            # What was achieved before the error belongs to the document.
            achieved = json_output.document(self.workspace.last_answer) if self.workspace else None
            achieved = achieved if isinstance(achieved, dict) else {"result": achieved} if achieved else {}
            document = achieved | json_output.document(error)
            self.console.print_raw(json_output.text(document, self.console.worded))
        return error.exit_code

    def report_closed_output(self) -> None:
        """Tell on stderr that a verb which launches or terminates was cut off, because nothing reads its output."""
        if self._changes_cluster:
            shows = NextStep("Status") + "  shows what is up"
            self.console.print_error(["The output was closed before the end.", "  " + shows])

    def report_bug(self, error: Exception) -> StratusError:
        """Return a one-line error for an unexpected exception; its traceback is kept in a file."""
        # Imported here, as the verbs' other modules are: help, completion and usage errors answer without them.
        from orchestrator.interface.workspace import Workspace

        return (self.workspace or Workspace(None, self.console, REAL_CLOCK)).report_bug(error)

    def close(self) -> None:
        """Close tunnels and connections."""
        if self.workspace is not None:
            self.workspace.close()


def _with_config(program: str, options: argparse.Namespace) -> str:
    """Return what starts the program with the same options before the verb."""
    return f"{program} --config {shlex.quote(str(options.config))}" if options.config else program
