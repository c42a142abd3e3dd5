"""The project's Python source as syntax trees, and the imports between its modules."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator, Mapping
from functools import cache
from pathlib import Path

from tests.support.paths import ROOT

Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules(package: str) -> dict[str, Path]:
    """Return the modules of a package by their dotted names, without what runs on VMs: its scripts, and a first job."""
    paths = sorted((ROOT / package).rglob("*.py"))
    return {dotted(path): path for path in paths if not {"remote", "first_job"} & set(path.relative_to(ROOT).parts)}


def dotted(path: Path) -> str:
    """Return the dotted name of a module; that of a package's ``__init__`` is the package's."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def parse(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imported_names(path: Path, *, types_too: bool = True) -> set[str]:
    """Return the dotted names that a file imports, anywhere in it.

    :param types_too: those under ``if TYPE_CHECKING`` included.
    """
    return {name for node in _walk(parse(path), types_too=types_too) for name in names_in(node)}


def imports(path: Path, known: Container[str], *, types_too: bool = True) -> set[str]:
    """Return those of some modules that a file imports."""
    return {_module(name, known) for name in imported_names(path, types_too=types_too)} - {"", dotted(path)}


def import_graph(package: str) -> dict[str, set[str]]:
    """Return the modules of a package that each of its modules imports, for types only included."""
    known = modules(package)
    return {name: imports(path, known) for name, path in known.items()}


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return groups of modules that import each other in a circle (strongly connected components; Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    components: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in graph[module]:
            if other not in index:
                visit(other)
            if other in stack:
                low[module] = min(low[module], low[other])
        if low[module] == index[module]:
            at = stack.index(module)
            components.append(sorted(stack[at:]))
            del stack[at:]

    for module in graph:
        if module not in index:
            visit(module)
    return [component for component in components if len(component) > 1]


def functions(tree: ast.Module) -> Iterator[Function]:
    """Yield every function and method."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def docstrings(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Yield every node that has a docstring, with its text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text is not None:
                yield node, text


def texts(tree: ast.Module) -> Iterator[str]:
    """Yield every string that is not a docstring: what may reach a screen, keys and patterns included."""
    # Strings that stand alone document an attribute.
    documenting = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documenting:
            yield node.value


def _walk(node: ast.AST, *, types_too: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not types_too and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _walk(child, types_too=types_too)


def names_in(node: ast.AST) -> Iterator[str]:
    """Yield the dotted names that an import statement brings in."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _module(name: str, known: Container[str]) -> str:
    """Return the module that a dotted name lies in: the longest part of it that is one."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name
