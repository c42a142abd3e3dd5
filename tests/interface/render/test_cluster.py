"""Status, stopping and terminating as text."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from orchestrator.aws.ec2.state_changes import InstanceResult
from orchestrator.aws.managed.resources import ManagedResource, ManagedSurvey
from orchestrator.cluster.terminate import TerminateReport
from orchestrator.core.cost import UNKNOWN, exactly
from orchestrator.hosts.disk_room import DiskRoom, FullDisk
from orchestrator.interface.render import cluster
from tests.support.interface.example_machines import machine, status
from tests.support.interface.rendered import rendered, texts


def test_a_status_shows_each_vm_and_the_sum() -> None:
    lines = rendered(status(machine("ml-0"), machine("ml-1", "stopped")))

    assert "$0.365/h" in lines[0]
    assert lines[1].endswith("disk $0.008/h")
    assert lines[2].startswith("  1 up, $0.37/h, $0.07 so far, 1 stopped (disks are still billed: $0.008/h).  It shuts")
    assert lines[2].endswith("(in 7 h 48 min).")


def test_a_status_without_vms_says_how_to_launch_some() -> None:
    assert rendered(status()) == ["  0 VMs of cluster ml in us-west-2.  Next: LaunchInstances()"]


def test_a_disk_that_is_nearly_full_is_warned_of_with_what_to_do() -> None:
    shown = status(machine("ml-0"))
    disk = FullDisk("ml-0", DiskRoom("/data", 93, 4_000_000_000), shown.at)

    warning = rendered(replace(shown, full_disks=(disk,)))[2]
    assert warning.startswith("  ml-0: /data was 93% full at ")
    assert warning.endswith(", 4.0 GB free: delete files there, or raise its size in [volumes] for the next launch")


def test_a_status_of_an_endpoint_alone_does_not_propose_a_launch() -> None:
    endpoint = ManagedResource("endpoint", "line", "InService", "ml.m5.large", 1, Decimal("0.115"))

    lines = rendered(replace(status(), managed=ManagedSurvey((endpoint,))))

    assert lines[0] == "  0 VMs of cluster ml in us-west-2."
    assert lines[1].startswith("  endpoint  line")


def test_vms_that_do_not_all_shut_down_are_pointed_out() -> None:
    endless = replace(machine("ml-0"), expires_at=None)

    assert rendered(status(endless))[1].endswith("It does not shut down automatically: TerminateAll() terminates it.")
    assert rendered(status(endless, machine("ml-1")))[2].endswith(
        "Not all of them shut down automatically: TerminateAll() terminates them."
    )


def test_results_that_a_replacement_would_delete_are_named_with_what_fetches_them() -> None:
    runs = ("20261122-120000-abc", "20261122-130000-k3x")

    (line,) = texts(cluster.not_fetched_yet(runs, {runs[0]: "/work/other"}))
    assert line == (
        '  Not fetched: abc (started in /work/other), k3x. The results would be deleted; FetchResults("k3x") fetches.'
    )
    assert cluster.not_fetched_yet((), {}) == []


def test_the_prompt_shows_what_is_up_and_its_price() -> None:
    assert cluster.prompt("aws", None) == "aws [...]: "
    assert cluster.prompt("aws", status()) == "aws [0 up]: "
    assert cluster.prompt("aws", status(machine("ml-0"), machine("ml-1"))) == "aws [2 up $0.73/h]: "
    one_stopped = status(machine("ml-0"), machine("ml-1", "stopped"))
    assert cluster.prompt("aws", one_stopped) == "aws [1 up $0.37/h, 1 stopped]: "
    assert cluster.prompt("aws", status(machine("ml-0", per_hour=None))) == "aws [1 up price unknown]: "


def test_leaving_shows_what_still_runs_and_how_to_terminate_it_and_nothing_when_nothing_does() -> None:
    lines = texts(cluster.leaving(status(machine("ml-0"), machine("ml-1")), "stratus terminate"))

    assert lines[0].startswith("2 VMs are still running: $0.73/h. They shut down automatically at ")
    assert lines[1] == "To terminate from any shell:  stratus terminate"
    assert cluster.leaving(status(), "stratus terminate") == []
    assert texts(cluster.leaving(status(machine("ml-0", "stopped")), "stratus terminate")) == [
        "1 stopped VM keeps its disk: $5.99 a month, until TerminateAll()."
    ]


def test_a_terminate_counts_to_zero_and_shows_the_cost() -> None:
    results = tuple(InstanceResult(name, f"i-{name}", "terminated") for name in ("ml-0", "ml-1"))

    assert rendered(TerminateReport(results, "gone", "gone", exactly(Decimal("0.0214")))) == [
        "  ml-0 terminated   ml-1 terminated   security group gone   key pair gone",
        "  0 VMs running. This cluster cost $0.02.",
    ]
    assert rendered(TerminateReport(results, "gone", "gone", UNKNOWN))[-1] == (
        "  0 VMs running. Cost of this cluster: price unknown."
    )
    assert rendered(TerminateReport((), "none", "none", exactly(Decimal(0)))) == [
        "  There was nothing to terminate: 0 VMs running."
    ]


def test_a_terminate_that_left_something_never_says_zero() -> None:
    results = (
        InstanceResult("ml-0", "i-0", "terminated"),
        InstanceResult("ml-1", "i-1", "running", "OperationNotPermitted"),
    )

    assert rendered(TerminateReport(results, "kept", "kept", UNKNOWN)) == ["  ml-0 terminated"]


def test_what_belongs_to_others_is_listed() -> None:
    assert rendered(replace(status(), other_owners=("i-1 (them)",)))[1] == "  Not yours, never touched: i-1 (them)."


def test_the_cost_of_an_experiment_is_that_of_the_vms_which_were_terminated() -> None:
    results = (InstanceResult("ml-2", "i-2", "terminated"),)

    assert rendered(TerminateReport(results, "kept", "kept", exactly(Decimal("0.01")), untouched=("ml-0", "ml-1"))) == [
        "  ml-2 terminated",
        "  ml-2 cost $0.01.",
        "  Left as they are: ml-0 ml-1.  Status() shows them.",
    ]
