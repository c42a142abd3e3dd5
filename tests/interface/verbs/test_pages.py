"""Verbs on notebooks, pages, tunnels, terminals and images: bad input is one line, before anything is done."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import NextStep, as_message
from orchestrator.interface.console import Console
from orchestrator.interface.shell import argument_types
from orchestrator.interface.verbs.registry import default_registry
from orchestrator.interface.workspace import Workspace

Stratus = Callable[..., "subprocess.CompletedProcess[str]"]

GOOD = '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{"cell_type": "code", "source": []}]}'
FILES = {
    "good.ipynb": GOOD,
    "brackets.ipynb": "{}",
    "zero.ipynb": "",
    "broken.ipynb": '{"cells": [\n{"cell_type"',
    "binary.ipynb": "\udcff\udcfe",
    "number.ipynb": "7",
    "list.ipynb": "[1]",
    "later.ipynb": '{"nbformat": 9, "cells": []}',
    "text.ipynb": '{"nbformat": "4", "cells": []}',
    "cells.ipynb": '{"nbformat": 4, "cells": {}}',
    "old.ipynb": '{"nbformat": 3, "cells": {}}',
    "source.ipynb": '{"nbformat": 4, "cells": [{"cell_type": "code", "source": "1"}, {"cell_type": "code"}]}',
    "deep.ipynb": "[" * 100_000,
    "train.py": "",
    "notes.txt": "",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with notebooks, most of them damaged."""
    for name, text in FILES.items():
        (tmp_path / name).write_bytes(text.encode(errors="surrogateescape"))
    (tmp_path / "nb").mkdir()
    (tmp_path / "nb/first.ipynb").write_text(GOOD)
    (tmp_path / "empty.ipynb").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(folder: Path, verb: str, *arguments: object, **options: object) -> UsageError:
    """Call a verb as the prompt does, without a session, and return its error."""

    def no_session(*_: object, **__: object) -> Any:
        raise AssertionError("a session was opened")

    (folder / "config.ini").write_text("[cluster]\ncount = 1\n")
    workspace = Workspace(folder / "config.ini", Console(), REAL_CLOCK, session_factory=no_session)
    called = default_registry().by_name[verb]
    bound = called.signature.bind(*arguments, **options)

    def call() -> None:
        argument_types.check(called, bound)
        called.function(workspace, *bound.args, **bound.kwargs)

    with pytest.raises(UsageError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    ("notebook", "message"),
    [
        ("brackets.ipynb", "brackets.ipynb: not a notebook: it has no nbformat"),
        ("zero.ipynb", "zero.ipynb: not a notebook: the file is empty"),
        ("broken.ipynb", "broken.ipynb: not a notebook: not valid JSON (line 2)"),
        ("binary.ipynb", "binary.ipynb: not a notebook: not valid JSON"),
        ("number.ipynb", "number.ipynb: not a notebook: it has no nbformat"),
        ("list.ipynb", "list.ipynb: not a notebook: it has no nbformat"),
        ("later.ipynb", "later.ipynb: not a notebook: its nbformat is unknown"),
        ("text.ipynb", "text.ipynb: not a notebook: its nbformat is unknown"),
        ("cells.ipynb", "cells.ipynb: not a notebook: it has no cells"),
        ("old.ipynb", "old.ipynb: not a notebook: it has no cells"),
        ("source.ipynb", "source.ipynb: not a notebook: cell 2 has no type or no source"),
        ("deep.ipynb", "deep.ipynb: not a notebook: not valid JSON"),
        ("empty.ipynb", "empty.ipynb: a folder, not a notebook"),
        ("nope.ipynb", "nope.ipynb: no such notebook here."),
        ("my notes/nope.ipynb -p a 1", "nope.ipynb: no such notebook in my notes."),
        ("\0.ipynb", "\0.ipynb: no such notebook here."),
        ("x" * 5000 + ".ipynb", "x" * 5000 + ".ipynb: no such notebook here."),
        ("nb/", "nb/: a folder, not a VM or a notebook"),
        ("train.py", "train.py: not a notebook"),
        ("notes.txt", "notes.txt: not a notebook"),
        ("good.ipynb -p", "-p: name and value are missing: -p NAME VALUE"),
        ("good.ipynb -p year", "-p year: its value is missing: -p NAME VALUE"),
        ("good.ipynb --foo", "--foo: no such option of a notebook: -p NAME VALUE sets one"),
        ("good.ipynb 2024", "2024: not a parameter of a notebook: -p NAME VALUE sets one"),
        ("good.ipynb -p a.b 1", "parameters: 'a.b' is not the name of a variable"),
        ("good.ipynb -p a 'b", "-p a 'b: no closing quotation"),
    ],
)
def test_what_is_not_a_notebook_is_refused_here(folder: Path, notebook: str, message: str) -> None:
    first = str(refused(folder, "Jupyter", notebook).lines()[0])

    assert first.startswith(message)


VALUES = [object(), {1, 2}, b"x", float("nan"), float("inf"), Path("x"), [object()], {"a": {1}}, 1 + 2j]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_parameter_that_cannot_be_written_is_refused(folder: Path, value: object) -> None:
    error = refused(folder, "Jupyter", "good.ipynb", parameters={"year": value})

    assert error.message.startswith("parameters: 'year' is ")
    assert "0x" not in error.message


