"""Write docs/faults.md: the fault matrix as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.chaos.fault_matrix.cell import Cell
from tests.chaos.fault_matrix.other_tests import OTHER_TESTS

REACTIONS = {
    "U": "you must fix it: the command stops at once, nothing is retried",
    "F": "falls back to another pool: subnet, zone, type, or a new instance",
    "R": "repeats the same request with the same token until AWS answers",
    "W": "waits until it is over",
    "X": "cleans up, or keeps and lists what is there",
}

HEAD = """\
# Faults and reactions

Written by `scripts/fault-matrix`, which runs every row: the real command line against a simulated cloud, in virtual
time, with the fault in this phase. The output must contain the texts of the row, the exit code must match, and the
reaction is checked from outside: the requests that AWS got and their tokens, the changes, and the resources there are
afterwards. `scripts/chaos` combines faults at random.

{legend}

{count} rows; {held} hold{gaps}.
"""


def page(cells: Sequence[Cell]) -> str:
    """Return the page."""
    gaps = [cell for cell in cells if cell.known_gap]
    legend = "\n".join(f"- **{letter}** {text}" for letter, text in REACTIONS.items())
    gaps_text = f", {len(gaps)} do not hold yet: the last column says why" if gaps else ""
    head = HEAD.format(legend=legend, count=len(cells), held=len(cells) - len(gaps), gaps=gaps_text)
    return f"{head}\n{_table(cells)}\n{_elsewhere()}"


def _table(cells: Iterable[Cell]) -> str:
    lines = [
        "| fault | phase | command | reaction | exit | output contains | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for cell in cells:
        says = ", ".join(f"`{_plain(text)}`" for text in cell.output)
        if cell.next_output:
            says += f"{'; ' if says else ''}then `{cell.next_command}`: " + ", ".join(
                f"`{_plain(w)}`" for w in cell.next_output
            )
        state = f"not yet: {cell.known_gap}" if cell.known_gap else f"holds: {cell.note}" if cell.note else "holds"
        row = (cell.fault, _plain(cell.phase), f"`{cell.command}`", cell.reaction, str(cell.exit_code), says, state)
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def _elsewhere() -> str:
    """Return the table of faults that need real hosts."""
    lines = [
        "## With real hosts",
        "",
        "These faults need real hosts or a real Docker engine, or a closer look, and have tests of their own.",
        "",
    ]
    lines += ["| fault | phase | test |", "| --- | --- | --- |"]
    lines += [f"| {fault} | {phase} | `{test}` |" for fault, phase, test in OTHER_TESTS]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").strip()
