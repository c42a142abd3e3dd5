"""Runs of this computer, from their records."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.settings import Settings, to_rows
from orchestrator.core.cost import Bill
from orchestrator.core.errors import HostError
from orchestrator.core.version import __version__
from orchestrator.hosts.parallel import Outcome, Outcomes
from orchestrator.interface.render import runs
from orchestrator.jobs import record, spec
from orchestrator.jobs.record import past_runs
from orchestrator.jobs.results import Received
from orchestrator.jobs.runs import Run, TaskState
from tests.support.interface.rendered import rendered
from tests.support.jobs.job_folder import example_host, plan, write_container_job, write_job

OLD, NEW = "20261119-141203-k3x", "20261120-141203-abc"
NEWEST = "20261121-141203-xyz"
NOW = datetime(2026, 11, 20, 14, 12, 3, 500_000, tzinfo=UTC)
SETTINGS = Settings()
OWN = {f"{section}.{option}": value for section, option, value, _ in to_rows(SETTINGS)}


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
    (tmp_path / NEWEST / "record.json").mkdir(parents=True)

    damaged, empty, folder = past_runs(tmp_path)

    assert (damaged.hosts, damaged.started_at, damaged.seconds, damaged.cost_usd) == ((), None, None, None)
    assert (empty.job, empty.state) == (folder.job, folder.state) == ("", "not fetched")
    assert past_runs(tmp_path / "nothing") == []


@pytest.mark.parametrize("number", [float("nan"), float("inf"), "NaN", "Infinity"])
def test_numbers_that_are_none_are_unknown(tmp_path: Path, number: object) -> None:
    write_record(tmp_path, OLD, job="train", timings={"job": number}, cost_usd=number)

    (past_run,) = past_runs(tmp_path)

    assert (past_run.seconds, past_run.cost_usd) == (None, None)


@pytest.mark.parametrize(
    ("cost", "known"), [("999999999999", Decimal(999999999999)), ("1e12", None), ("-1e9999", None)]
)
def test_a_cost_that_no_sum_of_dollars_reaches_is_unknown(tmp_path: Path, cost: str, known: Decimal | None) -> None:
    write_record(tmp_path, OLD, cost_usd=cost)

    assert past_runs(tmp_path)[0].cost_usd == known


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


# -- records of runs that are started, fetched, ended


def read(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "record.json").read_text())
    return content


def test_the_record_of_a_started_run_has_what_is_needed_to_run_it_again(tmp_path: Path, job_folder: Path) -> None:
    job = plan(write_job(job_folder, "horovod"), 2)
    instances = {"ml-0": "i-0", "ml-1": "i-1"}
    record.start_record(tmp_path / "run", job, SETTINGS, {"launch": 3.9}, NOW, instances)

    assert read(tmp_path / "run") == {
        "run": job.run_id,
        "job": "my_job",
        "job_folder": str(job_folder),
        "job_file": "job.ini",
        "multi": True,
        "hosts": ["ml-0", "ml-1"],
        "instances": instances,
        "settings": OWN,
        "commands": {f"{task.host} {task.role}": task.command for task in job.tasks},
        "image": "",
        "timings": {"launch": 3.9},
        "started": "2026-11-20T14:12:03+00:00",
        "stratus": __version__,
    }


def test_the_record_of_a_run_in_a_container_has_its_image(tmp_path: Path) -> None:
    job = plan(spec.load(write_container_job(tmp_path / "job", "image = busybox:1\n"), {}), 1, multi=False)
    record.start_record(tmp_path / "run", job, SETTINGS, {}, NOW, {})

    assert (read(tmp_path / "run")["image"], read(tmp_path / "run")["multi"]) == ("busybox:1", False)


RUN = Run(NEW, "train", "command", False, {"ml-0": ("main",), "ml-1": ("main",)}, ("outputs",), 0)
TASK = TaskState("ml-0", "main", False, "0", NOW, NOW.replace(minute=13))
BILL = Bill(120, Decimal("0.02"), Decimal("0.001"))


def test_a_fetched_run_has_its_results_beside_what_it_was_started_with(tmp_path: Path) -> None:
    folder = write_record(tmp_path, NEW, image="busybox:1", timings={"launch": 3.9, "job": 1.0})
    (folder / "outputs/metrics.json").write_text("{half")
    (folder / "versions.txt").write_text("numpy==2.1\n# comment\n")
    (folder / "image.txt").write_text("sha256:1 sha256:2\n")
    error = HostError("no answer", where="ml-1")
    received = Outcomes([Outcome(example_host(0), Received(70), None, 1.0), Outcome(example_host(1), None, error, 1.0)])
    run = replace(RUN, tasks=(TASK,))

    fetched = record.complete_record(folder, run, received, BILL, seconds=2.5, fetched_at=NOW)

    damaged = "outputs/metrics.json is damaged: no JSON"
    assert fetched == record.RunRecord(
        NEW,
        "train",
        folder,
        "done",
        ("ml-0", "ml-1"),
        ("outputs/metrics.json",),
        received_bytes=70,
        seconds=2.5,
        timings={"launch": 3.9, "job": 60.0},
        cost_usd=Decimal("0.021"),
        failed={"ml-1": error},
        bill=BILL,
        problems=(damaged,),
    )
    written = read(folder)
    bill = {"addresses_usd": "0.00", "billed_seconds": 120, "disks_usd": "0.001", "machines_usd": "0.02", "spot": "no"}
    assert written.pop("bill") == bill
    assert written == {
        "image": "busybox:1",
        "run": NEW,
        "job": "train",
        "hosts": ["ml-0", "ml-1"],
        "state": "done",
        "outputs": ["outputs/metrics.json"],
        "timings": {"launch": 3.9, "job": 60.0},
        "cost_usd": "0.021",
        "versions": {"numpy": "2.1"},
        "image_digests": ["sha256:1", "sha256:2"],
        "fetched": "2026-11-20T14:12:03+00:00",
        "not_received": ["ml-1"],
    }


@pytest.mark.parametrize(
    ("exit_text", "is_failed", "is_named"), [("0", False, True), ("1", False, False), ("0", True, False)]
)
def test_outputs_that_a_finished_job_did_not_write_are_a_problem(
    tmp_path: Path, exit_text: str, is_failed: bool, is_named: bool
) -> None:
    (folder := tmp_path / NEW).mkdir()
    error = HostError("no answer", where="ml-1")
    outcomes = [Outcome(example_host(0), Received(70), None, 1.0)]
    outcomes += [Outcome(example_host(1), None, error, 1.0)] if is_failed else []
    run = replace(RUN, outputs=("a, b",), tasks=(replace(TASK, exit_text=exit_text),))

    fetched = record.complete_record(folder, run, Outcomes(outcomes), BILL, seconds=1, fetched_at=NOW)

    problem = "[job] outputs (one per line): the job wrote no 'a, b'"
    assert fetched.problems == ((problem,) if is_named else ())


def test_a_running_run_of_another_computer_has_no_duration_yet(tmp_path: Path) -> None:
    folder = tmp_path / NEW
    for host in ("ml-0", "ml-1"):
        (folder / "outputs" / host).mkdir(parents=True)
        (folder / "outputs" / host / "metrics.json").write_text('{"loss": 0.5}')
    run = replace(RUN, tasks=(replace(TASK, ended_at=None, exit_text="", is_alive=True),))

    fetched = record.complete_record(folder, run, Outcomes([]), BILL, seconds=1, fetched_at=NOW)

    assert (fetched.state, fetched.timings, fetched.received_bytes, fetched.problems) == ("running", {}, 0, ())
    assert (fetched.metrics, fetched.metrics_host) == ({"loss": 0.5}, "ml-0")


def test_the_instances_of_a_run_of_another_computer_are_recorded_once(tmp_path: Path) -> None:
    folder = tmp_path / NEW
    folder.mkdir()
    for instances in (None, {"ml-0": "i-0"}, {"ml-0": "i-9", "ml-1": "i-1"}):
        record.complete_record(folder, RUN, Outcomes([]), BILL, seconds=1, fetched_at=NOW, instances=instances)
        assert read(folder).get("instances") == (instances and {"ml-0": "i-0"})


def test_a_recorded_run_has_the_hosts_and_roles_that_it_was_started_with(tmp_path: Path) -> None:
    commands = {"ml-0 main": "a", "ml-0 server": "b", "ml-2 main": "c", "damaged": "d"}
    # A host without an id is known by its name; the hosts that a fetch has written count for nothing.
    write_record(tmp_path, NEW, instances={"ml-0": "i-0", "ml-1": ""}, commands=commands, hosts=["ml-9"])
    write_record(tmp_path, OLD, instances=["i-0"], commands=["ml-0 main"])

    assert record.recorded_run(tmp_path, NEW) == record.RecordedRun(
        {"ml-0": ("main", "server"), "ml-1": (), "ml-2": ("main",)}, frozenset({"i-0", "ml-1"})
    )
    for run_id in (OLD, NEWEST, f"../{tmp_path.name}/{NEW}"):
        assert record.recorded_run(tmp_path, run_id) == record.RecordedRun()


def test_timings_that_are_no_object_in_a_record_are_left_out_of_the_results(tmp_path: Path) -> None:
    folder = write_record(tmp_path, NEW, timings=[1])

    fetched = record.complete_record(folder, RUN, Outcomes([]), BILL, seconds=1, fetched_at=NOW)

    assert fetched.timings == {}


def test_the_end_of_a_run_is_noted_once_and_only_in_a_record(tmp_path: Path) -> None:
    folder, unknown = write_record(tmp_path, NEW, job="train"), tmp_path / OLD
    record.note_end(folder, NOW)
    record.note_end(folder, NOW.replace(year=2027))
    record.note_end(unknown, NOW)

    assert read(folder) == {"job": "train", "ended": "2026-11-20T14:12:03+00:00"}
    assert not unknown.exists()


def test_runs_on_stopped_instances_end_and_those_that_ended_before_are_not_listed(tmp_path: Path) -> None:
    write_record(tmp_path, OLD, instances={"ml-0": "i-0"}, ended="2026-11-20T14:12:03+00:00")
    stopped = write_record(tmp_path, NEW, instances={"ml-0": "i-0", "ml-1": "i-1"})
    write_record(tmp_path, NEWEST, instances={"ml-2": "i-2"})

    assert record.note_stopped(tmp_path, ["i-1", "i-9"], NOW) == [NEW]
    assert read(stopped)["ended"] == "2026-11-20T14:12:03+00:00"
    assert record.note_stopped(tmp_path, ["i-0"], NOW) == []
    (tmp_path / "20261122-141203-abc/record.json").mkdir(parents=True)
    assert record.note_stopped(tmp_path, ["i-2"], NOW) == [NEWEST]


@pytest.mark.parametrize(
    ("facts", "is_listed"),
    [
        ({}, True),
        ({"ended": "2026"}, True),
        ({"fetched": "2026", "state": "done"}, False),
        ({"fetched": "2026", "state": "running"}, True),
        ({"instances": {"ml-0": "i-7"}}, False),
        ({"instances": ["i-0"]}, False),
    ],
)
def test_a_run_is_not_fetched_if_nothing_was_received_after_its_end(
    tmp_path: Path, facts: dict[str, object], is_listed: bool
) -> None:
    folder = write_record(tmp_path, NEW, **{"instances": {"ml-0": "i-0"}, **facts})

    assert record.not_fetched(tmp_path, ["i-0"]) == [folder] * is_listed


# -- runs that no VM has


def test_results_that_were_not_all_received_are_listed_as_such(tmp_path: Path) -> None:
    write_record(tmp_path, NEW, run=NEW, state="done", fetched="2026", not_received=["algo-1"])

    (past,) = past_runs(tmp_path)
    assert (past.is_fetched, past.is_partial) == (True, True)
    assert "done, partly fetched" in rendered(past)[0]


def test_install_logs_are_copied_as_far_as_there_are_any(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "ml-1.install.log").write_text("installed\n")
    for _ in range(2):
        record.copy_install_logs(logs, tmp_path / "run/logs", ["ml-0", "ml-1"])

    assert [path.name for path in (tmp_path / "run/logs").iterdir()] == ["ml-1.install.log"]


def test_a_run_may_have_no_metrics() -> None:
    assert record.PastRun(NEW, "train", "done", None, None, (), None, Path()).metrics == {}


def test_a_time_without_a_zone_is_unknown(tmp_path: Path) -> None:
    write_record(tmp_path, OLD, started="2026-11-19T14:12:03")

    assert past_runs(tmp_path)[0].started_at is None
