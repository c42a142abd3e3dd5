"""The command behind scripts/fault-matrix."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time

from tests.chaos.fault_matrix.cell import Cell
from tests.chaos.fault_matrix.cell_runner import run_cell
from tests.chaos.fault_matrix.checks import deviations
from tests.chaos.fault_matrix.matrix import cells
from tests.chaos.fault_matrix.page import page
from tests.support.paths import ROOT


def main() -> int:
    """Run the cells with the given text in their names, and print those that deviate; 1 if one does."""
    parser = argparse.ArgumentParser(prog="scripts/fault-matrix", description="Run the cells of the fault matrix.")
    parser.add_argument("text", nargs="?", default="", help="only cells with this in their names; writes no page")
    text = parser.parse_args().text
    start, matrix, unexpected = time.monotonic(), cells(), 0
    numbers = [number for number, cell in enumerate(matrix) if text in cell.name]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for number, problems, output in pool.imap(_run, numbers):
            if bool(problems) != bool(matrix[number].known_gap):
                unexpected += 1
                _print_deviation(matrix[number], problems, output)
    gaps = sum(bool(matrix[number].known_gap) for number in numbers)
    seconds = time.monotonic() - start
    print(f"{len(numbers)} cells, {unexpected} not as expected, {gaps} known gaps; {seconds:.0f} s")
    if not text:
        (ROOT / "docs" / "faults.md").write_text(page(matrix), encoding="utf-8")
    return int(bool(unexpected))


def _run(number: int) -> tuple[int, list[str], str]:
    """Run a cell in a worker process, which has its own copy of the matrix."""
    cell = cells()[number]
    try:
        outcome = run_cell(cell)
        return number, list(deviations(cell, outcome)), outcome.output
    except Exception as error:
        return number, [f"the cell itself failed: {error!r}"], ""


def _print_deviation(cell: Cell, problems: list[str], output: str) -> None:
    print(f"{cell.name}: {'; '.join(problems) or 'holds now: remove its known gap'}")
    print("".join(f"    {line}\n" for line in output.strip().splitlines()[-8:]), end="")


if __name__ == "__main__":
    sys.exit(main())
