"""Help on verbs, from their signatures and docstrings: for the prompt, the command line and the manual."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

from orchestrator.core.next_step import NextStep, Text, as_message, join
from orchestrator.interface.render import units
from orchestrator.interface.verbs.base import Verb
from orchestrator.interface.verbs.registry import VerbRegistry


def call_of(verb: Verb) -> str:
    """Return how a verb is called at the prompt: ``LaunchInstances(n=None, *, yes=False)``."""
    # Types are for type checkers: a reader needs names and defaults.
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in verb.signature.parameters.values()]
    signature = verb.signature.replace(parameters=bare, return_annotation=inspect.Signature.empty)
    return f"{verb.name}{signature}"


def explanation(verb: Verb) -> list[Text]:
    """Return what a verb does, its parameters, its cost, examples, and what to type next."""
    docs = verb.docs
    lines: list[Text] = [f"{docs.summary}."]
    if docs.prose:
        lines += ["", *reflowed(docs.prose).split("\n")]
    if docs.parameters:
        lines += ["", *units.columns(list(docs.parameters.items()), indent="")]
    closing = closing_lines(verb)
    return [*lines, "", *closing] if closing else lines


def reflowed(prose: str) -> str:
    """Return paragraphs with one line each, to be wrapped at a terminal's width; indented lines stay as they are."""
    return re.sub(r"(?<=\S)\n(?=\S)", " ", prose)


def closing_lines(verb: Verb) -> list[Text]:
    """Return the lines on cost, examples and next steps."""
    lines: list[Text] = [f"Costs    {verb.docs.costs}"] if verb.docs.costs else []
    for label, texts in (("Example  ", list(verb.examples)), ("Next     ", list(verb.next_steps))):
        lines += [label + join("   or   ", texts)] if texts else []
    return lines


def wrapped(text: str, width: int) -> list[list[str]]:
    """Return a line of help in rows: prose stays at the margin, descriptions under their beginning."""
    is_prose = re.match(r"\S+ \S", text) is not None
    return units.wrapped([text], width, hang=0 if is_prose else None)


def overview(registry: VerbRegistry) -> list[Text]:
    """Return all verbs, the steps of every session first, each with its summary."""
    others = [verb for verb in registry if not verb.step]
    rows = [[f"{verb.name}()", verb.docs.summary] for verb in [*registry.steps, *others]]
    hint = '  LaunchInstances?  explains one.   Ssh("<Tab>  completes names.'
    return [*units.columns(rows), hint]


def manual(registry: VerbRegistry, program: str = "stratus") -> str:
    """Return the manual page of all verbs, in Markdown."""
    sections = [_MANUAL_HEAD]
    for group in registry.groups:
        sections += [f"## {group.title}", *(_section(verb, registry, program) for verb in group)]
    return "\n\n".join(sections) + "\n"


_MANUAL_HEAD = """\
# Verbs

<!-- Made from the functions in orchestrator/interface/verbs by `stratus manual`; edit those, not this. -->

Every verb is a function at the prompt and a command of `stratus`. `LaunchInstances?` at the prompt and
`stratus launch --help` show the same text as this page."""


def _section(verb: Verb, registry: VerbRegistry, program: str) -> str:
    docs = verb.docs
    parts = [f"### {verb.name}", f"`{call_of(verb)}` is `{_command_line(verb, program)}`."]
    aliases = [f"`{name}`" for name in (*verb.aliases, *verb.command_aliases)]
    parts += [f"Also: {', '.join(aliases)}."] if aliases else []
    parts += [f"{docs.summary}.", *([docs.prose] if docs.prose else [])]
    parts += ["\n".join(f"- `{name}`: {text}" for name, text in docs.parameters.items())] if docs.parameters else []
    parts += [f"Costs {docs.costs}"] if docs.costs else []
    parts += ["\n".join(_example(step, registry, program) for step in verb.examples)] if verb.examples else []
    return "\n\n".join(parts)


def _example(step: NextStep, registry: VerbRegistry, program: str) -> str:
    return f"    {step}    # {registry.as_command(step, program)}"


def _command_line(verb: Verb, program: str) -> str:
    return " ".join([program, verb.command, *([verb.flag] if verb.flag else [])])


def worded(lines: list[Text], word: Callable[[NextStep], str]) -> str:
    """Return lines as one text, hints worded."""
    return "\n".join(
        "".join(word(part) if isinstance(part, NextStep) else part for part in as_message(text).parts) for text in lines
    )
