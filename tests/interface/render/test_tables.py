"""Tables of notebooks and rows of data frames."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

from orchestrator.interface.render import tables
from orchestrator.jobs.record import PastRun
from orchestrator.jobs.runs import RunSummary
from tests.support.interface.example_machines import machine, status
from tests.support.interface.rendered import NOW, rendered

PAST = PastRun(
    "20261120-141203-k3x",
    "<b>train</b>",
    "done",
    NOW - timedelta(minutes=12),
    61.3,
    ("ml-0", "ml-1"),
    Decimal("0.0213"),
    Path("runs/20261120-141203-k3x"),
    {"accuracy": 0.9, "confusion": [[1, 2]]},
)


def html(record: object) -> str:
    table = tables.table(record, NOW)
    assert table is not None
    return table.to_html()


def test_a_status_is_a_table_with_its_summary_below() -> None:
    text = html(status(machine("ml-0"), machine("ml-1")))

    assert "<th>VM</th><th>state</th>" in text
    assert "<tr><td>ml-0</td><td>running</td><td>c7i.2xlarge</td>" in text
    assert "<div>2 up, $0.73/h" in text


def test_text_of_hosts_and_jobs_stays_text() -> None:
    text = html([PAST])

    assert "&lt;b&gt;train&lt;/b&gt;" in text
    assert "<b>" not in text
    assert "\x1b" not in html([RunSummary("r", "\x1b[31m<script>", False, ("ml-0",), "done", NOW, 3.0)])


def test_what_is_no_table_keeps_its_text() -> None:
    assert tables.table([], NOW) is None
    assert tables.table(status(), NOW) is None
    assert tables.table([3], NOW) is None


def test_rows_of_a_data_frame_have_plain_values_and_a_column_per_metric() -> None:
    (row,) = tables.flat_rows([PAST])

    assert row["cost_usd"] == 0.0213
    assert row["hosts"] == "ml-0 ml-1"
    assert row["metrics.accuracy"] == 0.9
    assert "metrics.confusion" not in row
    assert row["started_at"] == PAST.started_at


def test_past_runs_as_text() -> None:
    (line,) = rendered([PAST])

    assert line.startswith("  20261120-141203-k3x  done  <b>train</b>  ")
    assert line.endswith("  61.3 s  $0.02  accuracy 0.9")
