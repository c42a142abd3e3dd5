"""Runs and their results as text."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from orchestrator.core.cost import Bill
from orchestrator.core.errors import HostError
from orchestrator.interface.render import runs
from orchestrator.jobs.elastic import JoinReport
from orchestrator.jobs.record import RunRecord
from orchestrator.jobs.runner import CancelReport
from orchestrator.jobs.runs import RunHandle, RunResult, RunSummary
from tests.support.interface.rendered import NOW, rendered, texts


def test_a_run_shows_where_its_parts_are() -> None:
    roles = {"ml-0": ("scheduler", "worker", "main"), "ml-1": ("worker",)}
    handle = RunHandle("20261120-1412-k3", "cloud_retrieval", True, roles, True, Path("runs"))

    assert rendered(handle) == [
        "  cloud_retrieval on ml-0 (scheduler), ml-0 ml-1 (workers)   run 20261120-1412-k3   dashboard: Dashboard()"
    ]
    roles = {"ml-0": ("mesh", "guard", "main"), "ml-1": ("mesh", "main")}
    assert rendered(RunHandle("r", "domain_adaptation", True, roles, False, Path("runs"))) == [
        "  domain_adaptation on ml-0 ml-1   run r"
    ]


def test_a_run_that_ended_well_leads_to_its_results() -> None:
    assert rendered(RunResult("r", "j", 61.3)) == ["  j done in 61.3 s.  Next: FetchResults()"]
    assert texts(runs.left_running("k3")) == ['  It keeps running. Attach("k3") reconnects to it.']
    assert texts(runs.left_running("")) == ["  It keeps running. Attach() reconnects to it."]


def test_a_running_run_shows_how_long_it_has_run() -> None:
    summary = RunSummary("r", "j", True, ("ml-0", "ml-1"), "running", NOW.replace(minute=14), None)

    (line,) = rendered([summary])
    assert line.split("  ") == [
        "",
        "r",
        "running",
        "j",
        NOW.replace(minute=14).astimezone().strftime("%H:%M"),
        "10 min",
        "ml-0 ml-1",
    ]
    assert texts(runs.runs([], NOW)) == ["  No runs yet.  Next: RunSingleVMComputing()"]


RECORD = RunRecord(
    run_id="r",
    job="j",
    folder=Path("runs/r"),
    state="done",
    hosts=("ml-0",),
    outputs=("outputs/metrics.json", "outputs/retrieval.png"),
    received_bytes=14_200_000,
    seconds=0.3,
    metrics={},
    timings={"api": 0.3, "boot": 1.0, "install": 22.6, "job": 61.3, "launch": 3.9},
    cost_usd=Decimal("0.0214"),
)


def test_results_show_files_size_numbers_times_and_cost() -> None:
    values = {
        "framework": "dask",
        "summary": {"cloud_mask_accuracy": 0.9783, "r2_cer": 0.58, "pixels": 20736, "note": "x"},
    }

    assert rendered(replace(RECORD, metrics=values)) == [
        "  runs/r/outputs/   metrics.json  retrieval.png   14.2 MB in 0.3 s",
        "    cloud mask accuracy 0.978   r2 cer 0.58   pixels 20,736",
        "    time   launch 3.9 s  install 22.6 s  job 61.3 s     cost $0.02",
    ]


def test_the_cost_is_broken_down_by_vms_time_and_disks() -> None:
    bill = Bill(202.0, Decimal("0.018"), Decimal("0.003"), "partly")

    assert rendered(replace(RECORD, hosts=("ml-0", "ml-1"), bill=bill))[-1].endswith(
        "cost $0.02  (2 VMs x 101.0 s: VMs (partly spot) $0.02, disks <$0.01)"
    )
    public = replace(bill, addresses_usd=Decimal("0.01"))
    assert rendered(replace(RECORD, hosts=("ml-0", "ml-1"), bill=public))[-1].endswith(", addresses $0.01)")


def test_results_show_six_plain_numbers_at_most_when_the_job_names_no_summary() -> None:
    lines = runs.metrics({"ok": True, "name": "x", "nested": {}} | {f"m{n}": n for n in range(9)})

    assert lines == ["m0 0   m1 1   m2 2", "m3 3   m4 4   m5 5"]


def test_a_jobs_own_headline_is_printed_as_it_is() -> None:
    headline = "  accuracy 0.935\tStatus() \x1b[2J"

    assert runs.metrics({"headline": f"{headline}\nsecond\n", "loss": 1}) == [headline, "second"]


def test_results_of_a_failed_run_say_that_it_failed() -> None:
    lines = rendered(replace(RECORD, state="failed", outputs=(), cost_usd=None))

    assert "no output files" in lines[0]
    assert lines[1] == "  The run failed: these are its outputs so far."
    assert lines[2].endswith("cost price unknown")


def test_a_cancel_counts_what_is_left() -> None:
    assert rendered(CancelReport("r", {"ml-0": 0, "ml-1": 2}, {})) == [
        "  ml-1  2 processes could not be killed",
        "  r cancelled: no process left on 1 VM.",
    ]


def test_a_cancelled_run_of_a_managed_service_has_no_vms() -> None:
    report = CancelReport("r", {"algo-1": 0}, {}, kind="training job")

    assert rendered(report) == ["  r cancelled: its training job has ended."]
    failed = replace(report, left={}, failed={"stratus-ml-r": HostError("still Stopping after 420 s")})
    assert rendered(failed) == ["  stratus-ml-r  failed  still Stopping after 420 s"]


def test_a_run_that_had_ended_is_not_called_cancelled() -> None:
    assert rendered(CancelReport("r", {"ml-0": 0}, {}, "done")) == [
        "  r had ended before (done): there was nothing to cancel."
    ]


def test_hosts_that_join_are_named() -> None:
    assert rendered(JoinReport("r", ("ml-2",), {})) == ["  ml-2 joined r"]
    assert rendered(JoinReport("r", (), {"ml-2": ValueError("old")})) == ["  ml-2  failed  old", "  No VM joined r"]
