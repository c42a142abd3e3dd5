"""Verbs as things to type at a prompt: callable, self-explaining, and shown once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orchestrator.core.errors import StratusError, UsageError
from orchestrator.core.next_step import NextStep
from orchestrator.interface.shell import argument_types, mistyped
from orchestrator.interface.verbs import help as verb_help
from orchestrator.interface.verbs.base import Verb
from orchestrator.interface.verbs.interaction import Interrupted, show_table
from orchestrator.interface.verbs.registry import VerbRegistry
from orchestrator.interface.verbs.sagemaker import sdk_names

if TYPE_CHECKING:
    from orchestrator.interface.console import Console
    from orchestrator.interface.shell.status_poller import StatusPoller
    from orchestrator.interface.workspace import Workspace

_STALE_S = 30.0
_REFRESH_WAIT_S = 1.5

AfterVerb = Callable[[Verb, object], None]


# IPython prints tuples and ints by itself; classes of their own can be shown as text.
class Rows(tuple[Any, ...]):
    """Several records that a verb returned."""

    __slots__ = ()

    def to_pandas(self) -> Any:
        """Return the records as a pandas DataFrame: money in USD, durations in seconds, one column per metric.

        :raises UsageError: pandas is not installed.
        """
        try:
            # Here only: importing pandas takes a second, which the prompt must not wait for.
            import pandas
        except ImportError:
            raise UsageError("pandas is not installed here", fix="pip install pandas") from None
        from orchestrator.interface.render import tables

        return pandas.DataFrame(tables.flat_rows(self))


class ExitStatus(int):
    """The exit status of a command on a VM."""


class DisplayFilter:
    """Remembers what was printed already, so that the prompt does not show a verb's answer a second time.

    :param register: called once with every class of record that a verb returned.
    """

    def __init__(self, workspace: Workspace, register: Callable[[type], object]) -> None:
        self.workspace = workspace
        self.latest: object = None
        self._register = register
        self._known: set[type] = set()

    def note(self, answer: object) -> None:
        """Note what a verb has just printed."""
        self.latest = answer
        if answer is not None and type(answer) not in self._known and _has_text(answer):
            self._known.add(type(answer))
            self._register(type(answer))

    def forget(self, *_: object) -> None:
        """Begin a new input: what is named from now on is shown."""
        self.latest = None

    def display(self, record: object) -> None:
        """Print a record, unless its verb has just done so."""
        from orchestrator.interface.render import registry, units

        # By identity: an equal record of an earlier verb was not printed just now.
        if record is not self.latest and not show_table(self.workspace, record):
            lines = registry.lines(record, self.workspace.clock.now()) if registry.has_lines(record) else []
            self.workspace.console.print([units.single_line(text) for text in lines] or repr(record))


def _has_text(answer: object) -> bool:
    from orchestrator.interface.render import registry

    return isinstance(answer, ExitStatus) or registry.has_lines(answer)


class PromptVerb:
    """A verb at the prompt.

    :param after: called with the verb and its answer, None when it failed.
    """

    def __init__(self, verb: Verb, workspace: Workspace, after: AfterVerb) -> None:
        self.verb = verb
        self.__name__ = self.__qualname__ = verb.name
        self.__doc__ = verb_help.worded(verb_help.explanation(verb), str)
        # Read by inspect, and so by IPython's own help and completion; without the return type, which users never type.
        self.__signature__ = verb.signature.replace(return_annotation=verb.signature.empty)
        self._workspace = workspace
        self._after = after

    def __repr__(self) -> str:
        return f"type {self.__name__}()    {self.__name__}?  explains it"

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Carry it out.

        :raises StratusError: one line, whatever went wrong.
        """
        try:
            # Before the call: a TypeError from within would be a bug, this one is a typing mistake.
            bound = self.__signature__.bind(*args, **options)
        except TypeError as error:
            fix = sdk_names.instead_of_unexpected(str(error), options) or f"{self.__name__}?  explains it"
            raise UsageError(f"{self.call}: {error}", fix=fix) from None
        argument_types.check(self.verb, bound)
        answer: object = None
        try:
            answer = _for_display(self.verb.function(self._workspace, *args, **options))
        except StratusError:
            raise
        except KeyboardInterrupt as interrupt:
            # As a class of its own, for which the shell prints lines instead of a traceback.
            raise Interrupted.after(interrupt) from None
        except Exception as error:
            raise self._workspace.report_bug(error) from error
        finally:
            # Also after a failure: what failed may have changed the cluster.
            self._after(self.verb, answer)
        return answer

    @property
    def call(self) -> str:
        """Call at the prompt: ``LaunchInstances(n=None, *, yes=False)``."""
        return verb_help.call_of(self.verb)


def _for_display(answer: object) -> object:
    if isinstance(answer, list | tuple):
        # Own classes, because IPython formats by class, and the user's lists and numbers keep their look.
        return Rows(answer)
    return ExitStatus(answer) if isinstance(answer, int) else answer


def _nothing(_verb: Verb, _answer: object) -> None:
    pass


def after_verb(poller: StatusPoller, display: DisplayFilter) -> AfterVerb:
    """Return what the shell does after a verb.

    :param poller: receives what verbs learn about the cluster.
    :param display: receives what verbs have printed.
    """

    def after(verb: Verb, answer: object) -> None:
        display.note(answer)
        if verb.command != HELP:
            _update(poller, verb, answer)

    return after


def namespace(
    workspace: Workspace,
    registry: VerbRegistry,
    *,
    after: AfterVerb = _nothing,
) -> dict[str, PromptVerb]:
    """Return every name that a user can type, with its verb.

    :param after: called with every verb and its answer, None when it failed.
    """
    verbs = {name: PromptVerb(verb, workspace, after) for name, verb in registry.by_name.items()}
    return verbs | {"Help": PromptVerb(_help_verb(registry, workspace.console), workspace, after)}


def _update(poller: StatusPoller, verb: Verb, answer: object) -> None:
    from orchestrator.cluster.status import ClusterStatus

    # The verb has just made the request that a refresh would make.
    if isinstance(answer, ClusterStatus):
        poller.accept(answer)
    elif verb.changes_cluster:
        poller.refresh(wait_s=_REFRESH_WAIT_S)
    # Jobs on SageMaker end by themselves, and endpoints a while after the request.
    elif poller.age_s > _STALE_S or (poller.status is not None and poller.status.managed.resources):
        poller.refresh()


HELP = "help"


def _help_verb(registry: VerbRegistry, console: Console) -> Verb:
    """Return the verb that explains the others; the command line has ``--help`` for it."""

    def explain(workspace: Workspace, verb: object = "") -> None:  # noqa: ARG001 - the signature of all verbs
        """List the verbs, or explain one: Help(LaunchInstances)."""
        # Verbs are taken as objects too, and with the parentheses that the list of verbs shows.
        name = (verb if isinstance(verb, str) else getattr(verb, "__name__", str(verb))).removesuffix("()")
        if not name:
            return console.print(verb_help.overview(registry))
        explained = registry.find(name)
        if explained is None:
            raise UsageError(f"{name}: no such verb.{mistyped.suggestion(name, registry)}", fix="Help()")
        return console.print([verb_help.call_of(explained), "", *verb_help.explanation(explained)])

    return Verb(explain, "Help", HELP, examples=(NextStep("Help", "LaunchInstances"),))
