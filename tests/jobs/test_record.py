"""Runs of this computer, from their records."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestrator.interface.render import runs
from orchestrator.jobs.record import past_runs
from tests.support.interface.rendered import rendered

OLD, NEW = "20261119-141203-k3x", "20261120-141203-abc"


def write_record(runs: Path, run_id: str, **facts: Any) -> Path:
    folder = runs / run_id
    (folder / "outputs").mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps(facts))
    return folder


def test_fetched_and_started_runs_are_listed_oldest_first(tmp_path: Path) -> None:
    write_record(
        tmp_path, NEW, job="train", hosts=["ml-0"], started="2026-11-20T14:12:03+00:00", timings={"launch": 3.9}
    )
    done = write_record(
        tmp_path,
        OLD,
        job="train",
        state="done",
        hosts=["ml-0", "ml-1"],
        started="2026-11-19T14:12:03+00:00",
        timings={"job": 61.3},
        cost_usd="0.0213",
    )
    (done / "outputs/metrics.json").write_text('{"accuracy": 0.9}')

    old, new = past_runs(tmp_path)

    assert (old.run_id, old.state, old.seconds, old.cost_usd) == (OLD, "done", 61.3, Decimal("0.0213"))
    assert old.started_at == datetime(2026, 11, 19, 14, 12, 3, tzinfo=UTC)
    assert old.metrics == {"accuracy": 0.9}
    assert (new.run_id, new.state, new.seconds, new.cost_usd) == (NEW, "not fetched", None, None)


def test_what_does_not_fit_in_a_record_is_unknown_and_other_folders_are_no_runs(tmp_path: Path) -> None:
    write_record(tmp_path, "notes", job="x")
    write_record(tmp_path, OLD, hosts="ml-0", started=7, timings=[1], cost_usd="cheap")
    (write_record(tmp_path, NEW) / "record.json").write_text("{half")

    damaged, empty = past_runs(tmp_path)

    assert (damaged.hosts, damaged.started_at, damaged.seconds, damaged.cost_usd) == ((), None, None, None)
    assert (empty.job, empty.state) == ("", "not fetched")
    assert past_runs(tmp_path / "nothing") == []


@pytest.mark.parametrize("number", [float("nan"), float("inf"), "NaN", "Infinity"])
def test_numbers_that_are_none_are_unknown(tmp_path: Path, number: object) -> None:
    write_record(tmp_path, OLD, job="train", timings={"job": number}, cost_usd=number)

    (past_run,) = past_runs(tmp_path)

    assert (past_run.seconds, past_run.cost_usd) == (None, None)


def test_metrics_of_several_hosts_name_the_one_that_is_shown(tmp_path: Path) -> None:
    several = write_record(tmp_path, OLD, hosts=["ml-0", "ml-1"])
    for host in ("ml-0", "ml-1"):
        (several / "outputs" / host).mkdir()
        (several / "outputs" / host / "metrics.json").write_text('{"loss": 0.5}')
    alone = write_record(tmp_path, NEW, hosts=["ml-0"])
    (alone / "outputs/metrics.json").write_text('{"loss": 0.5}')
    (alone / "outputs/fold").mkdir()
    (alone / "outputs/fold/metrics.json").write_text('{"loss": 0.4}')

    first, second = past_runs(tmp_path)

    assert (first.metrics_host, second.metrics_host) == ("ml-0", "")
    assert runs.metrics(first.metrics, first.metrics_host) == ["ml-0: loss 0.5"]
    assert rendered([first])[0].endswith("ml-0: loss 0.5")
