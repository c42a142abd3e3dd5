"""The verbs as things to type at a prompt: callable, self-explaining, and quiet about what they have shown already."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.core.errors import StratusError, UsageError
from orchestrator.core.next_step import advice_of
from orchestrator.interface.render import cluster, units
from orchestrator.interface.verbs.base import Interrupted
from orchestrator.interface.verbs.jobs import Verbs

if TYPE_CHECKING:
    from orchestrator.interface.console import Console
    from orchestrator.interface.shell.status_poller import Pulse

METHODS = {
    "LaunchInstances": "launch",
    "InstallDeps": "install",
    "RunSingleVMComputing": "run_single",
    "RunMultiVMComputing": "run_multi",
    "FetchResults": "fetch",
    "TerminateAll": "terminate",
    "Status": "status",
    "StopAll": "stop",
    "StartAll": "start",
    "RunExperiment": "experiment",
    "Attach": "attach",
    "Runs": "runs",
    "Logs": "logs",
    "JoinJob": "join",
    "CancelJob": "cancel",
    "KillAll": "kill_all",
    "Gpus": "gpus",
    "Run": "run_everywhere",
    "Ssh": "ssh",
    "Dashboard": "dashboard",
    "Cost": "cost",
    "Recover": "recover",
    "Extend": "extend",
    "IdleShutdown": "idle_shutdown",
    "Instances": "instances",
    "RequestLimitIncrease": "request_limit_increase",
    "RefreshAccess": "refresh_access",
    "Config": "config",
}
"""Name at the prompt -> method of :class:`orchestrator.interface.verbs.jobs.Verbs`."""

MAIN = tuple(METHODS)[:6]
ALIASES = {"CheckStatus": "Status"}

# After these the number of machines may be another one.
_CHANGING = frozenset({"launch", "terminate", "stop", "start", "experiment", "extend", "recover"})
_STALE_S = 30.0
_PATIENCE_S = 1.5


class Rows(tuple[Any, ...]):
    """Several records that a verb answered with."""

    __slots__ = ()


class ExitStatus(int):
    """The exit status of a command on a VM."""


class Shown:
    """Remembers what was on the screen already, so that a prompt does not show a verb's answer a second time.

    :param register: called once with every kind of record that a verb answered with.
    """

    def __init__(self, console: Console, register: Callable[[type], object]) -> None:
        self.console = console
        self.fresh: object = None
        self._register = register
        self._known: set[type] = set()

    def note(self, answer: object) -> None:
        """Note what a verb has just shown."""
        self.fresh = answer
        if answer is not None and type(answer) not in self._known:
            self._known.add(type(answer))
            self._register(type(answer))

    def forget(self, *_: object) -> None:
        """Begin a new input: what is named from now on is to be shown."""
        self.fresh = None

    def display(self, record: object) -> None:
        """Show a record, unless its verb has just done so."""
        if record is not self.fresh:
            self.console.say(cluster.of(record) or repr(record))


class Verb:
    """A verb at the prompt.

    :param name: what is typed.
    :param method: what carries it out.
    :param after: called with the method's name and its answer, None when it failed.
    """

    def __init__(
        self,
        name: str,
        method: Callable[..., Any],
        *,
        bug: Callable[[Exception], StratusError],
        after: Callable[[str, object], None],
    ) -> None:
        self.__name__ = self.__qualname__ = name
        self.__doc__ = inspect.getdoc(method)
        self.__signature__ = inspect.signature(method).replace(return_annotation=inspect.Signature.empty)
        self._method = method
        self._bug = bug
        self._after = after

    def __repr__(self) -> str:
        return f"type {self.__name__}()    {self.__name__}?  explains it"

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Carry it out.

        :raises StratusError: one line, whatever went wrong.
        """
        try:
            self.__signature__.bind(*args, **options)
        except TypeError as error:
            raise UsageError(f"{self.typed}: {error}", fix=f"{self.__name__}?  explains it") from None
        answer: object = None
        try:
            answer = _wrapped(self._method(*args, **options))
        except (StratusError, Interrupted):
            raise
        except KeyboardInterrupt as interrupt:
            raise Interrupted(" ".join(["Interrupted.", *map(str, advice_of(interrupt))])) from None
        except Exception as error:
            raise self._bug(error) from error
        finally:
            self._after(self._method.__name__, answer)
        return answer

    @property
    def typed(self) -> str:
        """How to call it: ``LaunchInstances(n=None, *, yes=False)``."""
        return f"{self.__name__}{_short(self.__signature__)}"


def _short(signature: inspect.Signature) -> str:
    """Return a signature without its types: ``(n=None, *, yes=False)``."""
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    return str(signature.replace(parameters=bare))


def _wrapped(answer: object) -> object:
    if isinstance(answer, list | tuple):
        return Rows(answer)
    return ExitStatus(answer) if isinstance(answer, int) else answer


def all_verbs(verbs: Verbs, pulse: Pulse | None = None, shown: Shown | None = None) -> dict[str, Any]:
    """Return every name that a user can type, with the thing it stands for.

    :param pulse: hears what verbs learn about the cluster.
    :param shown: hears what verbs have put on the screen.
    """

    def after(method: str, answer: object) -> None:
        if shown is not None:
            shown.note(answer)
        if pulse is not None:
            _learn(pulse, method, answer)

    bug = verbs.desk.bug
    found: dict[str, Any] = {
        name: Verb(name, getattr(verbs, method), bug=bug, after=after) for name, method in METHODS.items()
    }
    found |= {alias: found[name] for alias, name in ALIASES.items()}
    helper = Helper(verbs.console, found)
    return found | {"Help": Verb("Help", helper.help, bug=bug, after=after)}


def _learn(pulse: Pulse, method: str, answer: object) -> None:
    if method == "status" and answer is not None:
        pulse.take(answer)  # type: ignore[arg-type]
    elif method in _CHANGING:
        pulse.refresh(wait=_PATIENCE_S)
    elif pulse.age > _STALE_S and method != "help":
        pulse.refresh()


class Helper:
    """Explains the verbs."""

    def __init__(self, console: Console, verbs: Mapping[str, Any]) -> None:
        self.console = console
        self.verbs = verbs

    def help(self, verb: object = "") -> None:
        """List the verbs, or explain one: Help(LaunchInstances)."""
        name = verb if isinstance(verb, str) else getattr(verb, "__name__", str(verb))
        if name:
            self._explain(name.removesuffix("()"))
            return
        rows = [[f"{name}()", str(self.verbs[name].__doc__).splitlines()[0].rstrip(".")] for name in METHODS]
        self.console.say(units.columns(rows))
        self.console.say('  LaunchInstances?  explains one.   Ssh("<Tab>  completes names.   %quickref  is IPython.')

    def _explain(self, name: str) -> None:
        if name not in self.verbs:
            from orchestrator.config import ini

            raise UsageError(f"{name}: no such verb.{ini.suggest(name, self.verbs)}", fix="Help()")
        self.console.say(f"{self.verbs[name].typed}\n\n{self.verbs[name].__doc__}")
