"""Statements of the shell without a prompt: ``stratus -c 'LaunchInstances(2); InstallDeps()'``."""

from __future__ import annotations

import builtins
import contextlib
import sys
import traceback
from dataclasses import dataclass
from typing import Any

from orchestrator.core.errors import StratusError, UsageError
from orchestrator.core.next_step import NextStep, Text
from orchestrator.interface.shell import mistyped, prompt_verbs
from orchestrator.interface.verbs.base import Verb
from orchestrator.interface.verbs.registry import VerbRegistry
from orchestrator.interface.workspace import Workspace

FILE = "<statements>"


@dataclass(frozen=True)
class Outcome:
    """Outcome of statements that ran to their end.

    :param exit_code: 0, or 1 when the statements themselves failed.
    :param document: JSON document of the last verb that has one, or of the failure; None without either.
    """

    exit_code: int
    document: object = None


def run(workspace: Workspace, registry: VerbRegistry, statements: str) -> Outcome:
    """Run statements as ``python -c`` would, with the verbs by their names; a verb's error is raised.

    :raises UsageError: the statements are not Python, or use a name that does not exist.
    """
    answers: list[object] = []

    def after(verb: Verb, answer: object) -> None:
        if answer is not None and verb.document is not None:
            answers.append(verb.document(answer))

    verbs = prompt_verbs.namespace(workspace, registry, after=after)
    code = _compiled(statements, registry)
    try:
        with _stdout_for_document(workspace):
            # As global names, unlike in the shell: there is no %reset here that could remove them.
            exec(code, {"__name__": "__main__", "__builtins__": builtins, **verbs})
    except StratusError:
        raise
    except Exception as error:
        # The user's own code, so the user's own traceback, less the frame of this function.
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
        _raise_if_unknown_name(error, statements, registry)
        workspace.console.print_error("".join(traceback.format_exception(error)))
        return Outcome(1, {"error": type(error).__name__, "what": str(error), "exit_code": 1})
    return Outcome(0, answers[-1] if answers else None)


def _compiled(statements: str, registry: VerbRegistry) -> Any:
    try:
        return compile(statements, FILE, "exec")
    except SyntaxError as error:
        text = (error.text or "").strip()
        message = mistyped.command_at_prompt(text, registry) or f"{error.msg}: {text}"
        raise UsageError(message, where=f"statements line {error.lineno}") from None


def _stdout_for_document(workspace: Workspace) -> contextlib.AbstractContextManager[object]:
    """Keep what the statements print themselves out of the one JSON document on stdout."""
    return contextlib.redirect_stdout(sys.stderr) if workspace.console.document else contextlib.nullcontext()


def _raise_if_unknown_name(error: Exception, statements: str, registry: VerbRegistry) -> None:
    frame = error.__traceback__
    # In the statements' own lines only: inside a module that they import, the traceback is what helps.
    if not isinstance(error, NameError) or frame is None or frame.tb_next is not None:
        return
    fix: Text = NextStep("Help") + "  lists the verbs"
    if quoted := mistyped.in_quotes(error.name or "", statements, registry):
        fix = f"{quoted}   a text is in quotes"
    message = f"{error.name}: no such verb or name.{mistyped.suggestion(error.name or '', registry)}"
    raise UsageError(message, where=f"statements line {frame.tb_lineno}", fix=fix) from None
