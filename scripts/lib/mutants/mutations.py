"""Mutants of a module: its source with one small change each."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
OPPOSITES = {"min": "max", "max": "min", "any": "all", "all": "any", "ceil": "floor", "floor": "ceil"}
OPPOSITES |= {"ROUND_FLOOR": "ROUND_CEILING", "ROUND_CEILING": "ROUND_FLOOR"}
Key = tuple[str, str, str, str]
"""Module, function, lines before and lines after: an identity that does not change when lines move."""

TEXT_KEYWORDS = {"fix", "where", "text", "description", "encoding", "indent"}
"""Arguments that carry words for the screen, or decide the form of a file."""


@dataclass(frozen=True)
class Mutant:
    """One change of a module.

    :param file: the module, relative to the checkout.
    :param function: qualified name of the function or class; empty for the module itself.
    :param line: number of its first line, from 1.
    :param last_line: number of its last line.
    :param span: first byte in the source, and the one after the last.
    :param new: the source that replaces it.
    :param before: the lines of the span, as one.
    :param after: the same lines, mutated.
    :param is_in_function: False for code that runs when the module is imported.
    :param source: of the module, as it was when the run began.
    """

    file: str
    function: str
    line: int
    last_line: int
    span: tuple[int, int]
    new: str
    before: str
    after: str
    is_in_function: bool
    source: bytes

    @property
    def key(self) -> Key:
        """Identity."""
        return self.file, self.function, self.before, self.after

    @property
    def place(self) -> str:
        """Module and function."""
        return f"{self.file}:{self.function}"

    @property
    def is_control(self) -> bool:
        """True for the module without a change."""
        return not self.line

    @property
    def mutated(self) -> bytes:
        """The mutated source."""
        return self.source[: self.span[0]] + self.new.encode() + self.source[self.span[1] :]


def mutants_of(file: str, source: bytes) -> list[Mutant]:
    """Return all mutants of a module, in the order of its lines."""
    tree = ast.parse(source)
    conditions = {id(condition) for node in ast.walk(tree) for condition in _plain_conditions(node)}
    mutants = [
        _mutant(file, source, place, node, new)
        for place, node in _nodes(tree, _Place())
        for new in [*_changes(node), *([f"(not ({ast.unparse(node)}))"] if id(node) in conditions else [])]
    ]
    return sorted(mutants, key=lambda mutant: mutant.span)


def unchanged(file: str, source: bytes) -> Mutant:
    """Return a mutant without a change, which every test must let pass."""
    return Mutant(file, "", 0, 0, (0, 0), "", "", "", True, source)


def _mutant(file: str, source: bytes, place: _Place, node: ast.expr | ast.stmt, new: str) -> Mutant:
    lines = source.splitlines(keepends=True)
    last_line, last_column = node.end_lineno or node.lineno, node.end_col_offset or 0
    begin = sum(map(len, lines[: node.lineno - 1]))
    span = begin + node.col_offset, sum(map(len, lines[: last_line - 1])) + last_column
    end = sum(map(len, lines[:last_line]))
    before, after = source[begin:end], source[begin : span[0]] + new.encode() + source[span[1] : end]
    texts = _joined(before), _joined(after)
    return Mutant(file, place.name, node.lineno, last_line, span, new, *texts, place.is_function, source)


def _joined(source: bytes) -> str:
    return " ".join(source.decode().split())


@dataclass(frozen=True)
class _Place:
    """Function or class that a node is in, by its qualified name."""

    name: str = ""
    is_function: bool = False

    def inside(self, node: ast.AST, field: str) -> _Place:
        """Return the place of what a field of a node holds."""
        # The defaults of arguments are evaluated with the definition.
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            is_function = self.is_function or (isinstance(node, ast.FunctionDef) and field == "body")
            return _Place(f"{self.name}.{node.name}".lstrip("."), is_function)
        return self


def _nodes(parent: ast.AST, place: _Place) -> Iterator[tuple[_Place, ast.expr | ast.stmt]]:
    """Return the nodes to change, each with its place."""
    for field, child in _children(parent):
        inner = place.inside(parent, field)
        if isinstance(child, ast.expr | ast.stmt):
            yield inner, child
        yield from _nodes(child, inner)


def _children(parent: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Return the parts of a node that a test could notice: no annotations, decorators, messages or type imports."""
    skipped = {"annotation", "returns", "decorator_list", "exc", "cause", "msg"}
    for field, value in ast.iter_fields(parent):
        if field in skipped or (isinstance(parent, ast.If) and ast.unparse(parent.test) == "TYPE_CHECKING"):
            continue
        for child in value if isinstance(value, list) else [value]:
            is_text = isinstance(child, ast.JoinedStr) or (
                isinstance(child, ast.keyword) and child.arg in TEXT_KEYWORDS
            )
            if isinstance(child, ast.AST) and not is_text:
                yield field, child


