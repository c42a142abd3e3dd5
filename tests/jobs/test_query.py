"""Runs of several hosts, combined, and compared with what this computer has recorded."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.core import json_file
from orchestrator.jobs import query, record
from orchestrator.jobs.query import LocalFacts
from orchestrator.jobs.record import RecordedRun

RUN, OLDER = "20261120-141203-k3x", "20261119-000000-abc"
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def listing(
    run_id: str = RUN,
    task: str = "main yes - 2026-11-20T14:12:03Z -",
    roles: dict[str, list[str]] | None = None,
    **facts: object,
) -> str:
    """Return what a host lists of a run; by default one of two hosts with a main task."""
    manifest = {
        "run": run_id,
        "job": "j",
        "framework": "command",
        "multi": True,
        "roles": roles or {"a": ["main"], "b": ["main"]},
        "outputs": ["outputs"],
    }
    return f"@@job {run_id} {json.dumps(manifest | facts)}\n" + (f"@@run {run_id} {task}\n" if task else "")


def recorded(*hosts: str, instances: tuple[str, ...] = ()) -> LocalFacts:
    """Return facts with a record of every run."""
    run = RecordedRun(dict.fromkeys(hosts, ("main",)), frozenset(instances))
    return LocalFacts(lambda run_id: run, {"a": "i-a", "b": "i-b", "c": "i-c"}, NOW)


def test_equal_lists_are_no_problem() -> None:
    listed = query.combine({"a": listing(), "b": listing()}, recorded("a", "b", instances=("i-a", "i-b")))

    assert (listed.runs[0].hosts, listed.problems, listed.refused) == (("a", "b"), (), {})


@pytest.mark.parametrize(
    "outputs",
    [
        {"a": listing(roles={"a": ["main"]}), "b": listing()},
        {"a": listing(), "b": listing(roles={"a": ["main"]})},
        {"a": listing(roles={"a": ["main"]}), "b": listing(roles={"a": ["main"]})},
        {"a": listing(roles={"a": ["main"], "b": ["worker"]}), "b": listing()},
        {"a": listing(roles={"a": ["main"]}), "b": f"@@job {RUN} {{half\n@@run {RUN} main yes - - -\n"},
        {"a": listing(outputs=[]), "b": listing()},
        {"a": listing(multi=False, roles={"a": ["main"]}), "b": listing()},
    ],
)
def test_a_host_that_lists_a_run_is_its_member_whatever_others_list(outputs: dict[str, str]) -> None:
    listed = query.combine(outputs)

    (run,) = listed.runs
    assert (run.hosts, run.outputs, run.multi) == (("a", "b"), ("outputs",), True)
    assert run.main_hosts == ("a", "b")
    assert len([line for line in listed.problems if line.startswith(f"run {RUN}: job.json on ")]) == 1


def test_a_host_of_the_record_is_a_member_although_none_lists_it() -> None:
    (run,) = query.combine({"a": listing(roles={"a": ["main"]})}, recorded("a", "b")).runs

    assert run.roles == {"a": ("main",), "b": ("main",)}


def test_the_facts_of_a_run_are_those_of_most_hosts() -> None:
    (run,) = query.combine({"a": listing(job="lie", dashboard=1), "b": listing(), "c": listing()}).runs

    assert (run.job, run.dashboard_port) == ("j", 0)


def test_a_run_is_not_that_of_other_instances() -> None:
    facts = recorded("a", instances=("i-a",))

    alone = query.combine({"c": listing(roles={"c": ["main"]})}, facts)
    beside = query.combine({"a": listing(roles={"a": ["main"]}), "c": listing()}, facts)

    assert (alone.runs, alone.refused, beside.refused) == ((), {RUN: ("c",)}, {RUN: ("c",)})
    assert beside.runs[0].hosts == ("a",)
    assert alone.problems == beside.problems
    assert alone.problems == (f"c: run {RUN} is left out: by the record of this computer it ran on other VMs",)


def test_a_host_that_joined_an_elastic_run_is_named_by_those_of_the_record() -> None:
    joined = listing(min_hosts=1, roles={"a": ["main"], "c": ["mesh"]})
    (run,) = query.combine({"a": joined, "c": joined}, recorded("a", instances=("i-a",))).runs

    assert run.hosts == ("a", "c")


@pytest.mark.parametrize("start", ["2026-11-22T00:00:00Z", "2198-01-01T00:00:00Z", "?"])
def test_a_run_with_a_damaged_start_has_the_time_of_its_id(start: str) -> None:
    outputs = listing(OLDER, f"main no 0 {start} -") + listing()
    future = listing("21980101-000000-abc", f"main no 0 {start} -") + listing()

    older, newer = query.combine({"a": outputs}, recorded()).runs
    forged, real = query.combine({"a": future}, recorded()).runs

    assert (older.run_id, older.started_at, newer.run_id) == (OLDER, None, RUN)
    assert (forged.run_id, real.run_id) == ("21980101-000000-abc", RUN)


def test_a_record_names_the_hosts_of_the_start(tmp_path: Path) -> None:
    facts = {"instances": {"a": "i-a", "b": ""}, "commands": {"a main": "x", "a helper": "x", "x": ""}, "hosts": ["zz"]}
    json_file.save(tmp_path / RUN, record.FILE, facts)
    json_file.save(tmp_path / OLDER, record.FILE, {"instances": 3, "commands": ["x"]})

    run = record.recorded_run(tmp_path, RUN)

    assert run == RecordedRun({"a": ("helper", "main"), "b": ()}, frozenset({"i-a", "b"}))
    assert record.recorded_run(tmp_path, OLDER) == record.recorded_run(tmp_path, "../x") == RecordedRun()
