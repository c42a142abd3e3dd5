"""Limits on cost and time: the shutdown timers of VMs, and the verbs that change them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from orchestrator.core.errors import StratusError, UsageError
from orchestrator.session import Session
from tests.support.localcloud.clients import wait_until
from tests.support.project import Project


def capped(project: Project, dollars: str) -> None:
    """Set max_dollars in the config file."""
    text = project.config.read_text()
    lines = [line for line in text.splitlines() if not line.startswith("max_dollars")]
    lines.insert(lines.index("[cluster]") + 1, f"max_dollars = {dollars}")
    project.config.write_text("\n".join(lines))


def timer(session: Session, name: str) -> list[str]:
    """Return the state of a VM's shutdown timer: budget, minutes used, idle minutes."""
    host = session.inventory.hosts([name])[0]
    state = "${HOME%/home/*}/var/lib/stratus"
    output = session.context.ssh.run(host, f"cat {state}/limits {state}/used")
    return output.stdout.split()


@pytest.fixture
def project(cloud: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    """A project whose cluster is terminated afterwards."""
    project = Project(tmp_path, "m" + str(abs(hash(request.node.name)) % 10**6), cloud)
    project.job("single = true\n")
    yield project
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


@pytest.mark.slow
def test_max_dollars_sets_the_timer_on_the_vm_until_it_is_raised(project: Project) -> None:
    """The VM's timer, its tag and the plan agree."""
    capped(project, "2")
    with project.session() as session:
        plan = session.cluster.plan(2)
        assert not session.cluster.launch(plan).failed
        first = session.cluster.status()
        wait_until(lambda: len(timer(session, f"{project.name}-0")) == 5)
        limits = timer(session, f"{project.name}-0")
        watchers = [line for line in ps() if "idle.sh" in line and "/var/lib/stratus/" in line]
        held = session.cluster.extend(4)
        still = session.cluster.status()
    capped(project, "4")
    with project.session() as session:
        moved = session.cluster.extend(1)
        after = session.cluster.status()

    minutes = plan.time_limits.budget_minutes
    assert plan.is_budget_limited
    assert plan.max_cost_usd is not None
    assert Decimal("1.9") < plan.max_cost_usd <= 2
    assert limits[:4] == ["minutes=480", f"budget={minutes}", "idle=0", f"port={project.env['REHEARSAL_SSH_PORT']}"]
    assert len(watchers) >= 2
    for one, two, three in zip(first.up, still.up, after.up, strict=True):
        assert one.expires_at and two.expires_at and three.expires_at and one.launched_at  # noqa: PT018
        assert timedelta(minutes=minutes - 4) < one.expires_at - one.launched_at < timedelta(minutes=minutes + 1)
        assert abs(two.expires_at - one.expires_at) < timedelta(minutes=3)
        assert timedelta(minutes=57) < three.expires_at - two.expires_at < timedelta(minutes=63)
    assert {host.is_budget_limited for host in held.hosts} == {True}
    assert held.max_cost_usd is not None
    assert held.max_cost_usd < Decimal("2.02")
    assert {host.is_budget_limited for host in moved.hosts} == {False}
    assert moved.max_cost_usd is not None
    assert moved.max_cost_usd > held.max_cost_usd


def test_a_budget_that_is_too_small_stops_the_launch_before_any_change(project: Project) -> None:
    """The error names the smallest sensible budget."""
    capped(project, "0.05")
    with project.session() as session:
        with pytest.raises(UsageError, match=r"max_dollars = 0\.05 buys 4 min"):
            session.cluster.plan(2)
        assert session.cluster.status().instances == ()

    assert not {"RunInstances", "CreateSecurityGroup", "ImportKeyPair"} & set(project.calls)


@pytest.mark.slow
def test_after_a_start_the_tag_agrees_with_the_vms_timer(project: Project) -> None:
    """Each boot is charged some minutes, and earlier uptime counts: only the VM knows its end."""
    capped(project, "2")
    with project.session() as session:
        session.cluster.launch(session.cluster.plan(1))
        assert [one.state for one in session.cluster.stop()] == ["stopped"]
        (asleep,) = session.cluster.status().instances
        assert [one.state for one in session.cluster.start()] == ["running"]
        (machine,) = session.cluster.status().up
        host = session.inventory.hosts()[0]
        until = session.context.ssh.run(host, "cat ${HOME%/home/*}/var/lib/stratus/until").stdout

    assert asleep.stopped_at is not None
    assert asleep.expires_at is not None
    assert machine.expires_at is not None
    assert 0 <= machine.expires_at.timestamp() - int(until) <= 60
    assert not [event for event in project.events if event.phase == "timer"]


@pytest.mark.slow
def test_a_reboot_of_a_vm_does_not_move_its_end(project: Project) -> None:
    name = f"{project.name}-0"
    with project.session() as session:
        session.cluster.launch(session.cluster.plan(1))
        (host,) = session.inventory.hosts()

        def output(command: str) -> str:
            # The VM does not answer while it reboots.
            with suppress(StratusError):
                return session.context.ssh.run(host, command).stdout.strip()
            return ""

        wait_until(lambda: len(timer(session, name)) == 5)
        before = output("cat ${HOME%/home/*}/var/lib/stratus/until")
        output("reboot")
        session.context.ssh.disconnect(host)
        # Every boot adds two minutes to those used.
        wait_until(lambda: output("cat ${HOME%/home/*}/var/lib/stratus/used") == "4")
        after = output("cat ${HOME%/home/*}/var/lib/stratus/until")

    assert int(before) == int(after)


@pytest.mark.slow
def test_idle_shutdown_can_be_set_on_running_vms(project: Project) -> None:
    """Their timers apply it within a minute."""
    with project.session() as session:
        session.cluster.launch(session.cluster.plan(1))
        told = session.cluster.set_idle_shutdown(30)
        on = timer(session, f"{project.name}-0")
        off = session.cluster.set_idle_shutdown(0)

    assert told.hosts == off.hosts == (f"{project.name}-0",)
    assert "idle=30" in on
    assert told.failed == {}


def ps() -> list[str]:
    """Return the command lines of all processes."""
    return subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
