"""Assumptions about AWS that the embedded cloud makes, from ``contract.toml``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("contract.toml")


@dataclass(frozen=True)
class Assumption:
    """One assumption.

    :param test: the test that checks it against the embedded cloud; empty if a check of ``localcloud.contract.checks``
        does, against any cloud.
    :param system: the test that checks it on a real system; empty if systems do not matter. An assumption about systems
        has no other check.
    """

    name: str
    statement: str
    source: str
    test: str = ""
    system: str = ""


def read() -> dict[str, Assumption]:
    """Return the assumptions by name, in the order of the file."""
    tables = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return {name: Assumption(name, **table) for name, table in tables.items()}
