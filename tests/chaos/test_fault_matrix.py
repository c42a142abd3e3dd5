"""Every fault in every phase: what is said, how it is reacted to, the exit code; all of it: scripts/fault-matrix."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.chaos.fault_matrix.cell_runner import Cell, deviations, run_cell
from tests.chaos.fault_matrix.matrix import cells
from tests.chaos.fault_matrix.other_tests import ELSEWHERE
from tests.chaos.fault_matrix.page import page
from tests.support.paths import ROOT

CELLS = cells()


def _chosen() -> Iterator[Cell]:
    """One cell of every fault, the cheapest, unless all are asked for."""
    if os.environ.get("STRATUS_ALL_CELLS"):
        yield from CELLS
        return
    seen: set[tuple[str, str]] = set()
    for cell in CELLS:
        kind = (cell.fault, cell.reaction)
        if kind not in seen:
            seen.add(kind)
            yield cell


def _param(cell: Cell) -> object:
    # What does not hold yet must be seen to fail, so that nobody forgets it here once it does.
    marks = [pytest.mark.xfail(reason=cell.known_gap, strict=True)] if cell.known_gap else []
    return pytest.param(cell, id=cell.name, marks=marks)


@pytest.mark.parametrize("cell", [_param(cell) for cell in _chosen()])
def test_a_fault_is_met_as_promised(cell: Cell) -> None:
    outcome = run_cell(cell)

    assert list(deviations(cell, outcome)) == [], outcome.output


def test_the_matrix_has_a_cell_for_every_phase_and_no_two_of_a_name() -> None:
    assert len(CELLS) >= 150
    assert len({cell.name for cell in CELLS}) == len(CELLS)


def test_the_page_of_results_is_current() -> None:
    """scripts/fault-matrix writes it."""
    assert (ROOT / "docs" / "faults.md").read_text(encoding="utf-8") == page(CELLS)


@pytest.mark.parametrize(("fault", "phase", "test"), ELSEWHERE, ids=[f"{one[0]} {one[1]}" for one in ELSEWHERE])
def test_what_is_held_elsewhere_has_its_test_there(fault: str, phase: str, test: str) -> None:
    file, _, name = test.partition("::")

    assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")


def test_every_fault_of_the_list_is_in_the_matrix_or_held_elsewhere() -> None:
    known = {cell.fault for cell in CELLS} | {fault for fault, _, _ in ELSEWHERE}

    assert {f"F{number:02}" for number in range(1, 51)} == known
