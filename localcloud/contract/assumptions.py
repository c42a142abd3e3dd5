"""What this cloud takes to be true of AWS, as ``contract.toml`` says it."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("contract.toml")


@dataclass(frozen=True)
class Assumption:
    """One thing taken to be true.

    :param test: the test that checks it here; empty when one of ``localcloud.contract.checks`` does, anywhere.
    """

    name: str
    statement: str
    source: str
    test: str = ""


def read() -> dict[str, Assumption]:
    """The assumptions by name, in the order of the file."""
    tables = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return {name: _assumption(name, **table) for name, table in tables.items()}


def _assumption(name: str, *, says: str, source: str, test: str = "") -> Assumption:
    return Assumption(name, says, source, test)
