"""The shape of ``orchestrator/``: who may import whom, who may speak to the user, and what nobody there may know."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "orchestrator"

ROWS = {
    5: "shell cli view cockpit verbs work watching board console desk configuring completion documents pulse words "
    "units __main__ __init__",
    4: "session cluster",
    3: "provision runner results reports money arrivals streams",
    2: "steps jobs jobfile fleet parcels remote_files planning launching ending",
    1: "aws images network ec2 instance_types refusals unanswered groups keypairs prices keys "
    "ssh ssh_open ssh_talk ssh_files ssh_keep ssh_tunnel openssh",
    0: "settings ini schema kinds tables rules checks legacy catalog pages journal errors events hosts names patience",
}
"""Row of each module; a module imports from its own row and from rows below. 0 uses the standard library only."""

ROW = {module: row for row, modules in ROWS.items() for module in modules.split()}

# Each library has one door. Types under TYPE_CHECKING are no use of it.
DOORS = {
    "boto3": r"aws",
    "botocore": r"aws|refusals|unanswered|ec2|groups|keypairs|launching|images|instance_types|network|ending",
    "fabric": r"ssh\w*",
    "paramiko": r"ssh\w*",
    "invoke": r"ssh\w*",
    "cryptography": r"keys|ssh_open",
    "IPython": r"shell",
    "prompt_toolkit": r"shell",
    "pygments": r"shell",
    "traitlets": r"shell",
    "rich": r"board",
    "platformdirs": r"session",
}

SPEAKERS = {"console"}
"""Modules that write to the user's screen and read their answers; shell and cli do it through them."""

MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))
FILES = sorted(path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


@cache
def tree(module: str) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))


def walk(node: ast.AST, *, types_too: bool) -> Iterator[ast.AST]:
    """Every node below, those under ``if TYPE_CHECKING`` only when asked for."""
    for child in ast.iter_child_nodes(node):
        if not types_too and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from walk(child, types_too=types_too)


def imported(node: ast.AST) -> Iterator[str]:
    """The dotted names that an import statement brings in."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(module: str, *, types_too: bool) -> set[str]:
    """The modules of orchestrator that a module imports."""
    names = (name for node in walk(tree(module), types_too=types_too) for name in imported(node))
    parts = (name.split(".")[1] for name in names if name.startswith("orchestrator."))
    return {part for part in parts if part in MODULES} - {module}


def libraries(nodes: Iterator[ast.AST]) -> set[str]:
    """The top names of all imports that are neither ours nor Python's."""
    tops = {name.partition(".")[0] for node in nodes for name in imported(node)}
    return tops - sys.stdlib_module_names - {"orchestrator", "__future__"}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_its_own_row_and_rows_below(module: str) -> None:
    assert module in ROW, f"give {module} a row in {__file__}"
    # Types may be named downwards only, too: a record belongs to who produces it.
    upwards = {other for other in ours(module, types_too=True) if ROW.get(other, 99) > ROW[module]}
    if module == "__init__":
        upwards = set()
    assert not upwards, f"{module} (row {ROW[module]}) imports upwards: {sorted(upwards)}"


def test_no_import_goes_in_a_circle() -> None:
    graph = {module: ours(module, types_too=False) for module in MODULES if module != "__init__"}
    list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", MODULES)
def test_each_library_has_one_door(module: str) -> None:
    used = libraries(walk(tree(module), types_too=False))
    strangers = {name for name in used if not re.fullmatch(DOORS.get(name, "(?!)"), module)}
    assert not strangers


@pytest.mark.parametrize("module", MODULES)
def test_no_library_is_imported_before_it_is_needed(module: str) -> None:
    outside = [node for node in tree(module).body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not libraries(iter(outside))


@pytest.mark.parametrize("module", sorted(set(MODULES) - SPEAKERS))
def test_nobody_else_prints_asks_or_exits(module: str) -> None:
    calls = [ast.unparse(node.func) for node in walk(tree(module), types_too=False) if isinstance(node, ast.Call)]
    allowed = {"sys.exit"} if module == "__main__" else set()
    forbidden = {"print", "input", "exit", "quit", "sys.exit", "os._exit", "sys.stdout.write", "sys.stderr.write"}
    assert not (forbidden - allowed) & set(calls)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_toolkit_does_not_know_which_cloud_it_talks_to(path: Path) -> None:
    words = re.findall(r"(?i)\bmoto\w*|localcloud|\b127\.[0-9]|\blocalhost\b", path.read_text(encoding="utf-8"))
    assert not words


def test_toolkit_and_rehearsal_cloud_never_import_each_other() -> None:
    for path in (ROOT / "localcloud").rglob("*.py"):
        names = {name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) for name in imported(node)}
        assert not {name for name in names if name.partition(".")[0] == "orchestrator"}, path
    for module in MODULES:
        names = {name for node in ast.walk(tree(module)) for name in imported(node)}
        assert not {name for name in names if name.partition(".")[0] == "localcloud"}, module


def test_only_the_composition_root_knows_both() -> None:
    both = set()
    for path in [*ROOT.glob("*.py"), *(ROOT / "scripts").glob("*.py"), *(ROOT / "examples").rglob("*.py")]:
        names = {name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) for name in imported(node)}
        tops = {name.partition(".")[0] for name in names}
        both |= {path.name} if {"orchestrator", "localcloud"} <= tops else set()
    assert both == {"run_interface.py"}


@pytest.mark.parametrize("module", MODULES)
def test_no_host_key_is_ever_taken_on_trust(module: str) -> None:
    source = (PACKAGE / f"{module}.py").read_text(encoding="utf-8")
    assert not re.search(r"AutoAddPolicy|WarningPolicy|StrictHostKeyChecking[ =\"']+(no|accept-new|off)", source)
