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
SCRIPTS = [*sorted((ROOT / "orchestrator/remote").rglob("*.sh")), *sorted((ROOT / "config").glob("*.ini"))]
PHRASES = re.compile(
    r"it runs on\.|comes? back to it|for being idle|answered with a yes|nobody is here"
    r"|(?<!there )\bis no (?!longer|default|more|separate|[a-z-]+ run\b)\w+|; to make some:|a mistake .{1,20} is told"
    r"|types that will do|the usual chain|empty: our own|words in the banner|launch may cost|stands above"
    r"|is admitted|as it was\b|that this computer has now|nothing ran\b|left of any launch|nothing was found"
    r"|until you leave|from their start to their end|this shell's count|steps? changed something|hangs or is gone"
    r"|takes no more hosts|who does not|again it is a check|in store for|fair.weather|\blearnt\b|\bjudged\b"
    r"|\bcollocated\b|larger class|would not go|sent nothing|begins again|looks it over|of nobody's use|hasty"
    r"|for symmetry|\blimit \d+ of|the network between|colleagues leave|mesh: \d",
    re.IGNORECASE,
)
"""Phrases that readers stumbled over on the screen and in the docs."""
COUNTED = re.compile(r"^ (hosts?|instances?)\b|\bno (host|instance) is (up|running)|\d (hosts|instances)\b")
KEYS = {"not judged"}
"""Keys of reports that scripts read: they stay."""
NO_VM = re.compile(r"machine[- ]learning|virtual machine|machine-id", re.IGNORECASE)
CODE = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)", re.DOTALL)
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


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_texts_of_the_screen_are_plain_and_a_vm_is_called_a_vm(path: Path) -> None:
    shown = [text for text in source_tree.texts(source_tree.parse(path)) if " " in text.strip() and text not in KEYS]
    assert [text for text in shown if PHRASES.search(text)] == []
    # Examples and benchmarks also run without Stratus, on any computer.
    if not {"examples", "scripts"} & set(path.relative_to(ROOT).parts):
        assert [text for text in shown if calls_a_vm_a_machine(text)] == []


@pytest.mark.parametrize("path", [path for path in FILES if path.is_relative_to(ROOT / "orchestrator")], ids=name_of)
def test_what_is_counted_for_the_user_is_vms(path: Path) -> None:
    """A host is what SSH reaches, an instance what EC2 shows; the user launches VMs."""
    assert [text for text in source_tree.texts(source_tree.parse(path)) if COUNTED.search(text)] == []


@pytest.mark.parametrize("path", [*DOCS, *SCRIPTS], ids=name_of)
def test_docs_are_plain_and_a_vm_is_called_a_vm(path: Path) -> None:
    prose = CODE.sub("", path.read_text(encoding="utf-8"))
    assert [line for line in prose.splitlines() if PHRASES.search(line) or calls_a_vm_a_machine(line)] == []


def calls_a_vm_a_machine(text: str) -> bool:
    return re.search(r"\bmachines?\b", NO_VM.sub("", text), re.IGNORECASE) is not None


def test_the_listed_phrases_are_noticed() -> None:
    """As they stood on the screen once."""
    once = (
        "no machine of ml is up",
        "2 machines are up or coming up",
        'It runs on. Attach("k3") comes back to it.',
        "'x' is no number of VMs: a whole number from 1 on",
        "ml-0 ml-1  end not for being idle.",
        "Limit 16 of 4,096 vCPU",
    )
    assert [text for text in once if not (PHRASES.search(text) or calls_a_vm_a_machine(text))] == []
