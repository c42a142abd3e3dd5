"""What all verbs have in common: showing an answer, asking before money is spent, and staying honest through Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import advice_of
from orchestrator.interface.render import launch
from orchestrator.interface.workspace import Desk

if TYPE_CHECKING:
    from orchestrator.aws.launch.plan import LaunchPlan

T = TypeVar("T")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a verb; its text says what may go on now."""


class Work:
    """A desk to work at, and the manners of working there.

    :param desk: config, session and console.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.console = desk.console
        self.last: object = None

    def _answer(self, record: T, lines: Sequence[str]) -> T:
        self.last = record
        self.console.say(lines)
        return record

    def _show_plan(self, plan: LaunchPlan) -> None:
        settings = self.desk.settings()
        self.console.say(launch.plan(plan, image=settings.cluster.image, ssh_from=settings.aws.ssh_from))

    def _agree(self, question: str, yes: bool) -> None:
        """Have what costs money agreed to.

        :raises UsageError: it was not, or nobody is there.
        """
        if yes or self.desk.consent:
            return
        if not self.console.asks:
            raise UsageError("nobody is here to agree to the price. Nothing was launched.", fix="add --yes to agree")
        try:
            answer = self.console.ask(question, "y")
        except (KeyboardInterrupt, EOFError):
            raise Interrupted("Nothing was launched.") from None
        if answer not in ("y", "yes"):
            raise UsageError("Nothing was launched.")

    @contextmanager
    def _at_work(self, *afterwards: str, redraw: bool = True) -> Iterator[None]:
        """Show the board while hosts are at work.

        :param afterwards: what to know after Ctrl-C, and what to type then, line by line.
        """
        try:
            with self.desk.board.shown(redraw=redraw):
                yield
        except Interrupted:
            raise
        except KeyboardInterrupt as error:
            # Whoever was interrupted may know better what remains.
            said = [str(line) for line in advice_of(error)] or afterwards
            raise Interrupted("Interrupted. " + "\n  ".join(said)) from None
