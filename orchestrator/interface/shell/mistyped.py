"""Mistyped input at the prompt and in statements: the verb that was probably meant."""

from __future__ import annotations

import re

from orchestrator.config import ini
from orchestrator.core.next_step import NextStep
from orchestrator.interface.verbs.registry import VerbRegistry

_PYTHON_NAMES = {"exit": "exit", "quit": "exit"}
_SHORTEST_PREFIX = 3


def suggestion(word: str, registry: VerbRegistry) -> str:
    """Return `` Did you mean LaunchInstances()?`` for ``launch``, ``Launch`` or ``LaunchInstnces``, or nothing."""
    name = _nearest(word, registry)
    return f" Did you mean {name if name in _PYTHON_NAMES else f'{name}()'}?" if name else ""


def _nearest(word: str, registry: VerbRegistry) -> str:
    names = {**_PYTHON_NAMES, "help": "Help", "stratus": "Help"}
    # Reversed, so that of two verbs that share a command the first one counts.
    for verb in reversed(list(registry)):
        known = (verb.command, *verb.command_aliases, verb.name, *verb.aliases)
        names |= {name.lower(): verb.name for name in known}
    typed = word.lower()
    if typed in names:
        return names[typed]
    # A beginning of only one verb's name: too far from the whole name for a comparison of letters.
    beginnings = {name for known, name in names.items() if known.startswith(typed)}
    if len(typed) >= _SHORTEST_PREFIX and len(beginnings) == 1:
        return beginnings.pop()
    # Stricter than for settings: names of Python variables, such as data, look like some verb's.
    return names.get(ini.nearest(typed, names, similarity=0.7), "")


def is_whole_input(word: str, text: str) -> bool:
    """Return True if a text is only this word, or a call of it."""
    return re.fullmatch(rf"\s*{re.escape(word)}\s*(\(.*\))?\s*;?\s*", text, re.DOTALL) is not None


def unknown_name(name: str, text: str, registry: VerbRegistry) -> str:
    """Return the line on a name that Python does not know, or nothing if the mistake is one in Python code.

    :param text: the whole input.
    """
    if quoted := in_quotes(name, text, registry):
        return f"{name}: not a name in Python; a text is in quotes: {quoted}"
    is_whole, is_capitalized = is_whole_input(name, text), name[:1].isupper()
    # Within code, capitalized names only: a misspelled variable is no verb.
    guess = suggestion(name, registry) if is_whole or is_capitalized else ""
    if guess:
        return f"{name}: no such verb.{guess}"
    return f"{name}: no such verb or name.  Help()  lists the verbs" if is_whole and is_capitalized else ""


def in_quotes(name: str, text: str, registry: VerbRegistry) -> str:
    """Return the call of a verb whose argument lacks its quotes, ``Logs(ml-0)``, as it was meant; else nothing."""
    verbs = {known for verb in registry for known in (verb.name, *verb.aliases)}
    argument = rf"{re.escape(name)}(?![\w(\[])[\w./ -]*"
    for match in re.finditer(rf"(?P<verb>\w+)\(\s*(?P<option>\w+\s*=\s*)?(?P<argument>{argument})\)", text):
        if match["verb"] in verbs:
            return f'{match["verb"]}({match["option"] or ""}"{match["argument"].strip()}")'
    return ""


def command_at_prompt(text: str, registry: VerbRegistry) -> str:
    """Return the line on a command that was typed as on the command line, ``launch -n 2``, or nothing."""
    arguments = text.split()[1:] if text.split()[:1] == ["stratus"] else text.split()
    verb = next((verb for verb in registry if arguments and arguments[0] in (verb.name, verb.command)), None)
    if verb is None or len(text.strip().splitlines()) != 1:
        return ""
    example = verb.examples[0] if verb.examples else NextStep(verb.name)
    return f"{text.strip()}: not Python. Here a verb is a function, such as {example}"
