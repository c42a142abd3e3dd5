"""docs/faults.md: the fault matrix as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tests.chaos.fault_matrix.cell_runner import Cell
from tests.chaos.fault_matrix.other_tests import ELSEWHERE

REACTIONS = {
    "U": "you mend it: stopped at once, nothing is retried",
    "F": "another pool: subnet, zone, type, or a new machine",
    "R": "the same request again, with the same token, until it is answered",
    "W": "waited out",
    "X": "cleaned up, or kept and listed",
}

HEAD = """\
# Faults: what goes wrong, and what happens then

Written by `scripts/fault-matrix`, which carries out every row: the real command line against a cloud in memory, in
virtual time, with the fault in this phase. What is printed holds the words of the row, the exit code is the row's, and
the reaction is looked at from outside: how often and with which tokens AWS was asked, what was changed, what is there
afterwards. `scripts/chaos` plays faults together, at random.

{legend}

{count} rows; {held} hold{gaps}.
"""


def page(cells: Sequence[Cell]) -> str:
    """Return the whole page."""
    gaps = [cell for cell in cells if cell.known_gap]
    legend = "\n".join(f"- **{letter}** {words}" for letter, words in REACTIONS.items())
    more = f", {len(gaps)} do not yet: they say why" if gaps else ""
    head = HEAD.format(legend=legend, count=len(cells), held=len(cells) - len(gaps), gaps=more)
    return f"{head}\n{_table(cells)}\n{_elsewhere()}"


def _table(cells: Iterable[Cell]) -> str:
    lines = ["| fault | phase | typed | reaction | exit | it says | |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for cell in cells:
        says = ", ".join(f"`{_plain(word)}`" for word in cell.output)
        if cell.next_output:
            says += f"{'; ' if says else ''}then `{cell.next_command}`: " + ", ".join(
                f"`{_plain(w)}`" for w in cell.next_output
            )
        state = f"not yet: {cell.known_gap}" if cell.known_gap else f"holds: {cell.note}" if cell.note else "holds"
        row = (cell.fault, _plain(cell.phase), f"`{cell.command}`", cell.reaction, str(cell.exit_code), says, state)
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def _elsewhere() -> str:
    """Faults of hosts and jobs, which need real hosts."""
    lines = [
        "## With real hosts",
        "",
        "These need real hosts or a real engine, or are looked at closer, and are held by tests of their own.",
        "",
    ]
    lines += ["| fault | phase | test |", "| --- | --- | --- |"]
    lines += [f"| {fault} | {phase} | `{test}` |" for fault, phase, test in ELSEWHERE]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").strip()


def counts(cells: Iterable[Cell]) -> dict[str, int]:
    """How many rows each fault has."""
    return dict(Counter(cell.fault for cell in cells))