def test_a_parameter_in_itself_is_refused(folder: Path) -> None:
    itself: list[object] = []
    itself.append(itself)

    assert "of type list" in refused(folder, "Jupyter", "good.ipynb", parameters={"year": itself}).message


@pytest.mark.parametrize(
    ("verb", "arguments", "options", "message", "fix"),
    [
        ("Jupyter", ["empty.ipynb"], {}, "a folder", 'Jupyter("analysis.ipynb -p year 2024")'),
        ("Jupyter", ["nb/"], {}, "a folder", 'Jupyter("nb/first.ipynb")'),
        ("Jupyter", ["train.py"], {}, "not a notebook", 'RunSingleVMComputing("train.py")'),
        ("Jupyter", ["notes.txt"], {}, "not a notebook", "Jupyter("),
        ("Jupyter", ["god.ipynb"], {}, "Did you mean good.ipynb?", 'Jupyter("good.ipynb")'),
        ("Jupyter", ["nb/frist.ipynb"], {}, "Did you mean first.ipynb?", 'Jupyter("nb/first.ipynb")'),
        ("Jupyter", [3], {}, "host = 3 is not a text", 'Jupyter("3")'),
        ("Jupyter", [""], {}, "host = '' is empty", "Jupyter?"),
        ("Jupyter", ["good.ipynb"], {"parameters": {"class": 1}}, "not the name of a variable", "Jupyter("),
        ("StopJupyter", [3], {}, "host = 3 is not a text", 'StopJupyter("3")'),
        ("StopJupyter", [None], {}, "host = None is not a text", "StopJupyter?"),
        ("TensorBoard", ["../../.."], {}, "outside of the run's working directory", "TensorBoard("),
        ("TensorBoard", ["outputs/../../x"], {}, "outside of the run's working directory", "TensorBoard("),
        ("TensorBoard", [3], {}, "logs = 3 is not a text", "TensorBoard("),
        ("TensorBoard", [], {"run": "../x"}, "not the id of a run", "Runs()"),
        ("StopTensorBoard", [], {"host": 3}, "host = 3 is not a text", 'StopTensorBoard(host="3")'),
        ("Tunnel", ["ml-0", 0], {}, "0: a port is a whole number from 1 to 65535", 'Tunnel("ml-0", 6006)'),
        ("Tunnel", ["ml-0", 65536], {}, "65536: a port is a whole number", 'Tunnel("ml-0", 6006)'),
        ("Tunnel", ["ml-0", 1.5], {}, "port = 1.5 is not a whole number", "Tunnel?"),
        ("Tunnel", ["ml-0", "http"], {}, "port = 'http' is not a whole number", "Tunnel?"),
        ("Tunnel", ["", 8888], {}, "host = '' is empty", "Tunnel?"),
        ("Tunnel", [8888, "ml-0"], {}, "is not", "Tunnel?"),
        ("Dashboard", [3], {}, "run = 3 is not a text", 'Dashboard("3")'),
        ("Ssh", [3], {}, "host = 3 is not a text", 'Ssh("3")'),
        ("Ssh", [""], {}, "host = '' is empty", "Ssh?"),
        ("Ssh", ["ml-0", 3], {}, "command = 3 is not a text", "Ssh?"),
        ("Ssh", ["ml-0", "a\0b"], {}, "a NUL character", 'Ssh("ml-0", "nvidia-smi")'),
        ("Screen", [3], {}, "run = 3 is not a text", 'Screen("3")'),
        ("BakeImage", [3], {}, "host = 3 is not a text", 'BakeImage("3")'),
        ("DeleteImages", [], {}, "name an image, or set stale", "DeleteImages(stale=True)"),
        ("DeleteImages", [["ami-1"]], {}, "image = ['ami-1'] is not a text", "DeleteImages?"),
    ],
)
def test_bad_input_is_one_line_with_what_to_type(
    folder: Path, verb: str, arguments: list[object], options: dict[str, object], message: str, fix: str
) -> None:
    error = refused(folder, verb, *arguments, **options)

    assert message in str(error.lines()[0])
    assert "\n" not in error.message
    assert fix in str(error.fix)


@pytest.mark.slow
def test_a_tunnel_of_a_command_is_open_until_ctrl_c_and_one_of_a_shell_until_its_end(launched: Stratus) -> None:
    shell = launched("-c", 'Tunnel("ml-0", 8265); Jupyter(); TensorBoard(); Dashboard()').stdout

    assert shell.count("   open until you exit\n") == 4
    assert "Ctrl-C" not in shell


@pytest.mark.slow
def test_a_document_has_its_fix_in_one_line(launched: Stratus) -> None:
    from orchestrator.interface.render import registry

    fix = "the copy: x\n  " + as_message(NextStep("Logs")) + "  shows it"
    assert str(registry.document(UsageError("x", fix=fix))["fix"]) == "the copy: x; Logs()  shows it"
    assert "required: HOST\n" in launched("ssh").stderr