def _plain_conditions(node: ast.AST) -> list[ast.expr]:
    """Return the conditions of a node that have no operator which another mutant changes."""
    match node:
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
            conditions = [test]
        case ast.comprehension(ifs=conditions) | ast.BoolOp(values=conditions):
            pass
        case _:
            conditions = []
    return [test for test in conditions if isinstance(test, ast.Name | ast.Attribute | ast.Call | ast.NamedExpr)]


def _changes(node: ast.expr | ast.stmt) -> Iterator[str]:
    """Return the sources that replace a node."""
    for change in (_conditions, _arithmetic, _values, _calls, _statements):
        yield from change(node)


def _conditions(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Compare(ops=[operator]):
            for other in COMPARISONS[type(operator)]:
                yield _expression(node, lambda twin, other=other: setattr(twin, "ops", [other()]))
        case ast.BoolOp(op=operator):
            other = ast.Or() if isinstance(operator, ast.And) else ast.And()
            yield _expression(node, lambda twin: setattr(twin, "op", other))
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield f"({ast.unparse(node.operand)})"


def _arithmetic(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.BinOp(op=operator) if type(operator) in OPERATORS and not _is_text(node):
            yield _expression(node, lambda twin: setattr(twin, "op", OPERATORS[type(operator)]()))
        case ast.AugAssign(op=operator) if type(operator) in OPERATORS:
            twin = copy.deepcopy(node)
            twin.op = OPERATORS[type(operator)]()
            yield ast.unparse(twin)
            yield "pass"


def _is_text(node: ast.AST) -> bool:
    """Return True for an expression that joins strings."""
    kinds = (ast.JoinedStr, ast.List, ast.Tuple)
    return any(
        isinstance(child, kinds)
        or (isinstance(child, ast.Constant) and isinstance(child.value, str))
        or (isinstance(child, ast.Call) and ast.unparse(child.func) == "NextStep")
        for child in ast.walk(node)
    )


def _values(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Constant(value=bool() as value):
            yield str(not value)
        case ast.Constant(value=int() | float() as value):
            yield str(value + 1)
        case ast.Name(id=name, ctx=ast.Load()) if name in OPPOSITES:
            yield OPPOSITES[name]
        case ast.Attribute(attr=name, ctx=ast.Load()) if name in OPPOSITES:
            yield f"{ast.unparse(node.value)}.{OPPOSITES[name]}"


def _calls(node: ast.AST) -> Iterator[str]:
    """Leave out each named argument of a call."""
    if isinstance(node, ast.Call):
        for index, keyword in enumerate(node.keywords):
            if keyword.arg and keyword.arg not in TEXT_KEYWORDS:
                yield _expression(node, lambda twin, index=index: twin.keywords.pop(index))


def _statements(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Return(value=None) | ast.Raise() | ast.Continue() | ast.Break() | ast.Expr(value=ast.Call()):
            yield "pass"
        case ast.Return(value=value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield "return None"


def _expression(node: ast.AST, change: Callable[[ast.AST], object]) -> str:
    """Return the source of an expression after a change, in parentheses."""
    twin = copy.deepcopy(node)
    change(twin)
    return f"({ast.unparse(twin)})"
