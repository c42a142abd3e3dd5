"""JSON files, replaced atomically."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any


def save(folder: Path, name: str, values: Mapping[str, Any], *, indent: int | None = 2) -> None:
    """Write a JSON file atomically: a reader sees the old file or the new one.

    :param indent: of the lines; None for a large file that people do not read: one line, in the order of the values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # In the same folder: a rename is atomic within one file system only.
    part = folder / f".{name}.part"
    text = json.dumps(values, indent=indent, sort_keys=indent is not None, default=str)
    try:
        part.write_text(text + "\n", encoding="utf-8")
        os.replace(part, folder / name)
    except OSError:
        # On a full disk, half of the file would keep it full.
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def load(folder: Path, name: str) -> dict[str, Any]:
    """Return the object in a JSON file; empty if the file is missing, unreadable, damaged or holds no object."""
    try:
        document = json.loads((folder / name).read_text(encoding="utf-8"))
    # Files that can be written anew: a damaged one must not stop what the user asked for.
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
