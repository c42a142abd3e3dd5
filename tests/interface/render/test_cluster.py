"""Records as text: what a user reads, with units, aligned, and honest about what is unknown."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.aws.ec2.state_changes import InstanceResult
from orchestrator.cluster.launcher import LaunchReport
from orchestrator.cluster.readiness import HostStartup
from orchestrator.cluster.status import ClusterStatus, InstanceStatus
from orchestrator.cluster.terminate import TerminateReport
from orchestrator.core.errors import ConfigError, ConnectError, HostsFailed, JobFailed, LeftRunning, Problem
from orchestrator.install.installer import HostInstall, InstallReport, StepResult
from orchestrator.interface.cli import json_output
from orchestrator.interface.console import coloured
from orchestrator.interface.render import cluster, install, launch, runs, units
from orchestrator.interface.verbs import registry
from orchestrator.jobs.record import RunRecord
from orchestrator.jobs.runner import CancelReport
from orchestrator.jobs.runs import RunHandle

NOW = datetime(2026, 11, 20, 14, 24, tzinfo=UTC)


def machine(name: str, state: str = "running", per_hour: str | None = "0.365") -> InstanceStatus:
    return InstanceStatus(
        name,
        f"i-{name}",
        "c7i.2xlarge",
        state,
        "us-west-2b",
        "10.0.3.7",
        NOW - timedelta(minutes=12),
        NOW + timedelta(hours=7, minutes=48),
        Decimal(per_hour) if per_hour else None,
        Decimal("0.0082"),
    )


def status(*machines: InstanceStatus) -> ClusterStatus:
    return ClusterStatus("ml", "us-west-2", "me", machines, NOW)


def plan(**changes: Any) -> Any:
    facts: dict[str, Any] = {
        "count": 2,
        "instance_type": "c7i.2xlarge",
        "vcpus": 8,
        "memory_gib": 16.0,
        "gpus": 0,
        "region": "us-west-2",
        "disk": SimpleNamespace(type="gp3", size=75, encrypted=True),
        "max_hours": 8.0,
        "hours": 8.0,
        "capped": False,
        "max_dollars": 0.0,
        "sources": (),
        "limit": None,
        "notes": (),
        "price": None,
        "market": "on-demand",
        "place": SimpleNamespace(zones=("us-west-2a", "us-west-2b")),
        "price_per_hour": Decimal("0.357"),
        "disk_per_hour": Decimal("0.0082"),
        "per_hour": Decimal("0.7304"),
        "at_most": Decimal("5.843"),
    }
    return SimpleNamespace(**(facts | changes))


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("5.843", "$5.84"),
        ("0.02", "$0.02"),
        ("0.006", "$0.01"),
        ("0.004", "<$0.01"),
        ("0", "$0.00"),
        ("1234.5", "$1,234.50"),
        (None, "price unknown"),
    ],
)
def test_money_is_dollars_and_cents_and_an_unknown_price_is_not_nothing(amount: str | None, text: str) -> None:
    assert units.usd(Decimal(amount) if amount else None) == text


@pytest.mark.parametrize(
    ("per_hour", "text"),
    [("0.7304", "$0.73/h"), ("0.0082", "$0.008/h"), ("110.08", "$110.08/h"), (None, "price unknown")],
)
def test_a_price_says_per_hour_and_keeps_small_ones_visible(per_hour: str | None, text: str) -> None:
    assert units.rate(Decimal(per_hour) if per_hour else None) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (61.3, "61.3 s"),
        (725, "12 min 5 s"),
        (28080, "7 h 48 min"),
        (3600 * 74, "3 d 2 h"),
        (3599.7, "1 h"),
        (720, "12 min"),
        (48 * 3600, "2 d"),
    ],
)
def test_a_stretch_of_time_is_told_in_the_units_that_fit(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(999, "999 B"), (14_200_000, "14.2 MB"), (999_960, "1.0 MB"), (5 * 10**15, "5000.0 TB")]
)
def test_sizes_are_in_powers_of_ten(count: int, text: str) -> None:
    assert units.size(count) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.97843, "0.978"),
        (20736, "20,736"),
        (20736.0, "20,736"),
        (1.23e-5, "1.23e-05"),
        (1234.56, "1,234.6"),
        (float("nan"), "nan"),
    ],
)
def test_measured_numbers_are_short(value: float, text: str) -> None:
    assert units.number(value) == text


def test_nothing_in_a_jobs_output_can_move_the_cursor_or_ring_the_bell() -> None:
    assert units.plain("\x1b[2J\x1b]0;title\x07epoch 1\rloss\x08 0.5\x1b[31m!\r\n") == "loss 0.5!"


def test_columns_line_up_and_are_never_cut() -> None:
    lines = units.columns([["ml-0", "x" * 200, "z"], ["ml-10", "y", ""]])

    assert lines == [f"  ml-0   {'x' * 200}  z", "  ml-10  y"]


def test_a_long_line_breaks_between_words_and_goes_on_further_in() -> None:
    assert units.wrapped("  Plan   2 x c7i.2xlarge, ubuntu-24.04", 24) == [
        "  Plan   2 x",
        "    c7i.2xlarge,",
        "    ubuntu-24.04",
    ]
    assert units.wrapped("  " + "x" * 50, 24) == ["  " + "x" * 50]
    assert units.wrapped("  ml-0 | " + "word " * 9, 24) == ["  ml-0 | " + "word " * 9]


def test_a_plan_says_what_it_brings_what_it_costs_and_who_gets_in() -> None:
    lines = launch.plan(plan(), image="ubuntu-24.04", ssh_from="203.0.113.7/32")

    assert lines == [
        "",
        "  Plan   2 x c7i.2xlarge (8 vCPU, 16 GiB), ubuntu-24.04, gp3 75 GiB encrypted, us-west-2 (any zone)",
        "  Price  $0.357/h each, disks $0.008/h each  = $0.73/h  at most $5.84 if you forget it "
        "(ends itself after 8 h)",
        "  Access ssh from 203.0.113.7 only, host keys pinned",
    ]


def test_a_plan_of_unknown_price_says_so_and_still_says_when_it_ends() -> None:
    price = launch.plan(plan(price_per_hour=None, per_hour=None, at_most=None, gpus=1), image="x", ssh_from="auto")[2]

    assert price == "  Price  price unknown each, disks $0.008/h each  = price unknown  ends itself after 8 h"


def test_a_plan_warns_of_an_open_door_and_an_open_disk() -> None:
    text = "\n".join(
        launch.plan(plan(disk=SimpleNamespace(type="gp3", size=75, encrypted=False)), image="x", ssh_from="0.0.0.0/0")
    )

    assert "NOT encrypted" in text
    assert "ssh from ANYWHERE" in text


def test_a_launch_shows_each_host_and_why_one_did_not_come_up() -> None:
    error = ConnectError("dropped", "ssh: no answer for 30 s", where="ml-1", fix="check the security group")
    report = LaunchReport("l", 0.2, (HostStartup("ml-0", "us-west-2b", 2.1, 1.4, 0.2),), {"ml-1": error}, 33.9)

    assert launch.launch(report) == [
        "  ml-0  ready  us-west-2b  pending 2.1 s   boot 1.4 s   ssh 0.2 s",
        "  ml-1  failed  ssh: no answer for 30 s",
        "    check the security group",
        '  1 of 2 ready in 33.9 s.  Ssh("ml-0") opens a terminal on it.  Next: InstallDeps()',
    ]


def test_a_launch_of_many_hosts_is_summed_up_in_one_line() -> None:
    ready = tuple(HostStartup(f"ml-{n}", "us-west-2b", 10 + n / 10, 1.0, 0.1) for n in range(128))
    lines = launch.launch(LaunchReport("l", 0.2, ready, {}, 24.0))

    assert len(lines) == 1
    assert lines[0].startswith("  128 of 128 ready in 24.0 s.  pending 10.0 to 22.7 s   boot 1.0 to 1.0 s")


def test_an_install_names_each_step_and_a_second_one_has_nothing_to_do() -> None:
    done = HostInstall("ml-0", (StepResult("python", "unchanged", 0.1), StepResult("requirements", "done", 21.4)), 22.0)
    nothing = HostInstall("ml-0", (StepResult("python", "unchanged", 0.1),), 0.4)

    assert install.install(InstallReport((done,), {}, 22.6)) == [
        "  ml-0  done  python   requirements 21.4 s",
        "  1 step changed something, 0 failed, 22.6 s.  Next: RunSingleVMComputing() or RunMultiVMComputing()",
    ]
    assert "Nothing to do, 0.4 s." in install.install(InstallReport((nothing,), {}, 0.4))[1]


def test_a_status_shows_each_machine_and_the_sum() -> None:
    lines = cluster.status(status(machine("ml-0"), machine("ml-1", "stopped")))

    assert "$0.365/h" in lines[0]
    assert lines[1].endswith("disk $0.008/h")
    assert lines[2].startswith("  1 up, $0.37/h, $0.07 so far, 1 stopped (disks are still billed: $0.008/h).  It ends")
    assert lines[2].endswith("(in 7 h 48 min).")


def test_the_prompt_says_what_is_up_and_its_price_unknown_or_not() -> None:
    assert cluster.prompt("aws", None) == "aws [...]: "
    assert cluster.prompt("aws", status()) == "aws [0 up]: "
    assert cluster.prompt("aws", status(machine("ml-0"), machine("ml-1"))) == "aws [2 up $0.73/h]: "
    assert (
        cluster.prompt("aws", status(machine("ml-0"), machine("ml-1", "stopped"))) == "aws [1 up $0.37/h, 1 stopped]: "
    )
    assert cluster.prompt("aws", status(machine("ml-0", per_hour=None))) == "aws [1 up price unknown]: "


def test_leaving_says_what_still_runs_and_how_to_end_it_and_nothing_when_nothing_does() -> None:
    lines = cluster.leaving(status(machine("ml-0"), machine("ml-1")), "stratus terminate")

    assert lines[0].startswith("2 instances still run: $0.73/h, they end themselves at ")
    assert lines[1] == "TerminateAll from any shell:  stratus terminate"
    assert cluster.leaving(status(), "stratus terminate") == []
    assert cluster.leaving(status(machine("ml-0", "stopped")), "stratus terminate") == [
        "1 stopped instance keeps its disk: $5.99 a month, until TerminateAll()."
    ]


def test_a_run_says_where_its_parts_are() -> None:
    roles = {"ml-0": ("scheduler", "worker", "main"), "ml-1": ("worker",)}
    handle = RunHandle("20261120-1412-k3", "cloud_retrieval", True, roles, True, Path("runs"))

    assert runs.started(handle) == [
        "  cloud_retrieval on ml-0 (scheduler), ml-0 ml-1 (workers)   run 20261120-1412-k3   dashboard: Dashboard()"
    ]
    meshed = RunHandle(
        "r", "domain_adaptation", True, {"ml-0": ("mesh", "main"), "ml-1": ("mesh",)}, False, Path("runs")
    )
    assert runs.started(meshed) == ["  domain_adaptation on ml-0 ml-1   run r"]


def record(**changes: Any) -> RunRecord:
    facts: dict[str, Any] = {
        "run": "r",
        "job": "j",
        "folder": Path("runs/r"),
        "state": "done",
        "hosts": ("ml-0",),
        "outputs": ("outputs/metrics.json", "outputs/retrieval.png"),
        "bytes": 14_200_000,
        "seconds": 0.3,
        "metrics": {},
        "timings": {"api": 0.3, "boot": 1.0, "install": 22.6, "job": 61.3, "launch": 3.9},
        "cost": Decimal("0.0214"),
    }
    return RunRecord(**(facts | changes))


def test_a_receipt_shows_files_size_numbers_times_and_cost() -> None:
    found = {
        "framework": "dask",
        "summary": {"cloud_mask_accuracy": 0.9783, "r2_cer": 0.58, "pixels": 20736, "note": "x"},
    }

    assert runs.fetched(record(metrics=found)) == [
        "  runs/r/   metrics.json  retrieval.png   14.2 MB in 0.3 s",
        "    cloud mask accuracy 0.978   r2 cer 0.58   pixels 20,736",
        "    time   launch 3.9 s  install 22.6 s  job 61.3 s     cost $0.02",
    ]


def test_a_receipt_shows_six_plain_numbers_at_most_when_the_job_names_no_summary() -> None:
    lines = runs.metrics({"ok": True, "name": "x", "nested": {}} | {f"m{n}": n for n in range(9)})

    assert lines == ["m0 0   m1 1   m2 2", "m3 3   m4 4   m5 5"]


def test_a_receipt_takes_the_jobs_own_headline_when_it_has_one() -> None:
    assert runs.metrics({"headline": "accuracy 0.935   R2 0.83\x1b[2J", "loss": 1}) == ["accuracy 0.935   R2 0.83"]


def test_a_receipt_of_a_failed_run_says_that_it_failed() -> None:
    lines = runs.fetched(record(state="failed", outputs=(), cost=None))

    assert "no output files" in lines[0]
    assert lines[1] == "  The run failed: these are the outputs it had."
    assert lines[2].endswith("cost price unknown")


def test_a_terminate_counts_to_zero_and_says_what_it_cost() -> None:
    results = tuple(InstanceResult(name, f"i-{name}", "terminated") for name in ("ml-0", "ml-1"))

    assert cluster.terminated(TerminateReport(results, "gone", "gone", Decimal("0.0214"))) == [
        "  ml-0 terminated   ml-1 terminated   security group gone   key pair gone",
        "  0 instances running. This cluster cost $0.02.",
    ]
    assert cluster.terminated(TerminateReport((), "none", "none", Decimal(0))) == [
        "  There was nothing to terminate: 0 instances running."
    ]


def test_a_terminate_that_left_something_never_says_zero() -> None:
    results = (
        InstanceResult("ml-0", "i-0", "terminated"),
        InstanceResult("ml-1", "i-1", "running", "OperationNotPermitted"),
    )

    assert cluster.terminated(TerminateReport(results, "kept", "kept", None)) == ["  ml-0 terminated"]


def test_a_cancel_counts_what_is_left() -> None:
    lines = runs.cancelled(CancelReport("r", {"ml-0": 0, "ml-1": 2}, {}))

    assert lines == ["  ml-1  2 processes would not go", "  r cancelled: no process left on 1 host."]


@pytest.mark.parametrize("kind", sorted({"ClusterStatus", "TerminateReport", "RunRecord"}))
def test_any_record_named_at_the_prompt_is_shown_as_its_verb_shows_it(kind: str) -> None:
    records: dict[str, object] = {
        "ClusterStatus": status(machine("ml-0")),
        "TerminateReport": TerminateReport((), "none", "none", None),
        "RunRecord": record(),
    }
    assert cluster.of(records[kind])
    assert cluster.of(object()) == []


def test_documents_carry_units_in_their_names_and_money_as_text() -> None:
    found = json.loads(json_output.text(json_output.document(status(machine("ml-0")))))

    assert found["usd_per_hour"] == "0.365"
    assert found["machines"][0]["launched"] == "2026-11-20T14:12:00+00:00"
    assert (
        json.loads(json_output.text(json_output.document(record(metrics={"loss": float("nan")}))))["metrics"]["loss"]
        is None
    )
    assert json_output.document(record())["usd"] == "0.0214"


@pytest.mark.parametrize(
    ("error", "key", "value"),
    [
        (
            ConfigError([Problem("config.ini", 14, "no")]),
            "problems",
            [{"file": "config.ini", "line": 14, "what": "no"}],
        ),
        (HostsFailed("x", {"ml-1": ValueError("boom")}), "hosts", {"ml-1": "boom"}),
        (LeftRunning("x", left=["i-1"]), "left", ["i-1"]),
        (JobFailed("x", exit_status=3, tail=["a"]), "exit_status", 3),
    ],
)
def test_errors_as_documents_keep_what_they_carry(error: Any, key: str, value: object) -> None:
    found = json_output.document(error)

    assert found["exit_code"] == error.exit_code
    assert found[key] == value


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("Next: InstallDeps()", "Next: stratus install"),
        ('Attach("k3") comes back', "stratus attach k3 comes back"),
        ("RunMultiVMComputing() of a dask job", "stratus run --multi of a dask job"),
        ("Next: RunSingleVMComputing() or RunMultiVMComputing()", "Next: stratus run [--multi]"),
        ("LaunchInstances(n=2, yes=True)", "stratus launch -n 2 --yes"),
        ("CheckStatus() shows", "stratus status shows"),
        ("Nothing(here) is a verb()", "Nothing(here) is a verb()"),
    ],
)
def test_hints_for_the_shell_become_commands_on_the_command_line(shell: str, line: str) -> None:
    assert registry.for_command_line("stratus")(shell) == line


def test_commands_keep_the_options_that_the_program_was_started_with() -> None:
    reword = registry.for_command_line("python run_interface.py --local")

    assert (
        reword("logs: stratus logs 20261120-1412-k3") == "logs: python run_interface.py --local logs 20261120-1412-k3"
    )


def test_commands_become_verbs_in_the_shell() -> None:
    assert registry.for_shell("results so far: stratus fetch 20261120-1412-k3") == (
        'results so far: FetchResults("20261120-1412-k3")'
    )
    assert registry.for_shell("stratus status  asks again") == "Status()  asks again"


def test_colours_touch_words_and_never_the_text() -> None:
    line = "  ml-0  ready  us-west-2b  = $0.73/h  Next: InstallDeps()"
    import re

    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured(line)) == line
    assert "\x1b[32mready" in coloured(line)
    assert coloured("runs/failed/ready.txt") == "runs/failed/ready.txt"
