"""Records as tables: HTML for notebooks, and rows for a pandas DataFrame."""

from __future__ import annotations

import dataclasses
import functools
import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from orchestrator.cluster.status import ClusterStatus
from orchestrator.interface.render import cluster, units
from orchestrator.jobs.record import PastRun
from orchestrator.jobs.runs import RunSummary


@dataclass(frozen=True)
class Table:
    """A table of a notebook.

    :param notes: lines below it.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def to_html(self) -> str:
        """Return the table in HTML; text of hosts and jobs stays text."""
        head = "".join(f"<th>{_escaped(cell)}</th>" for cell in self.header)
        body = "".join(f"<tr>{''.join(f'<td>{_escaped(cell)}</td>' for cell in row)}</tr>" for row in self.rows)
        notes = "".join(f"<div>{_escaped(note)}</div>" for note in self.notes)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"


def _escaped(text: str) -> str:
    return html.escape(units.visible(text))


@functools.singledispatch
def table(record: object, _now: datetime) -> Table | None:
    """Return a record as a table; None if its text is all there is."""
    del record
    return None


@table.register(ClusterStatus)
def _(status: ClusterStatus, _now: datetime) -> Table | None:
    if not status.instances:
        return None
    header = ("VM", "state", "type", "zone", "address", "age", "end", "price")
    rows = [cluster.cells(instance, status.at) for instance in status.instances]
    return Table(header, rows, [str(cluster.up(status))])


@table.register(list)
@table.register(tuple)
def _(records: Sequence[object], now: datetime) -> Table | None:
    header, cells = _LISTS.get(type(records[0]), ((), None)) if records else ((), None)
    return Table(header, [cells(item, now) for item in records]) if cells else None


def _run_cells(run: RunSummary, now: datetime) -> Sequence[str]:
    return [run.run_id, run.state, run.job, _began(run.started_at, now), _duration(run.seconds), " ".join(run.hosts)]


def _past_cells(run: PastRun, now: datetime) -> Sequence[str]:
    hosts, began = " ".join(run.hosts), _began(run.started_at, now)
    return [run.run_id, run.state, run.job, began, _duration(run.seconds), hosts, units.usd(run.cost_usd)]


def _began(moment: datetime | None, now: datetime) -> str:
    return units.clock(moment, now) if moment else ""


def _duration(seconds: float | None) -> str:
    return "" if seconds is None else units.duration(seconds)


_LISTS: dict[type, tuple[Sequence[str], Any]] = {
    RunSummary: (("run", "state", "job", "started", "duration", "VMs"), _run_cells),
    PastRun: (("run", "state", "job", "started", "duration", "VMs", "cost"), _past_cells),
}


def flat_rows(records: Iterable[Any]) -> list[dict[str, Any]]:
    """Return records as rows of a data frame: money in USD, durations in seconds, one column per metric."""
    return [_flat_row(record) for record in records]


def _flat_row(record: Any) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if isinstance(value, Mapping):
            row |= {f"{field.name}.{name}": item for name, item in value.items() if isinstance(item, int | float | str)}
        else:
            row[field.name] = _plain(value)
    return row


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return str(value) if isinstance(value, Path) else value


def records_of(answer: object) -> Sequence[Any]:
    """Return the records of an answer: those of a list, the VMs of a status."""
    if isinstance(answer, ClusterStatus):
        return answer.instances
    return answer if isinstance(answer, list | tuple) else [answer]
