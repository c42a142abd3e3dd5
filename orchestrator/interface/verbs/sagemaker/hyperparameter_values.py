"""Hyper-parameters as a user types them: ``epochs=2,lr=0.1``, a dictionary, or one as JSON."""

from __future__ import annotations

import json
import numbers
import re
from collections.abc import Callable, Mapping

from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep

EXAMPLE = "epochs=2,lr=0.1"
# Before a name: a value may have commas of its own.
_BETWEEN = re.compile(r"[,\s]+(?=[A-Za-z_][\w.-]*=)")


def read(hyperparameters: object, again: Callable[..., NextStep]) -> dict[str, str]:
    """Return name -> value as text.

    :param again: returns the verb as it was typed, with hyper-parameters.
    :raises UsageError: they cannot be read, or a value is neither a text, a number nor a boolean.
    """
    fix = again(hyperparameters=EXAMPLE)
    if isinstance(hyperparameters, str):
        hyperparameters = _parsed(hyperparameters.strip(), fix)
    if not isinstance(hyperparameters or {}, Mapping):
        raise UsageError(f"hyperparameters = {hyperparameters!r} is not a dictionary", fix=fix)
    values: dict[object, object] = dict(hyperparameters or {})  # type: ignore[call-overload]
    for name, value in values.items():
        if not isinstance(value, str | numbers.Number):
            raise UsageError(f"{name} = {value!r} is neither a text, a number nor True or False", fix=fix)
    return {str(name): str(value) for name, value in values.items()}


def as_text(values: Mapping[str, str]) -> str:
    """Return hyper-parameters as they may be typed; empty for none."""
    return ",".join(f"{name}={value}" for name, value in values.items())


def _parsed(text: str, fix: NextStep) -> object:
    if text.startswith("{"):
        try:
            return json.loads(text)
        except ValueError as error:
            raise UsageError(f"hyperparameters is not JSON: {error}", fix=fix) from None
    pairs = [word.partition("=") for word in _BETWEEN.split(text.strip(" ,"))]
    if not all(name and separator for name, separator, _ in pairs):
        raise UsageError(f"hyperparameters = {text!r}: write {EXAMPLE}", fix=fix)
    return {name: value for name, _, value in pairs}
