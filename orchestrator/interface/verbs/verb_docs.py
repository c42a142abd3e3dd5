"""Docstrings of verbs in parts: they are the help of the shell, of the command line and of the manual."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class VerbDocs:
    """One verb's docstring.

    :param summary: first line, without its period.
    :param prose: further paragraphs.
    :param parameters: name of a parameter -> its description.
    :param costs: what using the verb costs; empty where nothing is to be said.
    """

    summary: str
    prose: str
    parameters: dict[str, str]
    costs: str


def parse_docs(docstring: str, parameters: Collection[str]) -> VerbDocs:
    """Return the parts of a docstring: paragraphs, ``name  description`` lines, and ``Costs  ...``."""
    summary, _, rest = docstring.partition("\n")
    # Two blanks after a name: prose has one.
    labels = re.compile(rf"({'|'.join([*map(re.escape, parameters), 'Costs'])}) {{2,}}(\S.*)")
    described: dict[str, str] = {}
    prose: list[str] = []
    for text in rest.strip("\n").split("\n"):
        label = labels.fullmatch(text)
        if label:
            described[label[1]] = label[2]
        else:
            prose.append(text)
    costs = described.pop("Costs", "")
    # Labels that were taken out leave blank lines behind.
    paragraphs = re.sub(r"\n{3,}", "\n\n", "\n".join(prose)).strip("\n")
    return VerbDocs(summary.rstrip("."), paragraphs, described, costs)
