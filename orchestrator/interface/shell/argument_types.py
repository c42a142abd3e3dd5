"""Types of what is typed at the prompt: the command line gets texts only and parses them itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep, Text
from orchestrator.interface.verbs.base import Verb
from orchestrator.interface.verbs.parameters import VerbParameter, whole_number

VALUE_SHOWN = 60
SEVERAL = "several between blanks"
"""In the description of parameters that take it."""


def check(verb: Verb, bound: inspect.BoundArguments) -> None:
    """Check that texts are texts, not empty, and switches are switches; verbs check their numbers, with their bounds.

    :param bound: arguments of one call.
    :raises UsageError: one of them is something else.
    """
    for parameter, value in _values(verb, bound):
        # Typed, and not the default of a call without it: the text of a variable that is not set.
        if isinstance(value, str) and not value.strip() and not _is_word(parameter, bound):
            raise UsageError(
                f"{parameter.name} = {value!r} is empty: give it a value, or leave it out", fix=_explains(verb)
            )
        # The default may be of another class, such as None.
        if parameter.types and value is not parameter.default and not isinstance(value, parameter.types):
            shown = repr(value) if len(repr(value)) <= VALUE_SHOWN else f"a {type(value).__name__}"
            if str in parameter.types:
                raise UsageError(
                    f"{parameter.name} = {shown} is not a text", fix=_as_text(verb, bound, parameter, value)
                )
            if bool in parameter.types:
                raise UsageError(f"{parameter.name} = {shown} is neither True nor False", fix=_explains(verb))
            if parameter.parse is whole_number:
                raise UsageError(f"{parameter.name} = {shown} is not a whole number", fix=_explains(verb))


def _values(verb: Verb, bound: inspect.BoundArguments) -> Iterator[tuple[VerbParameter, object]]:
    """Yield every value that was typed, with its parameter."""
    for parameter in verb.parameters:
        if parameter.name in bound.arguments:
            value = bound.arguments[parameter.name]
            yield from ((parameter, item) for item in (value if parameter.is_variadic else (value,)))


def _is_word(parameter: VerbParameter, bound: inspect.BoundArguments) -> bool:
    """Return True for one of several words of a command for a VM, which may be empty."""
    return parameter.takes_rest and any(str(word).strip() for word in bound.arguments[parameter.name])


def _as_text(verb: Verb, bound: inspect.BoundArguments, parameter: VerbParameter, value: object) -> Text:
    """Return the same call with the value in quotation marks, where that is likely to be meant."""
    if isinstance(value, list | tuple | set) and all(isinstance(item, str) for item in value):
        return _of_several(verb, bound, parameter, [str(item) for item in value])
    if isinstance(value, bool) or not isinstance(value, int | Path) or len(bound.arguments) > 1 or parameter.choices:
        return _explains(verb)
    in_order = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return (
        NextStep(verb.name, str(value))
        if parameter.kind in in_order
        else NextStep(verb.name, **{parameter.name: str(value)})
    )


def _of_several(verb: Verb, bound: inspect.BoundArguments, parameter: VerbParameter, names: list[str]) -> Text:
    """Return the call with several names as the verb takes them: one by one, or between blanks."""
    if parameter.is_variadic:
        return NextStep(verb.name, *names)
    if SEVERAL not in (verb.function.__doc__ or ""):
        return _explains(verb)
    first, *_ = verb.parameters
    values = {**bound.arguments, parameter.name: " ".join(names)}
    place = [values.pop(first.name)] if first.name in values else []
    return NextStep(verb.name, *place, **values)


def _explains(verb: Verb) -> str:
    return f"{verb.name}?  explains it"
