"""Tab at the prompt: names of verbs, and inside a call what the verb's parameters complete."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from orchestrator.interface.verbs.parameters import VerbParameter
from orchestrator.interface.verbs.registry import VerbRegistry

_WORD = re.compile(r"(?:^|[^\w.\"'])([A-Za-z]\w*)$")
# By pattern, because an input with an open string does not parse as Python.
_CALL = re.compile(r"\b(?P<verb>\w+)\((?P<before>[^()]*?)(?:(?P<name>\w+)\s*=\s*)?[\"'](?P<typed>[\w.-]*)$")

Candidates = Callable[[], Iterable[str]]


def completed_parameter(registry: VerbRegistry, text: str) -> tuple[VerbParameter, str] | None:
    """Return the parameter in whose string a text ends, and what was typed of it; None outside a verb's call."""
    call = _CALL.search(text)
    verb = registry.find(call["verb"]) if call else None
    if call is None or verb is None:
        return None
    if call["name"]:
        chosen = [parameter for parameter in verb.parameters if parameter.name == call["name"]]
    else:
        chosen = _positional(list(verb.parameters), call["before"].count(","))
    return (chosen[0], call["typed"]) if chosen else None


def _positional(parameters: list[VerbParameter], position: int) -> list[VerbParameter]:
    taking = [parameter for parameter in parameters if parameter.kind is not parameter.kind.KEYWORD_ONLY]
    # A variadic parameter takes every further argument.
    return taking[position:] or [parameter for parameter in taking[-1:] if parameter.is_variadic]


def matcher(names: Iterable[str], registry: VerbRegistry, candidates: Mapping[str, Candidates]) -> Any:
    """Return a completer for IPython.

    :param names: names to complete outside a call.
    :param candidates: what a parameter completes (``host``, ``run``) -> what there is.
    """
    from IPython.core.completer import SimpleCompletion, context_matcher

    def complete(context: Any) -> Mapping[str, Any]:
        text = context.text_until_cursor
        inside = completed_parameter(registry, text)
        if inside and (inside[0].choices or inside[0].completes in candidates):
            parameter, typed = inside
            known = parameter.choices or candidates[parameter.completes]()
            fitting = [name for name in known if _fits(name, typed)]
            completions = [SimpleCompletion(text=name, type="text") for name in fitting]
            return {"completions": completions, "suppress": True, "matched_fragment": typed, "ordered": True}
        # The verbs are builtins, where jedi does not look.
        word = _WORD.search(text)
        verbs = [SimpleCompletion(text=name, type="function") for name in names if word and name.startswith(word[1])]
        return {"completions": verbs, "suppress": False, "matched_fragment": word[1] if word else ""}

    return context_matcher(priority=200, identifier="stratus")(complete)


def _fits(name: str, typed: str) -> bool:
    """Return True if a name can be meant: by its beginning or, of a run, by the beginning of its last part."""
    # Ids of runs begin with their date, so all of one day begin alike.
    return name.startswith(typed) or name.rpartition("-")[2].startswith(typed)
