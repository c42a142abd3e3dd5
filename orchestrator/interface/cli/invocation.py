"""One command line as it is carried out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.core.errors import CloudRefused, StratusError, UsageError
from orchestrator.interface.cli import dispatch, parser
from orchestrator.interface.console import Console
from orchestrator.interface.verbs import registry

if TYPE_CHECKING:
    from orchestrator.interface.verbs.jobs import Verbs
    from orchestrator.interface.workspace import Desk, Opener


class NoCloud(CloudRefused):
    """There is no cloud to work on: the rehearsal cloud would not start."""

    json_name = "NoCloud"


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Setup:
    """How this program was started.

    :param program: what to type to start it again.
    :param config: the config file when ``--config`` names none; None looks in the working directory.
    :param local: ``--local`` was given and is taken care of.
    :param prepare: called before the first verb that works on a cloud, and not for ``--help`` and the like.
    :param opener: opens sessions; None is the real one.
    """

    program: str = "stratus"
    config: Path | None = None
    local: bool = False
    prepare: Callable[[], None] = _nothing
    opener: Opener | None = None


class Invocation:
    """One command line on its way."""

    def __init__(self, argv: Sequence[str], setup: Setup, console: Console) -> None:
        self.argv = argv
        self.setup = setup
        self.console = console
        self.desk: Desk | None = None
        self.verbs: Verbs | None = None
        console.reword = registry.for_command_line(setup.program)

    def carry_out(self) -> int:
        """Do what was typed and return the exit code."""
        options = parser.parser(self.setup.program).parse_args(self.argv)
        if options.local and not self.setup.local:
            raise UsageError(
                "--local starts the rehearsal cloud, and only run_interface.py can do that",
                fix=f"python run_interface.py {' '.join(self.argv)}",
            )
        self.console.program = _again(self.setup.program, options)
        self.console.reword = registry.for_command_line(self.console.program)
        return dispatch.COMMANDS[options.verb or "shell"](self, options) or 0

    def work(self, options: argparse.Namespace, *, consent: bool = False, on_paper: bool = False) -> Verbs:
        """Open the desk, not yet the session.

        :param consent: prices are not asked about.
        :param on_paper: no cloud is needed, so none is prepared.
        """
        from orchestrator.interface.verbs.jobs import Verbs
        from orchestrator.interface.workspace import Desk

        if not on_paper:
            self.setup.prepare()
        more: dict[str, Any] = {"opener": self.setup.opener} if self.setup.opener else {}
        self.desk = Desk(options.config or self.setup.config, self.console, consent=consent, **more)
        self.verbs = Verbs(self.desk)
        return self.verbs

    def document(self, record: object) -> None:
        """Print a record as the one document, if a document was asked for."""
        if self.console.document:
            from orchestrator.interface.cli import json_output

            self.console.write(json_output.text(json_output.document(record)))

    def failed(self, error: StratusError) -> int:
        """Say what went wrong, in a line and, if asked for, as the document."""
        self.console.complain(str(error))
        if self.console.document:
            from orchestrator.interface.cli import json_output

            # What was achieved on the way belongs to the answer.
            got = json_output.document(self.verbs.last) if self.verbs else None
            got = got if isinstance(got, dict) else {"result": got} if got else {}
            problem = json_output.document(error)
            problem |= {"fix": self.console.reword(str(error.fix))} if error.fix else {}
            self.console.write(json_output.text(got | problem))
        return error.exit_code

    def bug(self, error: Exception) -> StratusError:
        """Return one line for an error that nobody foresaw; its traceback is kept."""
        from orchestrator.interface.workspace import Desk

        return (self.desk or Desk(None, self.console)).bug(error)

    def close(self) -> None:
        """Let go of everything."""
        if self.desk is not None:
            self.desk.close()


def _again(program: str, options: argparse.Namespace) -> str:
    """Return what starts the program with the same options before the verb."""
    config = f" --config {options.config}" if options.config else ""
    return f"{program}{config}"
