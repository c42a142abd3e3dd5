"""The fault matrix: every fault in every phase in which it can occur, with the promised outcome, as data."""

from __future__ import annotations

from dataclasses import replace

from tests.chaos.fault_matrix.cell import Cell
from tests.chaos.fault_matrix.cells import (
    api_errors,
    capacity,
    cleanup,
    hosts,
    interruptions,
    user_account,
    user_config,
    visibility,
)

KNOWN_GAPS: dict[str, str] = {}
"""Name of a cell whose promise does not hold yet -> the reason."""


def cells() -> list[Cell]:
    """Return every cell, in the order of the faults."""
    rooms = (user_account, user_config, api_errors, capacity, visibility, hosts, cleanup, interruptions)
    matrix = (cell for room in rooms for cell in room.cells())
    return sorted((_with_gap(cell) for cell in matrix), key=lambda cell: cell.fault)


def _with_gap(cell: Cell) -> Cell:
    return replace(cell, known_gap=cell.known_gap or KNOWN_GAPS.get(cell.name, ""))
