"""Every fault in every phase: output, reaction and exit code. scripts/fault-matrix runs all cells."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.chaos.fault_matrix.cell import Cell
from tests.chaos.fault_matrix.cell_runner import run_cell
from tests.chaos.fault_matrix.checks import deviations
from tests.chaos.fault_matrix.matrix import cells
from tests.chaos.fault_matrix.other_tests import OTHER_TESTS
from tests.chaos.fault_matrix.page import page
from tests.support.paths import ROOT

CELLS = cells()


def _selected() -> Iterator[Cell]:
    """Yield the first cell of every fault and reaction, or all cells if STRATUS_ALL_CELLS is set."""
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
    # Strict, so that the gap must be removed once the promise holds.
    marks = [pytest.mark.xfail(reason=cell.known_gap, strict=True)] if cell.known_gap else []
    return pytest.param(cell, id=cell.name, marks=marks)


@pytest.mark.slow
@pytest.mark.parametrize("cell", [_param(cell) for cell in _selected()])
def test_a_fault_has_the_promised_outcome(cell: Cell) -> None:
    outcome = run_cell(cell)

    assert list(deviations(cell, outcome)) == [], outcome.output


def test_the_matrix_is_complete_and_its_names_are_unique() -> None:
    assert len(CELLS) >= 150
    assert len({cell.name for cell in CELLS}) == len(CELLS)


def test_docs_faults_md_is_current() -> None:
    """scripts/fault-matrix writes it."""
    assert (ROOT / "docs" / "faults.md").read_text(encoding="utf-8") == page(CELLS)


@pytest.mark.parametrize(
    ("fault", "phase", "test"), OTHER_TESTS, ids=[f"{fault} {phase}" for fault, phase, _ in OTHER_TESTS]
)
def test_other_tests_exist(fault: str, phase: str, test: str) -> None:
    file, _, name = test.partition("::")

    assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")


def test_every_fault_is_in_the_matrix_or_has_another_test() -> None:
    known = {cell.fault for cell in CELLS} | {fault for fault, _, _ in OTHER_TESTS}

    # From 51 on, tests of other kinds cover some faults: no cell states them.
    assert {f"F{number:02}" for number in range(1, 51)} <= known
