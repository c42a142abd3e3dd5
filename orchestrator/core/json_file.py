"""JSON files that are replaced atomically."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def save(folder: Path, name: str, facts: Mapping[str, Any]) -> None:
    """Write a JSON file so that it is there whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{name}.part"
    part.write_text(json.dumps(facts, indent=2, sort_keys=True, default=str) + "\n", encoding="utf-8")
    os.replace(part, folder / name)


def load(folder: Path, name: str) -> dict[str, Any]:
    """Read a JSON file; empty when there is none."""
    try:
        found = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found if isinstance(found, dict) else {}
