"""Check a notebook and its parameters on this computer, before anything is uploaded."""

from __future__ import annotations

import ast
import json
import keyword
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import Text

PARAMETER_OPTIONS = ("-p", "--parameters")
"""Those of papermill, which ``remote/run_notebook.py`` takes."""

LATEST_FORMAT = 4
"""Major version of notebook files, of 2014."""


def check(path: Path, words: Sequence[str], fix: Text) -> None:
    """Refuse a file that is not a notebook, and arguments that are not parameters.

    :param words: what was typed after the notebook.
    :param fix: an example of what can be typed.
    :raises UsageError: one of them.
    """
    _check_file(path)
    _check_arguments(list(words), fix)


def _check_file(path: Path) -> None:
    where = str(path)
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=where) from None
    if not text.strip():
        raise UsageError("not a notebook: the file is empty", where=where)
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError) as error:
        at = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise UsageError(f"not a notebook: not valid JSON{at}", where=where) from None
    if reason := _defect(notebook):
        raise UsageError(f"not a notebook: {reason}", where=where)


def _defect(notebook: Any) -> str:
    """Return what a JSON value lacks of a notebook; empty if nothing."""
    if not isinstance(notebook, dict) or "nbformat" not in notebook:
        return "it has no nbformat"
    version = notebook["nbformat"]
    if not isinstance(version, int) or not 1 <= version <= LATEST_FORMAT:
        return "its nbformat is unknown"
    if version < LATEST_FORMAT:
        # Converted on the VM: its cells are in worksheets.
        return "" if isinstance(notebook.get("worksheets", notebook.get("cells")), list) else "it has no cells"
    cells = notebook.get("cells")
    if not isinstance(cells, list):
        return "it has no cells"
    damaged = [number for number, cell in enumerate(cells, 1) if not _is_cell(cell)]
    return f"cell {damaged[0]} has no type or no source" if damaged else ""


def _is_cell(cell: Any) -> bool:
    if not isinstance(cell, dict) or not isinstance(cell.get("cell_type"), str):
        return False
    return isinstance(cell.get("source"), str | list)


def _check_arguments(arguments: list[str], fix: Text) -> None:
    while arguments:
        option, *rest = arguments
        if option not in PARAMETER_OPTIONS:
            reason = "no such option" if option.startswith("-") else "not a parameter"
            raise UsageError(f"{option}: {reason} of a notebook: -p NAME VALUE sets one", fix=fix)
        if len(rest) < 2:
            named = " ".join(arguments)
            missing = "its value is missing" if rest else "name and value are missing"
            raise UsageError(f"{named}: {missing}: -p NAME VALUE", fix=fix)
        check_name(rest[0], fix)
        arguments = rest[2:]


def check_parameters(parameters: Mapping[str, Any], fix: Text) -> None:
    """Refuse parameters whose values cannot be written into a notebook.

    :param fix: an example of what can be typed.
    :raises UsageError: one of them.
    """
    for name, value in parameters.items():
        check_name(name, fix)
        if not _is_plain(value):
            allowed = "text, a number, True, False, None, or a list or dictionary of them"
            raise UsageError(f"parameters: {name!r} is {_kind(value)}, not {allowed}", fix=fix)


def check_name(name: object, fix: Text) -> None:
    """Refuse what is not the name of a variable.

    :raises UsageError: it is none.
    """
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
        raise UsageError(f"parameters: {name!r} is not the name of a variable", fix=fix)


def _is_plain(value: object) -> bool:
    """Return True if a value is the same after it was written as text and read again."""
    try:
        json.dumps(value, allow_nan=False)
        return bool(ast.literal_eval(repr(value)) == value)
    # Not in JSON, not a literal, or in itself.
    except (TypeError, ValueError, SyntaxError, RecursionError, MemoryError):
        return False


def _kind(value: object) -> str:
    # A number that JSON does not know is told by its value.
    return repr(value) if isinstance(value, float) else f"of type {type(value).__name__}"
