"""Jobs on hosts that no cloud supplied."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from orchestrator.core.errors import JobFailed, UsageError
from orchestrator.core.host import Host
from orchestrator.core.next_step import NextStep
from orchestrator.services.jobs import JobService
from tests.support.jobs.own_machines import SLEEP_S, WRITE_RANK, Desktop, desktop, is_sleeping, machines, write_job
from tests.support.localcloud.clients import wait_until

__all__ = ["desktop", "machines"]

TWO = ["ml-0", "ml-1"]


def test_a_job_is_installed_run_followed_and_fetched(desktop: Desktop) -> None:
    write_job(desktop.job, multi=f"{WRITE_RANK}; ln -s /etc outputs/etc")
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
    left_out = "'outputs/ml-0/etc: a link to /etc', 'outputs/ml-1/etc: a link to /etc'"
    assert record.problems == (f"not fetched: {left_out} (only files, and links to files in the same output)",)
    assert record.cost_usd == 0
    assert record.timings.keys() == {"install", "job"}
    assert sorted(jobs.logs(handle.run_id)) == sorted(lines)
    assert [summary.run_id for summary in jobs.runs()][-1] == handle.run_id


def test_outputs_are_folders_and_files(desktop: Desktop) -> None:
    write_job(desktop.job, single="mkdir -p out/model && echo w > out/model/w && echo 1,2 > scores.csv")
    outputs = "outputs =\n    out/model\n    scores.csv\n    tables, figures\n"
    job_ini = desktop.job / "job.ini"
    job_ini.write_text(job_ini.read_text().replace("[resources]", f"{outputs}[resources]"))
    jobs = desktop.service
    jobs.install(["ml-0"])
    handle = jobs.start(multi=False, names=["ml-0"])
    jobs.follow(handle.run_id, on_line=lambda host, line: None)
    first, again = jobs.fetch(handle.run_id), jobs.fetch(handle.run_id)

    assert first.outputs == again.outputs == ("outputs/model/w", "outputs/scores.csv")
    assert first.problems == ("[job] outputs (one per line): the job wrote no 'tables, figures'",)


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


@pytest.mark.slow
def test_a_run_that_goes_on_costs_its_time_until_now(desktop: Desktop) -> None:
    write_job(desktop.job, multi=f"sleep {SLEEP_S}")
    handle = desktop.service.start(multi=True, names=TWO)
    wait_until(lambda: desktop.service.runs()[-1].started_at is not None)
    record = desktop.service.fetch(handle.run_id)
    desktop.service.cancel(handle.run_id)

    assert record.state == "running"
    assert record.bill is not None
    assert record.bill.billed_seconds > 0


def test_a_job_that_fails_on_one_machine_is_fetched_and_reported(desktop: Desktop) -> None:
    write_job(desktop.job, single="echo out of luck; exit 3")
    jobs = desktop.service
    jobs.install(["ml-1"])
    handle = jobs.start(multi=False, names=["ml-1"])

    with pytest.raises(JobFailed, match=r"failed \(exit 3\)") as caught:
        jobs.follow(handle.run_id, on_line=lambda host, line: None)

    assert (caught.value.exit_status, caught.value.tail) == (3, ("out of luck",))
    assert (handle.folder / "logs/ml-1.main.log").read_text() == "out of luck\n"


class NoHosts:
    """A HostSource whose instances are all terminated."""

    def hosts(self, names: Sequence[str] = ()) -> list[Host]:
        raise UsageError(f"no VM of cluster ml is running {names or ''}", fix=NextStep("LaunchInstances"))

    def ready(self, host: Host) -> Host:
        return host

    def all_ready(self) -> None:
        """Do nothing: there is no host."""


VERBS: dict[str, Callable[[JobService, str], object]] = {
    "fetch": JobService.fetch,
    "logs": lambda jobs, run_id: list(jobs.logs(run_id)),
    "cancel": JobService.cancel,
    "dashboard": JobService.dashboard,
    "follow": lambda jobs, run_id: jobs.follow(run_id, on_line=lambda host, line: None),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_run_whose_instances_are_terminated_needs_no_new_ones(desktop: Desktop, verb: str) -> None:
    runs = desktop.service.context.runs_folder
    handle = desktop.service.start(multi=True, names=TWO)
    jobs = JobService(NoHosts(), replace(desktop.service.context, instance_states=dict))
    other = JobService(
        NoHosts(), replace(desktop.service.context, instance_states=lambda: dict.fromkeys(ids, "stopped"))
    )
    ids = json.loads((runs / handle.run_id / "record.json").read_text())["instances"].values()

    with pytest.raises(UsageError) as unfetched:
        VERBS[verb](jobs, handle.short_id)
    with pytest.raises(UsageError) as stopped:
        VERBS[verb](other, handle.short_id)
    desktop.service.fetch(handle.run_id)
    with pytest.raises(UsageError) as fetched:
        VERBS[verb](jobs, "")

    assert unfetched.value.message == fetched.value.message == f"the VMs of run {handle.run_id} are terminated"
    assert "it was not fetched before" in str(unfetched.value.fix)
    assert str(fetched.value.fix) == f"fetched before: {runs / handle.run_id}/"
    # Starting them again brings the run back.
    assert "no VM of cluster ml is running" in stopped.value.message


@pytest.mark.slow
def test_runs_that_end_when_their_instances_are_stopped_are_named_once(desktop: Desktop) -> None:
    write_job(desktop.job, multi=f"sleep {SLEEP_S}")
    jobs = desktop.service
    running = jobs.start(multi=True, names=TWO)
    write_job(desktop.job)
    ended = jobs.start(multi=True, names=TWO)
    jobs.follow(ended.run_id, on_line=lambda host, line: None)
    ids = [host.identity for host in desktop.source.hosts(TWO)]

    assert jobs.note_stopped(["i-another"]) == ()
    assert jobs.note_stopped(ids) == (running.run_id,)
    assert jobs.note_stopped(ids) == ()
    assert set(jobs.not_fetched(ids)) == {running.run_id, ended.run_id}
    jobs.cancel(running.run_id)


def test_jobs_know_neither_aws_nor_a_cluster() -> None:
    program = "import sys, orchestrator.services.jobs, orchestrator.ssh; print('\\n'.join(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert "orchestrator.services.jobs" in modules
    prefixes = ("boto", "orchestrator.aws", "orchestrator.cluster")
    assert [name for name in modules if name.startswith(prefixes)] == []
