"""Parameters of verbs: how the command line takes them, and what completes them.

A verb states it in the annotation: ``def attach(workspace: Workspace, run: RunId = "")``. Without a word there, a
parameter without a default is a positional argument of the command line, one with a default is an option.
"""

from __future__ import annotations

import argparse
import inspect
import re
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeAlias

UNSET: Any = inspect.Parameter.empty

Completes: TypeAlias = Literal["", "host", "run", "job"]


@dataclass(frozen=True)
class VerbParameter:
    """One parameter of a verb.

    :param name: name in the function, and of the option: ``host`` is ``--host``, ``n`` is ``-n``.
    :param kind: kind of the function's parameter.
    :param default: default of the function's parameter; ``UNSET`` when it has to be given.
    :param metavar: name of the value in usage lines: ``HOST``.
    :param positional: True if the command line takes it without an option's name, although it has a default.
    :param short: further, short option: ``-y``.
    :param parse: makes the value of a word of the command line; raises ``argparse.ArgumentTypeError``.
    :param choices: all values that it can have.
    :param completes: what Tab offers: names of hosts, ids of runs, scripts and folders of jobs.
    :param takes_rest: True if it takes the rest of the command line, options of other programs included.
    :param also_option: True if the command line takes a positional argument as an option, too.
    :param prompt_only: True if the command line has another way to say it.
    :param command_default: default of the command line where it is not the function's.
    :param types: classes of its values, from the annotation; empty for any.
    """

    name: str = ""
    kind: Any = inspect.Parameter.POSITIONAL_OR_KEYWORD
    default: Any = UNSET
    metavar: str = ""
    positional: bool = False
    short: str = ""
    parse: Callable[[str], Any] | None = None
    choices: tuple[str, ...] = ()
    completes: Completes = ""
    takes_rest: bool = False
    also_option: bool = False
    prompt_only: bool = False
    command_default: Any = UNSET
    types: tuple[type, ...] = ()

    @property
    def is_flag(self) -> bool:
        """True if it is on or off: an option without a value."""
        return isinstance(self.default, bool)

    @property
    def is_variadic(self) -> bool:
        """True if it takes any number of values."""
        return bool(self.kind is inspect.Parameter.VAR_POSITIONAL)

    @property
    def is_positional(self) -> bool:
        """True if the command line takes it without an option's name."""
        return self.positional or self.is_variadic or self.default is UNSET


def vm_count(text: str) -> int:
    """Return a number of VMs of the command line."""
    return _count(text, "VMs")


def instance_count(text: str) -> int:
    """Return a number of instances of the command line."""
    return _count(text, "instances")


def _count(text: str, what: str) -> int:
    # isdecimal first: int() accepts "1_0", " 2" and "+3" as well.
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of {what}: a whole number, 1 or more")
    return int(text)


def whole_number(text: str) -> int:
    """Return a whole number of the command line."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more, such as 30")
    return int(text)


def decimal_number(text: str) -> float:
    """Return a number of the command line."""
    # By pattern: float() accepts "nan", "inf" and "1e9" as well.
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more, such as 4 or 1.5")
    return float(text)


VmCount = Annotated[int | None, VerbParameter(metavar="N", parse=vm_count)]
WholeNumber = Annotated[int, VerbParameter(metavar="N", parse=whole_number)]
Consent = Annotated[bool, VerbParameter(short="-y")]
RunId = Annotated[str, VerbParameter(metavar="RUN", positional=True, completes="run")]
HostName = Annotated[str, VerbParameter(metavar="HOST", completes="host")]
JobOption = Annotated[str, VerbParameter(metavar="JOB", completes="job")]
JobPath = Annotated[str, VerbParameter(metavar="DIR", completes="job")]
JobName = Annotated[str, VerbParameter(metavar="JOB", positional=True, also_option=True, completes="job")]
CommandWords = Annotated[str, VerbParameter(metavar="COMMAND", takes_rest=True)]


def parameters_of(function: Callable[..., Any]) -> tuple[VerbParameter, ...]:
    """Return the parameters of a verb's function but the first, which is the workspace."""
    signature = list(inspect.signature(function).parameters.values())[1:]
    # Only these annotations: those of the workspace and of records are imported for type checkers alone.
    hints = {parameter.name: parameter.annotation for parameter in signature}
    namespace = types.SimpleNamespace(__annotations__=hints)
    resolved = typing.get_type_hints(namespace, vars(inspect.getmodule(function)), include_extras=True)
    return tuple(_parameter(parameter, resolved.get(parameter.name)) for parameter in signature)


def _parameter(parameter: inspect.Parameter, hint: Any) -> VerbParameter:
    declared = [part for part in typing.get_args(hint)[1:] if isinstance(part, VerbParameter)]
    stated = declared[0] if declared else VerbParameter()
    # A copy: annotations such as HostName are shared by the verbs.
    return replace(stated, name=parameter.name, kind=parameter.kind, default=parameter.default, types=_types(hint))


def _types(hint: Any) -> tuple[type, ...]:
    """Return the classes that an annotation names; none if one of its parts is no plain class."""
    if typing.get_origin(hint) is Annotated:
        return _types(typing.get_args(hint)[0])
    parts = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    # Any is a class since Python 3.11, and no value is an instance of it.
    return parts if all(isinstance(part, type) and part is not Any for part in parts) else ()
