"""Plans, launches and interrupted launches as text."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from orchestrator.aws.capacity.quotas import QuotaUsage, quota_for
from orchestrator.aws.ec2.instance_types import InstanceType
from orchestrator.aws.ec2.instances import Disk
from orchestrator.aws.ingress.access import PortRange
from orchestrator.cluster.launcher import LaunchReport
from orchestrator.cluster.readiness import HostStartup
from orchestrator.cluster.recovery import InterruptedLaunch, RecoverReport
from orchestrator.core.errors import ConnectError
from orchestrator.interface.render import launch
from tests.support.interface.example_plan import launch_plan
from tests.support.interface.rendered import NOW, rendered, texts

ADDRESS = "203.0.113.7/32"


def test_a_plan_shows_what_it_brings_what_it_costs_and_who_has_access() -> None:
    assert texts(launch.plan(launch_plan(), image="ubuntu-24.04", ssh_from=ADDRESS)) == [
        "",
        "  Plan   2 x c7i.2xlarge (8 vCPU, 16 GiB), ubuntu-24.04, gp3 75 GiB encrypted, us-west-2 (any zone)",
        "  Price  $0.357/h each, disks $0.008/h each  = $0.73/h   (price list of 2026-07, us-west-2)",
        "         at most $5.84 if you forget it (shuts down automatically after 8 h)",
        "  Access ssh from 203.0.113.7 only, host keys pinned",
    ]


def test_a_plan_says_what_open_ports_expose() -> None:
    ports = (PortRange(8888, 8888, ADDRESS), PortRange(443, 443, "0.0.0.0/0"), PortRange(8000, 8010, "10.1.0.0/16"))

    assert texts(launch.plan(launch_plan(open_ports=ports), image="x", ssh_from=ADDRESS))[-3:] == [
        "  Ports  8888 (Jupyter: its token is all that protects the VM) open to 203.0.113.7: "
        "this address reaches what listens there",
        "  Ports  443 (https) open to ANYONE: anyone on the internet reaches what listens there",
        "  Ports  8000-8010 open to 10.1.0.0/16: every computer there reaches what listens there",
    ]


def test_a_plan_names_the_price_of_public_addresses() -> None:
    subnet = replace(launch_plan().subnet, assigns_public_addresses=True)
    lines = texts(launch.plan(launch_plan(subnet=subnet), image="x", ssh_from=ADDRESS))

    assert "disks $0.008/h each, addresses $0.005/h each  = $0.74/h" in lines[2]
    assert "at most $5.92" in lines[3]


def test_a_plan_names_the_vms_that_exist_and_how_many_there_will_be() -> None:
    plan = launch_plan(3, existing_names=("ml-0", "ml-1"))
    stopped = launch_plan(2, existing_names=("ml-0", "ml-1", "ml-2"), stopped_names=("ml-1", "ml-2"))

    assert texts(launch.plan(plan, image="x", ssh_from=ADDRESS))[-1] == (
        "  VMs    ml-0 ml-1 already up: 5 VMs in total after this launch."
    )
    assert texts(launch.plan(stopped, image="x", ssh_from=ADDRESS))[-1] == (
        "  VMs    ml-0 already up; ml-1 ml-2 stopped: 5 VMs in total after this launch; "
        "StartAll() starts the stopped instead."
    )


def test_a_plan_shows_its_share_of_the_quota() -> None:
    quota = QuotaUsage(quota_for("c7i.2xlarge"), needed=16, limit=4096, in_use=0)
    lines = texts(launch.plan(launch_plan(quota=quota), image="x", ssh_from=ADDRESS))

    assert lines[-2] == "  Quota  16 of 4,096 vCPU (0 in use)"
    assert lines[-1] == "  Access ssh from 203.0.113.7 only, host keys pinned"


def test_a_plan_of_unknown_price_says_so_and_still_says_when_it_shuts_down() -> None:
    gpu = InstanceType("g5.xlarge", 4, 16.0, ("x86_64",), gpus=1, gpu="NVIDIA A10G")
    lines = texts(launch.plan(launch_plan(price=None, type_info=gpu), image="x", ssh_from="auto"))

    assert "(4 vCPU, 16 GiB, 1 GPU)" in lines[1]
    assert lines[2:4] == [
        "  Price  price unknown each, disks $0.008/h each  = price unknown",
        "         shuts down automatically after 8 h",
    ]


def test_a_plan_warns_of_open_access_and_an_unencrypted_disk() -> None:
    plan = launch_plan(disk=Disk("gp3", 75, encrypted=False), warnings=("no quota known",))
    text = "\n".join(texts(launch.plan(plan, image="x", ssh_from="0.0.0.0/0")))

    assert "NOT encrypted" in text
    assert "ssh from ANYWHERE" in text
    assert text.endswith("  Note   no quota known")


def test_a_launch_shows_each_host_and_why_one_did_not_come_up() -> None:
    error = ConnectError("dropped", "ssh: no answer for 30 s", where="ml-1", fix="check the security group")
    report = LaunchReport("l", 0.2, (HostStartup("ml-0", "us-west-2b", 2.1, 1.4, 0.2),), {"ml-1": error}, 33.9)

    assert rendered(report) == [
        "  ml-0  ready  us-west-2b  pending 2.1 s   boot 1.4 s   ssh 0.2 s",
        "  ml-1  failed  ssh: no answer for 30 s",
        "    check the security group",
        '  1 of 2 ready in 33.9 s.  Ssh("ml-0") opens a terminal on it.  Next: InstallDeps()',
    ]


def test_a_launch_of_many_hosts_is_summed_up_in_one_line() -> None:
    ready = tuple(HostStartup(f"ml-{n}", "us-west-2b", 10 + n / 10, 1.0, 0.1) for n in range(128))
    (line,) = rendered(LaunchReport("l", 0.2, ready, {}, 24.0))

    assert line.startswith("  128 of 128 ready in 24.0 s.  pending 10.0 to 22.7 s   boot 1.0 to 1.0 s")


def interrupted(machines: tuple[str, ...], may_come: int = 0) -> InterruptedLaunch:
    return InterruptedLaunch("l-1", NOW, machines, may_come, Decimal("0.73"), Decimal("0.05"), NOW + timedelta(hours=4))


def test_interrupted_launches_are_listed_with_what_to_do() -> None:
    lines = rendered(RecoverReport((interrupted(("ml-0",), may_come=1),)))

    assert lines[0].startswith("  Unfinished launch l-1: 1 VM, 1 more may still appear, since ")
    assert ", about $0.05, shuts down automatically at " in lines[0]
    assert ", about $0.05, shut down automatically " in rendered(RecoverReport((interrupted(("ml-0", "ml-1")),)))[0]
    assert lines[1] == '    Recover("finish") waits until they answer SSH; Recover("terminate") terminates them.'
    assert rendered(RecoverReport(())) == ["  No unfinished launches."]


def test_recovered_launches_show_what_came_of_them() -> None:
    ready = HostStartup("ml-0", "us-west-2b", 2.1, 1.4, 0.2)
    launches = (interrupted(("ml-0", "ml-1")),)

    finished = RecoverReport(launches, ready=(ready,), failed={"ml-1": ValueError("no answer")})
    assert rendered(finished) == ["  ml-0  ready", "  ml-1  failed  no answer"]
    assert rendered(RecoverReport(launches, terminated=True)) == ["  2 VMs terminated."]
