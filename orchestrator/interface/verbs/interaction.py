"""Showing an answer, confirming a price, and reporting an interruption: the steps that verbs have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from orchestrator.core.errors import LeftRunning, StratusError, UsageError
from orchestrator.core.next_step import NextStep, Text, advice_of, as_message
from orchestrator.interface.console import CannotAsk

if TYPE_CHECKING:
    from orchestrator.aws.launch.plan import LaunchPlan
    from orchestrator.interface.workspace import Workspace

T = TypeVar("T")


class HasTunnel(Protocol):
    """Record of something that an open tunnel leads to."""

    @property
    def close(self) -> Callable[[], None]:
        """Close the tunnel."""
        ...


Tunneled = TypeVar("Tunneled", bound=HasTunnel)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a verb.

    :param lines: what may still be going on, and what to type then; printed line by line.
    """

    def __init__(self, *lines: Text) -> None:
        super().__init__("\n".join(map(str, lines)))
        self.lines = lines

    @classmethod
    def after(cls, interrupt: KeyboardInterrupt) -> Interrupted:
        """Return what a verb that expected no Ctrl-C reports of one."""
        return interrupt if isinstance(interrupt, cls) else cls(*_sentence(advice_of(interrupt)))


def _sentence(advice: list[Text]) -> list[Text]:
    first, *more = advice or [""]
    return ["Interrupted. " + as_message(first) if advice else "Interrupted.", *("  " + as_message(x) for x in more)]


def show(workspace: Workspace, record: T, lines: list[Text] | None = None) -> T:
    """Print a record and return it.

    :param lines: the text, where the record's class alone does not tell it: an empty list.
    """
    from orchestrator.interface.render import registry, units

    # Belongs to the JSON document of an error that comes after it.
    workspace.last_answer = record
    if show_table(workspace, record):
        return record
    texts = registry.lines(record, workspace.clock.now()) if lines is None else lines
    workspace.console.print([units.single_line(text) for text in texts])
    return record


def show_open(workspace: Workspace, page: Tunneled) -> Tunneled:
    """Print the address of an open tunnel, and when it closes; return it."""
    from orchestrator.interface.render import registry

    # The tunnel outlives the verb, but not the session.
    workspace.close_later(page.close)
    first, *more = registry.lines(page, workspace.clock.now())
    return show(workspace, page, [first + f"   open until {workspace.open_until}", *more])


def show_table(workspace: Workspace, record: object) -> bool:
    """Show a record as a table, where a notebook displays tables; return False where its text is to be printed."""
    if workspace.console.show_html is None:
        return False
    from orchestrator.interface.render import registry, tables

    table = tables.table(record, workspace.clock.now())
    if table is None:
        return False
    text = "\n".join(map(workspace.console.worded, registry.lines(record, workspace.clock.now())))
    workspace.console.show_html(table.to_html(), text)
    return True


def show_plan(workspace: Workspace, plan: LaunchPlan) -> None:
    """Print what a launch brings and costs."""
    from orchestrator.interface.render import launch

    settings = workspace.settings()
    workspace.console.print(launch.plan(plan, image=settings.cluster.image, ssh_from=settings.aws.ssh_from))


def confirm_launch(
    workspace: Workspace, plan: LaunchPlan, question: str, *, yes: bool, without_asking: NextStep
) -> None:
    """Ask whether to go on with a launch, which costs money.

    :param question: without the answers; an empty line is a yes, unless the plan warns that the job cannot run.
    :param yes: the user has confirmed already.
    :param without_asking: the verb with its confirmation, for where no question can be asked.
    :raises UsageError: the answer was no, or no question can be asked.
    """
    choice = Confirmation(question, without_asking, "Nothing was launched.", is_default_yes=plan.is_job_ready)
    confirm(workspace, choice, yes=yes)


@dataclass(frozen=True)
class Confirmation:
    """A question about a price.

    :param question: without the answers.
    :param without_asking: the verb with its confirmation, for where no question can be asked.
    :param nothing: sentence for an answer that is no yes: ``Nothing was launched.``
    :param is_default_yes: an empty line is a yes.
    """

    question: str
    without_asking: NextStep
    nothing: str
    is_default_yes: bool = True


def confirm(workspace: Workspace, choice: Confirmation, *, yes: bool) -> None:
    """Ask whether to go on with what costs money.

    :param yes: the user has confirmed already.
    :raises UsageError: the answer was no, or no question can be asked.
    """
    if yes or workspace.assume_yes:
        return
    # No terminal is no consent: a launch from a script would otherwise cost money unasked.
    unasked = UsageError(
        f"cannot ask for confirmation here. {choice.nothing}", fix=choice.without_asking + " does not ask"
    )
    if not workspace.console.is_interactive:
        raise unasked
    default, choices = ("y", "[Y/n]") if choice.is_default_yes else ("n", "[y/N]")
    try:
        answer = workspace.console.ask(f"  {choice.question} {choices} ", default)
    except CannotAsk:
        raise unasked from None
    # Ctrl-D, too: an input that ended has not agreed.
    except (KeyboardInterrupt, EOFError):
        raise Interrupted(choice.nothing) from None
    # Anything else is a no: a typing mistake must not cost money.
    if answer not in ("y", "yes"):
        raise UsageError(choice.nothing)


@contextmanager
def interruptible(workspace: Workspace, *afterwards: Text) -> Iterator[None]:
    """Show progress while the block runs, and turn Ctrl-C into advice.

    :param afterwards: lines on what may be left after Ctrl-C, and what to type then; the interrupted step's own
        advice takes precedence, because it knows what it has begun.
    """
    try:
        with workspace.progress.shown():
            yield
    except Interrupted:
        raise
    except KeyboardInterrupt as interrupt:
        raise Interrupted(*_sentence(advice_of(interrupt) or list(afterwards))) from None


def raise_if_failed(failed: Mapping[str, Exception], message: str, *, fix: Text = "") -> None:
    """Raise when hosts failed; their own errors were shown already.

    :param failed: name of every host that failed -> its error.
    :param message: one line, with their names in it: ``{hosts} did not come up``.
    :raises LeftRunning: what some of them left running is not known.
    :raises StratusError: all of them failed for sure.
    """
    unknown = [
        f"{name}: " + as_message(item)
        for name, error in failed.items()
        if isinstance(error, LeftRunning)
        for item in error.left
    ]
    text = message.format(hosts=" ".join(failed))
    if unknown:
        # Exit code 4 rather than 1: something unknown may be running, and billed.
        raise LeftRunning(text, left=unknown, fix=fix)
    if failed:
        raise StratusError(text, fix=fix)


def check_vm_count(count: int | None, name: str = "n", what: str = "VMs") -> int | None:
    """Return a number of VMs.

    :param name: of the argument.
    :param what: what it is a number of.
    :raises UsageError: it is none.
    """
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise UsageError(f"{name} = {count!r} is not a number of {what}: a whole number, 1 or more")
    return count


def check_number(value: object, name: str, example: NextStep) -> None:
    """Refuse what is not a number from 0 to a million.

    :raises UsageError: it is none.
    """
    # bool is an int to Python; the bounds also keep out NaN and infinity, which compare as false.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
        number = value if isinstance(value, int | float) and not isinstance(value, bool) else 0
        problem = "below 0" if number < 0 else "too large" if number > 0 else "not a number"
        raise UsageError(f"{name} = {value!r} is {problem}", fix=example)
