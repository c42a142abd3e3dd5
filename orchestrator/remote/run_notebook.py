"""Executes a notebook from its first cell to its last, without a user.

    python run_notebook.py NOTEBOOK [-p NAME VALUE]...

The executed copy is in outputs/, under the notebook's own name, and is written anew after every cell. Parameters
replace those of the cell with the tag "parameters", as with papermill: a cell after it, or the first one, sets them.
Exit status 1: a cell failed; the last line names it.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

try:
    import nbformat
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError
except ImportError as error:
    sys.exit(f"a notebook needs nbclient and ipykernel in requirements.txt, or in the image: {error}")

USAGE = "usage: NOTEBOOK [-p NAME VALUE]..."
TAG = "injected-parameters"  # papermill's own
MAX_SOCKET_PATH = 100  # sizeof(sun_path) in linux/un.h is 108; the numbers of five sockets are added
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def parse_parameters(arguments: list[str]) -> dict[str, Any]:
    """Return the parameters of a command line; a value that is no Python literal is a text."""
    values: dict[str, Any] = {}
    while arguments:
        option, *rest = arguments
        if option not in ("-p", "--parameters") or len(rest) < 2 or not rest[0].isidentifier():
            sys.exit(f"{' '.join(arguments)}: {USAGE}")
        name, text, *arguments = rest
        try:
            values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            values[name] = text
    return values


def inject(notebook: Any, values: dict[str, Any]) -> None:
    """Insert a cell that sets the parameters, behind the one with the tag ``parameters`` or before all others."""
    tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
    source = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": [TAG]})
    position = next((number for number, names in enumerate(tags) if "parameters" in names), -1) + 1
    # A notebook that was executed before brings the cell of its last execution.
    if position < len(tags) and TAG in tags[position]:
        del notebook.cells[position]
    notebook.cells.insert(position, cell)


class Client(NotebookClient):  # type: ignore[misc]
    """Client that prints what cells print, as they do."""

    def output(self, outs: Any, msg: Any, display_id: Any, cell_index: int) -> Any:
        """Take one output of a cell."""
        content = msg["content"]
        text = content.get("text") or content.get("data", {}).get("text/plain", "")
        if isinstance(text, str) and msg["msg_type"] != "error":
            print(text, end="" if text.endswith("\n") else "\n", flush=True)
        return super().output(outs, msg, display_id, cell_index)


def write(notebook: Any, path: Path) -> None:
    """Replace a notebook: a cut connection or a full disk leaves the earlier one."""
    draft = path.with_suffix(".new")
    nbformat.write(notebook, draft)
    os.replace(draft, path)


def kernel_manager(sockets: Path) -> AsyncKernelManager:
    """Return the manager of a kernel that other users of this host cannot listen to."""
    # The environment's own kernel: the notebook may name one of the computer that it was written on.
    manager = AsyncKernelManager(kernel_name="python3")
    path = sockets / "kernel"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        manager.transport, manager.ip = "ipc", str(path)
    return manager


def execute(source: Path, values: dict[str, Any]) -> str:
    """Execute a notebook and write its copy; return why it failed, or an empty text."""
    notebook = nbformat.read(source, as_version=4)
    if values:
        inject(notebook, values)
    target = Path("outputs") / source.name
    target.parent.mkdir(exist_ok=True)
    code = [number for number, cell in enumerate(notebook.cells) if cell.cell_type == "code" and cell.source.strip()]
    names = {index: f"cell {number} of {len(code)}" for number, index in enumerate(code, 1)}
    running = "before the first cell"

    def begin(cell: Any, cell_index: int) -> None:
        nonlocal running
        running = names.get(cell_index, running)
        first_line = cell.source.strip().splitlines()[:1]
        print(f"-- {running}: {first_line[0][:80]}" if first_line else "", flush=True)

    def save(**_: Any) -> None:
        write(notebook, target)

    sockets = Path(tempfile.mkdtemp(prefix="stratus-"))
    client = Client(
        notebook,
        km=kernel_manager(sockets),
        timeout=None,
        extra_arguments=["--IPKernelApp.log_level=40"],
        resources={"metadata": {"path": str(source.parent)}},
    )
    client.on_cell_execute, client.on_cell_executed = begin, save
    try:
        client.execute()
    except CellExecutionError as error:
        print(_ANSI.sub("", error.traceback))
        return f"{running} failed: {error.ename}: {error.evalue}"
    except DeadKernelError:
        return f"{running} failed: the kernel died: often out of memory"
    finally:
        save()
        shutil.rmtree(sockets, ignore_errors=True)
    return ""


def main() -> None:
    """Read the command line and execute the notebook."""
    if len(sys.argv) < 2:
        sys.exit(USAGE)
    source = Path(sys.argv[1])
    try:
        reason = execute(source, parse_parameters(sys.argv[2:]))
    except nbformat.reader.NotJSONError:
        reason = f"{source} is not a notebook"
    sys.exit(reason or 0)


main()
