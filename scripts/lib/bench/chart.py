"""Picture of the figures that `scripts/bench commands --json FILE` wrote: client CPU of each tool, as bars.

scripts/bench chart FILE.json PICTURE.svg
"""

from __future__ import annotations

import argparse
import json
from html import escape
from pathlib import Path

TITLES = {"cold": "a new process for each command", "warm": "the same command again, over open connections"}
WIDTH_PX, NAME_PX, BAR_PX, ROW_PX = 420, 110, 14, 20
OURS, OTHERS = "#d55e00", "#56b4e9"
HEAD = '<svg xmlns="http://www.w3.org/2000/svg" width="{}" height="{}" font-family="sans-serif" font-size="13">'


def _milliseconds(seconds: float) -> str:
    value = seconds * 1000
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", type=Path)
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    content = json.loads(options.figures.read_text())
    parts, top = ['<rect width="100%" height="100%" fill="white"/>'], 24
    for kind, title in TITLES.items():
        rows = sorted((row for row in content["rows"] if row["kind"] == kind), key=lambda row: row["cpu_s"])
        longest_s = max(row["cpu_s"] for row in rows)
        heading = f"true on {content['hosts']} hosts, ms of client CPU: {title}"
        parts.append(f'<text x="4" y="{top}" font-weight="bold">{escape(heading)}</text>')
        for row in rows:
            top += ROW_PX
            width = WIDTH_PX * row["cpu_s"] / longest_s
            color = OURS if row["tool"] == "stratus" else OTHERS
            parts.append(f'<text x="4" y="{top}">{escape(row["tool"])}</text>')
            parts.append(f'<rect x="{NAME_PX}" y="{top - 12}" width="{width:.1f}" height="{BAR_PX}" fill="{color}"/>')
            parts.append(f'<text x="{NAME_PX + width + 6:.1f}" y="{top}">{_milliseconds(row["cpu_s"])}</text>')
        top += 2 * ROW_PX
    head = HEAD.format(NAME_PX + WIDTH_PX + 60, top - 16)
    options.picture.write_text("\n".join([head, *parts, "</svg>"]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
