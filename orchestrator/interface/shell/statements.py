"""Statements of the shell without a prompt: ``stratus -c 'LaunchInstances(2); InstallDeps()'``."""

from __future__ import annotations

import builtins
import traceback
from typing import Any

from orchestrator.core.errors import StratusError, UsageError
from orchestrator.interface.shell import prompt_verbs
from orchestrator.interface.verbs.registry import VerbRegistry
from orchestrator.interface.workspace import Workspace


def run(workspace: Workspace, registry: VerbRegistry, statements: str) -> int:
    """Run statements as ``python -c`` would, with the verbs by their names.

    :return: 0, or 1 when the statements themselves failed; a verb's error is raised.
    """
    verbs = prompt_verbs.namespace(workspace, registry)
    # As global names, unlike in the shell: there is no %reset here that could remove them.
    namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins, **verbs}
    try:
        code = compile(statements, "<statements>", "exec")
    except SyntaxError as error:
        where = f"statements line {error.lineno}"
        raise UsageError(f"{error.msg}: {(error.text or '').strip()}", where=where) from None
    try:
        exec(code, namespace)
    except StratusError:
        raise
    except Exception as error:
        # The user's own code, so the user's own traceback, less the frame of this function.
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
        workspace.console.print_error("".join(traceback.format_exception(error)))
        return 1
    return 0
