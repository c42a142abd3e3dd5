"""Output of remote scripts, parsed into records."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.jobs import host_output
from tests.support.jobs.job_folder import plan, write_job

MANIFEST = '{"run": "r1", "job": "j", "framework": "dask", "multi": true, "roles": {"a": ["main"], "b": ["worker"]}'
MANIFEST += ', "outputs": ["outputs"], "dashboard": 8787}'
LISTED_BY_A = f"@@job r1 {MANIFEST}\n@@run r1 main yes - 2026-11-20T14:12:03.250Z -\n"
LISTED_BY_B = (
    f"@@job r1 {MANIFEST}\n@@run r1 worker no 143 2026-11-20T14:12:04Z 2026-11-20T14:12:09Z\n"
    '@@job r0 {"run": "r0", "job": "j", "framework": "horovod", "multi": false, "roles": {"b": ["main"]}, '
    '"outputs": [], "dashboard": 0, "min_hosts": 2, "start": ["jobs/j", "j"]}\n'
    "@@run r0 main no 0 2026-11-19T00:00:00Z 2026-11-19T00:01:00Z\n"
)


def test_runs_are_put_together_from_all_hosts_oldest_first() -> None:
    older, newer = host_output.parse_runs({"a": LISTED_BY_A, "b": LISTED_BY_B})

    assert (older.run_id, older.min_hosts, older.start_args, older.seconds) == ("r0", 2, ("jobs/j", "j"), 60.0)
    assert (newer.run_id, newer.hosts, newer.main_hosts, newer.dashboard_port) == ("r1", ("a", "b"), ("a",), 8787)
    assert [(task.host, task.role, task.is_alive, task.exit_text) for task in newer.tasks] == [
        ("a", "main", True, ""),
        ("b", "worker", False, "143"),
    ]
    assert newer.started_at == datetime(2026, 11, 20, 14, 12, 3, 250_000, tzinfo=UTC)


def test_a_run_of_an_older_version_has_no_elastic_fields() -> None:
    (run,) = host_output.parse_runs({"a": LISTED_BY_A})

    assert (run.min_hosts, run.start_args) == (0, ())


def test_a_plan_is_the_run_that_its_hosts_will_report(job_folder: Path) -> None:
    job = plan(write_job(job_folder, "horovod", "min_hosts = 2\n"), 2)
    run = host_output.parse_manifest(job.manifest)

    assert (run.run_id, run.roles, run.start_args, run.min_hosts) == (job.run_id, job.roles, job.start_args, 2)


def test_the_start_of_a_run() -> None:
    assert host_output.parse_start("@@started main\n@@started worker\n").started == 2
    assert host_output.parse_start("@@exists\n").exists
    assert host_output.parse_start("@@missing packages of job\n").missing == "packages of job"


def test_a_script_that_was_cut_off_reports_no_number() -> None:
    assert host_output.parse_left("@@left 0\n") == 0
    assert host_output.parse_left("") is None


def test_killed_runs_and_processes_that_are_left() -> None:
    output = host_output.parse_kill("@@ended r1\nprocess 7 of r1: sleep\n@@left 1\n")

    assert (output.run_ids, output.left, output.stuck) == (("r1",), 1, ("process 7 of r1: sleep",))


def test_files_arrive_with_every_byte() -> None:
    content = bytes(range(256))
    line = f"@@file mesh/key.pem {base64.b64encode(content).decode()}\n"

    assert host_output.parse_files(line) == {"mesh/key.pem": content}


@pytest.mark.parametrize(
    ("line", "parsed"),
    [
        ("@@exit 3", ("@@exit", "3")),
        ("@@beat", ("@@beat", "")),
        ("@@spot 2026-11-20T14:12:03Z", ("@@spot", "2026-11-20T14:12:03Z")),
        ("@ @@exit 3", ("", "@ @@exit 3")),
        ("", ("", "")),
    ],
)
def test_lines_of_the_script_and_of_the_job(line: str, parsed: tuple[str, str]) -> None:
    assert host_output.parse_line(line) == parsed


def test_the_exit_of_a_task() -> None:
    done = host_output.parse_exit("a", "0", ["out", " ", ""], "")
    lost = host_output.parse_exit("a", "", [], "")
    cancelled = host_output.parse_exit("a", "cancelled", [], "12:00")

    assert (done.ok, done.reason, done.tail) == (True, "exit", ("out",))
    assert (lost.ok, lost.exit_status, lost.reason) == (False, None, "lost")
    assert (cancelled.reason, cancelled.reclaim_time) == ("cancelled", "12:00")


@pytest.mark.parametrize(
    ("received", "lines"),
    [
        (["one", "@@beat", "two"], ["one", "two"]),
        (["10 %@@beat", " 20 %@@beat", " done"], ["10 % 20 % done"]),
        (["no line end@@beat", "", "@@exit 0"], ["no line end", "@@exit 0"]),
        (["", "@@beat", ""], ["", ""]),
    ],
)
def test_a_heartbeat_leaves_the_lines_of_the_job_as_they_were_written(received: list[str], lines: list[str]) -> None:
    heartbeats = host_output.HeartbeatFilter()

    whole = [line for text in received if (line := heartbeats.feed(text)) is not None]

    assert whole == lines
