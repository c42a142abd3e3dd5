"""Two files of figures, such as those of two commits, figure by figure.

    scripts/bench compare OLD.json NEW.json

The files are those that commands, verbs, scale and bytes write with --json. Rows belong together if their names and
numbers of hosts are equal; each figure is printed as old, new and new / old. Seconds of two runs are comparable only on
one idle computer; ratios and counts always are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

KEYS = ("kind", "tool", "name", "case", "hosts")
"""Names of a row: what it is about."""


def rows(path: Path) -> dict[tuple[str, ...], Mapping[str, Any]]:
    """Return the rows of a file by their names."""
    content = json.loads(path.read_text())
    listed: Sequence[Mapping[str, Any]] = content["rows"] if isinstance(content, dict) else content
    return {tuple(str(row[key]) for key in KEYS if key in row): row for row in listed}


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    options = parser.parse_args()
    old, new = rows(options.old), rows(options.new)
    for names in [*old, *(names for names in new if names not in old)]:
        before, after = old.get(names, {}), new.get(names, {})
        for figure in {**before, **after}:
            values = before.get(figure), after.get(figure)
            if figure in KEYS or not any(type(value) in (int, float) for value in values):
                continue
            print(f"{' '.join(names):32} {figure:12} {_change(*values)}")


def _change(before: float | None, after: float | None) -> str:
    texts = ["-" if value is None else f"{value:.4g}" for value in (before, after)]
    ratio = f"{after / before:6.2f}" if before and after is not None else ""
    return f"{texts[0]:>10} {texts[1]:>10} {ratio}"


if __name__ == "__main__":
    main()
