"""Print measures of the code: lengths of functions and modules, parameters, comments, patches in tests.

A body's lines are those between a function's signature and its end, without its docstring, blank lines and comments; a
nested function counts in its own line and in that of its parent. Parameters are counted without ``self`` and ``cls``.
Comments are lines that hold one, per 100 lines that hold code.
"""

from __future__ import annotations

import ast
import io
import re
import statistics
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

FOLDERS = ("orchestrator", "localcloud", "examples")
SHORT_NAMES = ("each", "found", "one", "said", "made", "given", "what", "words", "kept")
PATCHES = re.compile(r"monkeypatch\.setattr|mock\.patch|@patch\(|MagicMock")


def main(folders: Sequence[str]) -> None:
    """Print one line per measure for all Python files of some folders."""
    paths = _python_files(folders or FOLDERS)
    sources = {path: path.read_text(encoding="utf-8") for path in paths}
    functions = [node for text in sources.values() for node in _functions(ast.parse(text))]
    bodies = [_body_lines(node) for node in functions]
    parameters = [_count_parameters(node) for node in functions]
    code, comments = map(sum, zip(*(_lines(text) for text in sources.values()), strict=True))
    print(f"functions   {len(functions)}: lines of body {_spread(bodies)}; parameters {_spread(parameters)}")
    print(f"modules     {len(paths)}: lines {_spread([text.count(chr(10)) for text in sources.values()])}")
    print(f"comments    {100 * comments / code:.1f} per 100 of {code:,} lines of code")
    folder_sizes = Counter(path.parent for path in paths if path.name != "__init__.py")
    print(f"folders     {len(folder_sizes)}: largest {_largest(folder_sizes)}")
    print(f"names       {_count_names(sources.values())} local names without a type ({', '.join(SHORT_NAMES)})")
    print(f"fmt: skip   {sum(text.count('# fmt: skip') for text in sources.values())}")
    tests = [path.read_text(encoding="utf-8") for path in _python_files(["tests"])]
    print(f"tests       {len(tests)} files, {sum(len(PATCHES.findall(text)) for text in tests)} patches")


def _python_files(folders: Sequence[str]) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *folders], capture_output=True, text=True, check=True, timeout=60
    )
    return [Path(name) for name in listed.stdout.split("\0") if name.endswith(".py") and Path(name).exists()]


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
    return len({line for statement in body for line in range(statement.lineno, (statement.end_lineno or 0) + 1)})


def _count_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    args = function.args
    named = [arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg) if arg]
    return len([name for name in named if name not in ("self", "cls")])


def _lines(source: str) -> tuple[int, int]:
    """Return how many lines of a module hold code, and how many hold a comment."""
    code, comments = set[int](), set[int]()
    ignored = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.ENCODING)
    docstrings = _docstring_lines(ast.parse(source))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type not in ignored:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - docstrings), len(comments)


def _docstring_lines(tree: ast.Module) -> set[int]:
    strings = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    return {line for node in strings for line in range(node.lineno, (node.end_lineno or 0) + 1)}


def _count_names(sources: Iterable[str]) -> int:
    """Return how many assignments, loops and parameters bind one of the names that carry no type."""
    bound = 0
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                bound += node.id in SHORT_NAMES
            elif isinstance(node, ast.arg):
                bound += node.arg in SHORT_NAMES
    return bound


def _spread(values: Sequence[int]) -> str:
    ordered = sorted(values)
    return f"median {statistics.median(ordered):g}, p90 {ordered[int(len(ordered) * 0.9)]}, most {ordered[-1]}"


def _largest(sizes: Counter[Path]) -> str:
    ((folder, count),) = sizes.most_common(1)
    return f"{folder}/ with {count} modules"


if __name__ == "__main__":
    main(sys.argv[1:])
