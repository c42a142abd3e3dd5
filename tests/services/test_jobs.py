"""Jobs on hosts that no cloud supplied."""

from __future__ import annotations

import subprocess
import sys

import pytest

from orchestrator.core.errors import JobFailed
from tests.support.jobs.own_machines import SLEEP_S, Desktop, desktop, is_sleeping, machines, write_job

__all__ = ["desktop", "machines"]

TWO = ["ml-0", "ml-1"]


def test_a_job_is_installed_run_followed_and_fetched(desktop: Desktop) -> None:
    jobs = desktop.service
    installed, again = jobs.install(TWO), jobs.install(TWO)
    handle = jobs.start(multi=True, names=TWO)
    lines: list[tuple[str, str]] = []
    result = jobs.follow(handle.run_id, on_line=lambda host, line: lines.append((host, line)))
    record = jobs.fetch(handle.short_id)

    assert (installed.failed, again.failed, again.changed) == ({}, {}, 0)
    assert sorted(desktop.source.waited_for[:2]) == ["ml-0", "ml-1"]
    assert desktop.source.waited_for[2] == "all"
    assert sorted(lines) == [("ml-0", "rank 0 of 2"), ("ml-1", "rank 1 of 2")]
    assert (result.run_id, record.run_id, record.state) == (handle.run_id, handle.run_id, "done")
    assert record.outputs == ("outputs/ml-0/rank.txt", "outputs/ml-1/rank.txt")
    assert record.cost_usd == 0
    assert record.timings.keys() == {"install", "job"}
    assert sorted(jobs.logs(handle.run_id)) == sorted(lines)
    assert [summary.run_id for summary in jobs.runs()][-1] == handle.run_id


def test_a_run_is_cancelled_on_every_host(desktop: Desktop) -> None:
    write_job(desktop.job, multi=f"sleep {SLEEP_S}")
    jobs = desktop.service
    jobs.install(TWO)
    handle = jobs.start(multi=True, names=TWO)
    report = jobs.cancel()

    assert (report.run_id, report.left, report.failed) == (handle.run_id, {"ml-0": 0, "ml-1": 0}, {})
    assert not is_sleeping()
    with pytest.raises(JobFailed, match="was cancelled"):
        jobs.follow(handle.run_id, on_line=lambda host, line: None)


def test_a_job_that_fails_on_one_machine_is_fetched_and_reported(desktop: Desktop) -> None:
    write_job(desktop.job, single="echo out of luck; exit 3")
    jobs = desktop.service
    jobs.install(["ml-1"])
    handle = jobs.start(multi=False, names=["ml-1"])

    with pytest.raises(JobFailed, match=r"failed \(exit 3\)") as caught:
        jobs.follow(handle.run_id, on_line=lambda host, line: None)

    assert (caught.value.exit_status, caught.value.tail) == (3, ("out of luck",))
    assert (handle.folder / "logs/ml-1.main.log").read_text() == "out of luck\n"


def test_jobs_know_neither_aws_nor_a_cluster() -> None:
    program = "import sys, orchestrator.services.jobs, orchestrator.ssh; print('\\n'.join(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert "orchestrator.services.jobs" in modules
    prefixes = ("boto", "orchestrator.aws", "orchestrator.cluster")
    assert [name for name in modules if name.startswith(prefixes)] == []
