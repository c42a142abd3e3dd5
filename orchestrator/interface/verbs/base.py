"""Declaration of verbs: one decorator on one function, from which shell and command line derive all the rest."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from orchestrator.core.next_step import NextStep, Text
from orchestrator.interface.verbs.parameters import VerbParameter, parameters_of

F = TypeVar("F", bound=Callable[..., Any])

Documented = Callable[[Any], object] | None


@dataclass(frozen=True)
class VerbDocs:
    """One verb's docstring.

    :param summary: first line, without its period.
    :param prose: further paragraphs.
    :param parameters: name of a parameter -> its description.
    :param costs: what using the verb costs; empty where nothing is to be said.
    """

    summary: str
    prose: str
    parameters: dict[str, str]
    costs: str


def parse_docs(docstring: str, parameters: Collection[str]) -> VerbDocs:
    """Return the parts of a docstring: paragraphs, ``name  description`` lines, and ``Costs  ...``.

    A description goes on in the indented lines below it.
    """
    summary, _, rest = docstring.partition("\n")
    # Two blanks after a name: prose has one.
    labels = re.compile(rf"({'|'.join([*map(re.escape, parameters), 'Costs'])}) {{2,}}(\S.*)")
    described: dict[str, str] = {}
    prose: list[str] = []
    last = ""
    for text in rest.strip("\n").split("\n"):
        label = labels.fullmatch(text)
        if label:
            last = label[1]
            described[last] = label[2]
        elif last and text.startswith("  "):
            described[last] += " " + text.strip()
        else:
            last = ""
            prose.append(text)
    costs = described.pop("Costs", "")
    # Labels that were taken out leave blank lines behind.
    paragraphs = re.sub(r"\n{3,}", "\n\n", "\n".join(prose)).strip("\n")
    return VerbDocs(summary.rstrip("."), paragraphs, described, costs)


def _same(answer: object) -> object:
    return answer


def _ok(answer: object, options: dict[str, Any]) -> int:  # noqa: ARG001 - the signature of all exit codes
    return 0


def _always(options: dict[str, Any]) -> bool:  # noqa: ARG001 - the signature of all conditions
    return True


@dataclass(frozen=True)
class Verb:
    """One verb of the shell and of the command line.

    :param function: carries it out; called with the workspace and what was typed.
    :param name: name at the prompt: ``LaunchInstances``.
    :param command: name on the command line: ``launch``. Two verbs may share it; then one has a ``flag``.
    :param flag: option that selects this verb among those that share its command: ``--multi``.
    :param aliases: further names at the prompt.
    :param command_aliases: further names on the command line.
    :param step: position among the steps of every session, which the banner lists; 0 for all other verbs.
    :param changes_cluster: True if the number of VMs, or what else is billed, may differ afterwards.
    :param examples: calls to show in help.
    :param next_steps: text on what to type afterwards.
    :param document: makes the JSON document of an answer; None: the verb has none.
    :param exit_code: makes the exit code of an answer and the options that were given.
    :param needs_cloud: True if the verb, with these options, needs the embedded cloud to be up.
    :param stays_open: True if the command line waits for Ctrl-C before it closes what the verb opened, if anything.
    """

    function: Callable[..., Any]
    name: str
    command: str
    flag: str = ""
    aliases: tuple[str, ...] = ()
    command_aliases: tuple[str, ...] = ()
    step: int = 0
    changes_cluster: bool = False
    examples: tuple[NextStep, ...] = ()
    next_steps: tuple[Text, ...] = ()
    document: Documented = _same
    exit_code: Callable[[Any, dict[str, Any]], int] = _ok
    needs_cloud: Callable[[dict[str, Any]], bool] = _always
    stays_open: bool = False

    @cached_property
    def signature(self) -> inspect.Signature:
        """Signature without the workspace: what is typed."""
        signature = inspect.signature(self.function)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    @cached_property
    def parameters(self) -> tuple[VerbParameter, ...]:
        """Parameters with what their annotations say about the command line and completion."""
        return parameters_of(self.function)

    @cached_property
    def docs(self) -> VerbDocs:
        """The docstring, in parts."""
        return parse_docs(inspect.getdoc(self.function) or "", [parameter.name for parameter in self.parameters])


@dataclass
class VerbGroup:
    """The verbs of one topic, in the order in which help lists them.

    :param title: heading in help and in the manual.
    """

    title: str
    verbs: list[Verb] = field(default_factory=list)

    def __iter__(self) -> Iterator[Verb]:
        return iter(self.verbs)

    def verb(self, name: str, command: str, **options: Any) -> Callable[[F], F]:
        """Declare a function as a verb; the options are those of :class:`Verb`."""

        def declare(function: F) -> F:
            self.verbs.append(Verb(function, name, command, **options))
            # The function itself, so that verbs and tests can call it like any other.
            return function

        return declare
