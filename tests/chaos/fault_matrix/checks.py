"""Compare the outcome of a cell with its promise."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.fault_matrix.cell import Cell, Outcome


def deviations(cell: Cell, outcome: Outcome) -> Iterator[str]:
    """Yield everything in which an outcome differs from the promise."""
    yield from _command(cell, outcome)
    yield from _counts(cell, outcome)
    yield from _next_command(cell, outcome)
    yield from outcome.violations
    yield from _REACTIONS[cell.reaction](cell, outcome)


def _command(cell: Cell, outcome: Outcome) -> Iterator[str]:
    if outcome.exit_code != cell.exit_code:
        yield f"exit {outcome.exit_code}, not {cell.exit_code}"
    for text in cell.output:
        if text not in " ".join(outcome.output.split()):
            yield f"{text!r} is not in the output"
    if "a bug in Stratus" in outcome.output or "Traceback" in outcome.output:
        yield "a bug"
    if cell.max_s is not None and outcome.elapsed_s > cell.max_s:
        yield f"took {outcome.elapsed_s:.0f} s, not {cell.max_s:g} s"


def _counts(cell: Cell, outcome: Outcome) -> Iterator[str]:
    for name, expected, count in (
        ("instances", cell.instances, outcome.instances),
        ("RunInstances requests", cell.launch_requests, len(outcome.tokens)),
        ("open journal entries", cell.open_entries, outcome.open_entries),
        (f"changes ({', '.join(outcome.changes)})", cell.changes, len(outcome.changes)),
    ):
        if expected is not None and count != expected:
            yield f"{count} {name}, not {expected}"


def _next_command(cell: Cell, outcome: Outcome) -> Iterator[str]:
    if cell.next_command and (outcome.next_exit_code, outcome.instances_after_next) != (0, cell.instances_after_next):
        state = f"exit {outcome.next_exit_code}, {outcome.instances_after_next} instances"
        yield f"{cell.next_command} afterwards: {state}: {outcome.next_output}"
    for text in cell.next_output:
        if text not in " ".join(outcome.next_output.split()):
            yield f"{cell.next_command} afterwards: {text!r} is not in the output: {outcome.next_output}"


def _no_retry(_: Cell, outcome: Outcome) -> Iterator[str]:
    if len(outcome.tokens) > 1:
        yield f"RunInstances was sent {len(outcome.tokens)} times"


def _one_token_per_pool(_: Cell, outcome: Outcome) -> Iterator[str]:
    if len({token for token, _ in outcome.tokens}) != len(outcome.tokens):
        yield "two requests to one pool"


def _one_token(cell: Cell, outcome: Outcome) -> Iterator[str]:
    tokens = {token for token, _ in outcome.tokens}
    if cell.exit_code == 0 and len(tokens) > 1:
        yield f"{len(tokens)} tokens for one launch"


def _no_check(_: Cell, __: Outcome) -> Iterator[str]:
    return iter(())


_REACTIONS = {"U": _no_retry, "F": _one_token_per_pool, "R": _one_token, "W": _no_check, "X": _no_check}
