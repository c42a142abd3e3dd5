"""Money and time on the embedded cloud: the caps that machines keep themselves, and how they are moved."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from orchestrator.core.errors import UsageError
from orchestrator.session import Session
from tests.support.embedded_cloud import wait_until
from tests.support.project import Project


def capped(lab: Project, dollars: str) -> None:
    """Set max_dollars in the lab's config."""
    text = lab.config.read_text()
    lines = [line for line in text.splitlines() if not line.startswith("max_dollars")]
    lines.insert(lines.index("[cluster]") + 1, f"max_dollars = {dollars}")
    lab.config.write_text("\n".join(lines))


def timer(session: Session, name: str) -> list[str]:
    """What a machine's own timer says: budget, minutes used, idle minutes."""
    host = session.inventory.hosts([name])[0]
    state = "${HOME%/home/*}/var/lib/stratus"
    said = session.context.ssh.run(host, f"cat {state}/limits {state}/used")
    return said.stdout.split()


@pytest.fixture
def lab(cloud: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    """A lab whose cluster is gone afterwards."""
    made = Project(tmp_path, "m" + str(abs(hash(request.node.name)) % 10**6), cloud)
    made.job("single = true\n")
    yield made
    with made.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()


def test_a_dollar_cap_is_a_timer_on_the_machine_and_moves_only_when_it_is_raised(lab: Project) -> None:
    """The machine's own minutes, its tag and the plan all say the same."""
    capped(lab, "2")
    with lab.session() as session:
        plan = session.cluster.plan(2)
        assert not session.cluster.launch(plan).failed
        first = session.cluster.status()
        wait_until(lambda: len(timer(session, f"{lab.name}-0")) == 5)
        limits = timer(session, f"{lab.name}-0")
        watchers = [line for line in ps() if "idle.sh" in line and "/var/lib/stratus/" in line]
        held = session.cluster.extend(4)
        still = session.cluster.status()
    capped(lab, "4")
    with lab.session() as session:
        moved = session.cluster.extend(1)
        after = session.cluster.status()

    minutes = plan.time_limits.budget_minutes
    assert plan.is_budget_limited
    assert plan.max_cost_usd is not None
    assert Decimal("1.9") < plan.max_cost_usd <= 2
    assert limits[:4] == ["minutes=480", f"budget={minutes}", "idle=0", f"port={lab.env['REHEARSAL_SSH_PORT']}"]
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


def test_a_cap_that_buys_too_little_stops_the_launch_before_anything_is_made(lab: Project) -> None:
    """And names the least that makes sense."""
    capped(lab, "0.05")
    with lab.session() as session:
        with pytest.raises(UsageError, match=r"max_dollars = 0\.05 buys 4 min"):
            session.cluster.plan(2)
        assert session.cluster.status().instances == ()

    assert not {"RunInstances", "CreateSecurityGroup", "ImportKeyPair"} & set(lab.calls)


@pytest.mark.slow
def test_after_a_start_the_tag_is_the_end_that_the_machine_keeps(lab: Project) -> None:
    """A boot books minutes of its own, and what was lived before counts: only the machine can say."""
    capped(lab, "2")
    with lab.session() as session:
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
    assert not [event for event in lab.events if event.phase == "timer"]


@pytest.mark.slow
def test_idle_machines_can_be_told_to_end_themselves(lab: Project) -> None:
    """Their watchers know at the next minute."""
    with lab.session() as session:
        session.cluster.launch(session.cluster.plan(1))
        told = session.cluster.set_idle_shutdown(30)
        on = timer(session, f"{lab.name}-0")
        off = session.cluster.set_idle_shutdown(0)

    assert told.hosts == off.hosts == (f"{lab.name}-0",)
    assert "idle=30" in on
    assert told.failed == {}


def ps() -> list[str]:
    """Command lines of all processes."""
    return subprocess.run(["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True).stdout.splitlines()
