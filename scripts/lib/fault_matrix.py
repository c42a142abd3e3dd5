"""Carries out every cell of the fault matrix and writes docs/faults.md.

scripts/fault-matrix                 all cells, two at a time
scripts/fault-matrix F25             only those whose name holds this; writes nothing
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def attempt(number: int) -> tuple[int, list[str], str]:
    """Carry out one cell, by its number."""
    from tests.chaos.fault_matrix.cell_runner import deviations, run_cell
    from tests.chaos.fault_matrix.matrix import cells

    cell = cells()[number]
    try:
        outcome = run_cell(cell)
        return number, list(deviations(cell, outcome)), outcome.output
    except Exception as error:
        return number, [f"broke off: {error!r}"], ""


def main(wanted: str = "") -> int:
    """Carry out the cells whose name holds ``wanted``, and say which are not as promised."""
    from tests.chaos.fault_matrix.matrix import cells
    from tests.chaos.fault_matrix.page import page

    began, found, wrong = time.monotonic(), cells(), 0
    numbers = [number for number, cell in enumerate(found) if wanted in cell.name]
    with multiprocessing.get_context("fork").Pool(2) as crew:
        for number, what, said in crew.imap(attempt, numbers):
            cell = found[number]
            if bool(what) == bool(cell.known_gap):
                continue
            wrong += 1
            print(f"{cell.name}: {'; '.join(what) or 'holds by now: take its gap away'}")
            print("".join(f"    {line}\n" for line in said.strip().splitlines()[-8:]), end="")
    gaps = sum(bool(found[number].known_gap) for number in numbers)
    print(f"{len(numbers)} cells, {wrong} not as expected, {gaps} known gaps; {time.monotonic() - began:.0f} s")
    if not wanted:
        (ROOT / "docs" / "faults.md").write_text(page(found), encoding="utf-8")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
