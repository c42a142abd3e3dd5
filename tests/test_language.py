"""The language of docstrings, comments and screen: openings, words, local names."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support import source_tree
from tests.support.paths import ROOT

FOLDERS = ("orchestrator", "localcloud", "examples", "scripts")
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
OPENINGS = re.compile(r"(What|Who|Whose|Whoever|How|Where|Whether|Which|Tell whether|Say)\b")
WORDS = re.compile(
    r"\b(nobody|somebody|whoever|whom|befalls?|a fate|fates|bad day|on paper|the desk|the books|ends itself"
    r"|end themselves|rehearsal cloud|is no (?:whole )?(?:number|name|file|folder)|is told of|are told of)\b",
    re.IGNORECASE,
)
DOCS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    # docs/faults.md quotes the values that its cells use, such as a profile named nobody.
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name != "faults.md"),
]
NAMES = {"each", "found", "one", "said", "made", "given", "what", "words", "kept"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_docstring_opens_with_an_imperative_or_a_noun_phrase(path: Path) -> None:
    openings = [text.splitlines()[0] for _, text in source_tree.docstrings(source_tree.parse(path)) if text]
    assert [line for line in openings if OPENINGS.match(line)] == []


@pytest.mark.parametrize("path", [*FILES, *DOCS], ids=name_of)
def test_plain_words_without_people_and_metaphors(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line.strip() for line in lines if WORDS.search(line)] == []


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_local_names_carry_a_type(path: Path) -> None:
    tree = source_tree.parse(path)
    bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    assert bound & NAMES == set()
