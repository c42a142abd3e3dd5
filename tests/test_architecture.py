"""The shape of the code: in ``orchestrator/`` who may import whom, who may speak to the user, and what nobody there may
know; in ``localcloud/`` that packages depend on each other in one direction.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Container, Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGE = ROOT / "orchestrator"

ROWS = {
    5: "interface __main__ __init__",
    4: "account everywhere session cluster launcher ender rescue extending",
    3: "preflight jobcheck provision runner hostkeys results reports money arrivals streams means teardown replacing "
    "vitals notes hostwork joining",
    2: "steps jobs jobfile tasks frameworks fleet parcels",
    1: "cloud ssh keys",
    0: "config journal errors events hosts patience remote_files locks interrupts",
}
"""Row of each module or package; a module imports from its own row and rows below. 0 is the standard library only."""

ROW = {module: row for row, modules in ROWS.items() for module in modules.split()}

STRANGERS = [("cloud", "ssh"), ("ssh", "cloud"), ("keys", "cloud"), ("keys", "ssh")]
"""Neighbours of one row that know nothing of each other."""

# Each library has one door. Types under TYPE_CHECKING are no use of it.
DOORS = {
    "boto3": r"cloud\..*",
    "botocore": r"cloud\..*",
    "fabric": r"ssh\..*",
    "paramiko": r"ssh\..*",
    "invoke": r"ssh\..*",
    "cryptography": r"keys|ssh\.opening",
    "IPython": r"interface\.shell",
    "prompt_toolkit": r"interface\.shell",
    "pygments": r"interface\.shell",
    "traitlets": r"interface\.shell",
    "rich": r"interface\.board",
    "platformdirs": r"session",
}

SPEAKERS = {"interface.console"}
"""Modules that write to the user's screen and read their answers; shell and cli do it through them."""


def dotted(path: Path) -> str:
    """The name of a module inside the package; a package goes by its own name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


# remote/ runs on the VMs.
SOURCES = {dotted(path): path for path in sorted(PACKAGE.rglob("*.py")) if "remote" not in path.parts}
MODULES = sorted(SOURCES)
FILES = sorted(path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
CLOUD = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "localcloud").rglob("*.py"))
}
"""The modules of ``localcloud/``, by their full names."""


@cache
def tree(module: str) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(SOURCES[module].read_text(encoding="utf-8"))


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
    inside = (name.removeprefix("orchestrator.") for name in names if name.startswith("orchestrator."))
    return {owner(name, SOURCES) for name in inside} - {module, ""}


def owner(name: str, modules: Container[str]) -> str:
    """The module that a dotted name lies in: the longest part of it that is one."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def of_the_cloud(module: str, *, types_too: bool) -> set[str]:
    """The modules of localcloud that one of them imports."""
    nodes = walk(ast.parse(CLOUD[module].read_text(encoding="utf-8")), types_too=types_too)
    return {owner(name, CLOUD) for node in nodes for name in imported(node)} - {module, ""}


def room(module: str) -> str:
    """The package of localcloud that a module lies in; the module itself if it lies in none."""
    return ".".join(module.split(".")[:2])


def row(module: str) -> int:
    """The row of a module, or of its package."""
    return ROW.get(module.partition(".")[0], 99)


def libraries(nodes: Iterator[ast.AST]) -> set[str]:
    """The top names of all imports that are neither ours nor Python's."""
    tops = {name.partition(".")[0] for node in nodes for name in imported(node)}
    return tops - sys.stdlib_module_names - {"orchestrator", "__future__"}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_its_own_row_and_rows_below(module: str) -> None:
    assert row(module) < 99, f"give {module} a row in {__file__}"
    # Types may be named downwards only, too: a record belongs to who produces it.
    upwards = {other for other in ours(module, types_too=True) if row(other) > row(module)}
    if module == "__init__":
        upwards = set()
    assert not upwards, f"{module} (row {row(module)}) imports upwards: {sorted(upwards)}"


@pytest.mark.parametrize(("one", "other"), STRANGERS)
def test_neighbours_do_not_know_each_other(one: str, other: str) -> None:
    inside = [module for module in MODULES if module.partition(".")[0] == one]
    known = {name for module in inside for name in ours(module, types_too=True)}
    assert not {name for name in known if name.partition(".")[0] == other}


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


def test_no_import_of_the_rehearsal_cloud_goes_in_a_circle() -> None:
    list(TopologicalSorter({module: of_the_cloud(module, types_too=False) for module in CLOUD}).static_order())


def test_packages_of_the_rehearsal_cloud_depend_on_each_other_in_one_direction() -> None:
    graph: dict[str, set[str]] = {}
    for module in CLOUD:
        others = {room(other) for other in of_the_cloud(module, types_too=True)}
        graph.setdefault(room(module), set()).update(others - {room(module)})
    assert len(graph["localcloud.ec2"]) > 3
    list(TopologicalSorter(graph).static_order())


def test_a_package_of_the_rehearsal_cloud_says_what_is_in_it_and_brings_nothing_along() -> None:
    packages = list((ROOT / "localcloud").glob("*/__init__.py"))
    for path in packages:
        (line,) = path.read_text(encoding="utf-8").splitlines()
        assert line.startswith('"""'), path
    assert len(packages) > 3


def test_only_the_composition_root_knows_both() -> None:
    both = set()
    for path in [*ROOT.glob("*.py"), *(ROOT / "scripts").glob("*.py"), *(ROOT / "examples").rglob("*.py")]:
        names = {name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) for name in imported(node)}
        tops = {name.partition(".")[0] for name in names}
        both |= {path.name} if {"orchestrator", "localcloud"} <= tops else set()
    assert both == {"run_interface.py"}


@pytest.mark.parametrize("module", MODULES)
def test_no_host_key_is_ever_taken_on_trust(module: str) -> None:
    source = SOURCES[module].read_text(encoding="utf-8")
    assert not re.search(r"AutoAddPolicy|WarningPolicy|StrictHostKeyChecking[ =\"']+(no|accept-new|off)", source)
