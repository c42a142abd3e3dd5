"""Edited settings: what this computer launched before the edit is named, and terminated when asked for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from localcloud.scenarios.scenario import Scenario, make_fault
from localcloud.simulation.cloud import ClientCrash
from orchestrator.aws.identity import ClusterId
from orchestrator.aws.launch import launch_log
from orchestrator.cluster import elsewhere
from orchestrator.cluster.elsewhere import OtherCluster
from orchestrator.core.next_step import NextStep
from orchestrator.interface.render import cluster as render
from orchestrator.session import Session
from tests.support.simulated_project import CONFIG, LAG, SimulatedProject

Simulate = Callable[..., SimulatedProject]


def launched(project: SimulatedProject, count: int = 2) -> Session:
    """Launch instances and return the session."""
    session = project.session()
    session.cluster.launch(session.cluster.plan(count))
    return session


def edited(project: SimulatedProject, old: str, new: str) -> SimulatedProject:
    """Return the project with an edited config, on the same computer and cloud."""
    return replace(project, config=project.config.replace(old, new))


EDITS = [
    ("name = ml", "name = other"),
    ("region = us-west-2", "region = eu-west-1"),
    ("name = ml", "name = ml\nowner = team"),
]


@pytest.mark.parametrize(("old", "new"), EDITS)
def test_what_was_launched_before_an_edit_is_named_everywhere_and_ended_when_asked_for(
    simulate: Simulate, old: str, new: str
) -> None:
    project = simulate()
    launched(project)
    later = edited(project, old, new)

    status = later.session().cluster.status()
    (other,) = status.elsewhere
    assert [name.partition(" ")[0] for name in other.instances] == ["ml-0", "ml-1"]
    assert (other.cluster, other.region, other.problem) == ("ml", "us-west-2", "")
    assert other.usd_per_hour
    assert "2 elsewhere" in render.prompt("aws", status)
    assert later.session().cluster.elsewhere() == status.elsewhere

    report = later.session().cluster.terminate()
    assert report.elsewhere == status.elsewhere
    assert len(project.cloud.live_instances()) == 2
    (line,) = report.remaining
    assert str(line).endswith(": launched from this computer under other settings")
    assert str(NextStep("TerminateAll", everywhere=True)) == "TerminateAll(everywhere=True)"

    ended = later.session().cluster.terminate(everywhere=True)
    assert project.cloud.live_instances() == []
    assert ([result.state for result in ended.instances], ended.remaining) == (["terminated"] * 2, ())
    assert later.session().cluster.status().elsewhere == ()


def test_what_has_ended_by_itself_is_named_no_longer_and_costs_no_more_calls(simulate: Simulate) -> None:
    project = simulate()
    launched(project)
    ids = [instance.id for instance in project.cloud.live_instances()]
    project.cloud.session().client("ec2").terminate_instances(InstanceIds=ids)
    project.cloud.clock.sleep(7200)
    later = edited(project, *EDITS[0])

    assert later.session().cluster.status().elsewhere == ()
    before = project.count_calls("DescribeInstances")
    assert later.session().cluster.status().elsewhere == ()
    assert project.count_calls("DescribeInstances") - before == 1


def test_what_cannot_be_looked_up_is_named_from_the_journal(simulate: Simulate) -> None:
    project = simulate()
    launched(project)
    journal = project.folder / "laptop" / "journal.jsonl"
    journal.write_text(journal.read_text().replace("123456789012", "999999999999"))

    report = project.session().cluster.terminate(everywhere=True)

    (other,) = report.elsewhere
    assert other.count == 2
    assert "account 999999999999" in str(report.remaining[-1])


def test_the_rest_of_a_launch_is_named_when_one_of_it_was_terminated(simulate: Simulate) -> None:
    project = simulate()
    session = launched(project)
    gone, *_ = project.cloud.live_instances()
    session.context.launch_log.record_terminated({gone.id})

    (other,) = edited(project, *EDITS[0]).session().cluster.status().elsewhere

    assert gone.id not in " ".join(other.instances)
    assert other.count == 1


def test_instances_of_a_request_without_an_answer_may_still_appear(simulate: Simulate) -> None:
    project = simulate(LAG)

    def crash(when: str, action: str, _: int) -> None:
        if when == "after" and action == "RunInstances" and project.cloud.live_instances():
            raise ClientCrash

    project.cloud.on_call_boundary = crash
    with pytest.raises(ClientCrash):
        launched(project)
    project.cloud.on_call_boundary = lambda *_: None
    later = edited(project, *EDITS[0])

    (other,) = later.session().cluster.status().elsewhere
    assert (other.instances, other.unconfirmed_count, other.count) == ((), 2, 2)
    assert "2 that may still appear of cluster ml in us-west-2, price unknown" in other.summary
    project.cloud.clock.sleep(70)
    (other,) = later.session().cluster.status().elsewhere
    assert (len(other.instances), other.unconfirmed_count, other.count) == (2, 0, 2)
    assert other.usd_per_hour
    assert later.session().cluster.terminate(everywhere=True).remaining == ()


OTHER = OtherCluster("ml", "team", "1", "us-west-2", ("ml-0 (i-0)",), 0, Decimal("0.357"), owner_id="ada")


def test_a_summary_names_ten_instances_counts_the_rest_and_has_the_price_or_the_problem() -> None:
    names = tuple(f"ml-{number}" for number in range(12))

    assert OTHER.summary == "ml-0 (i-0) of cluster ml in us-west-2, $0.36/h"
    assert "ml-9 of cluster" in replace(OTHER, instances=names[:10]).summary
    assert "ml-9 and 2 more of cluster" in replace(OTHER, instances=names).summary
    assert replace(OTHER, usd_per_hour=None).summary.endswith(", price unknown")
    assert replace(OTHER, problem="no network").summary.endswith(", no network")
    assert "ml-0 (i-0) 3 that may still appear of" in replace(OTHER, unconfirmed_count=3).summary
    assert replace(OTHER, unconfirmed_count=3).count == 4


def test_the_identity_of_a_cluster_is_that_of_its_tags() -> None:
    assert OTHER.cluster_id == ClusterId("ml", "team", "1", "us-west-2", "ada")


def test_what_ec2_refuses_to_show_is_named_from_the_journal_with_the_reason(simulate: Simulate) -> None:
    project = simulate()
    launched(project)
    project.cloud.play(Scenario(7, (make_fault("denied", action="DescribeInstances"),)))
    (other,) = elsewhere.find(edited(project, *EDITS[0]).session().context)

    assert [name.partition(" ")[0] for name in other.instances] == ["ml-0", "ml-1"]
    assert (other.unconfirmed_count, other.usd_per_hour) == (0, None)
    assert "DescribeInstances" in other.problem
    assert "\n" not in other.problem


@pytest.mark.parametrize(("old", "new"), EDITS)
def test_the_price_is_that_of_all_that_is_billed(simulate: Simulate, old: str, new: str) -> None:
    project = replace(simulate(), config=CONFIG + "\n[disk]\nsize = 16000\n")
    session = launched(project)
    up = session.cluster.status().usd_per_hour
    later = edited(project, old, new)
    (before,) = elsewhere.find(later.session().context)
    session.cluster.stop()
    (stopped,) = elsewhere.find(later.session().context)

    assert up is not None
    assert before.usd_per_hour == up > 2 * Decimal("1.75")
    assert (stopped.count, stopped.usd_per_hour) == (2, session.cluster.status().stopped_usd_per_hour)


def test_the_price_is_unknown_of_spot_vms_in_a_region_whose_spot_prices_are_not_requested(simulate: Simulate) -> None:
    project = simulate(cluster="market = spot")
    launched(project)
    # What the launch has looked up may be out of date.
    (project.folder / "laptop/prices.json").unlink()

    (same_region,) = elsewhere.find(edited(project, *EDITS[0]).session().context)
    calls = project.count_calls("DescribeSpotPriceHistory")
    (other_region,) = elsewhere.find(edited(project, *EDITS[1]).session().context)

    assert project.count_calls("DescribeSpotPriceHistory") == calls > 0
    assert same_region.usd_per_hour
    assert other_region.summary.endswith(", price unknown")


def test_a_request_that_never_arrived_is_named_until_its_instances_would_show(simulate: Simulate) -> None:
    project = simulate()

    def crash(when: str, action: str, _: int) -> None:
        if (when, action) == ("before", "RunInstances") and project.launch_requests:
            raise ClientCrash

    project.cloud.on_call_boundary = crash
    with pytest.raises(ClientCrash):
        launched(project)
    project.cloud.on_call_boundary = lambda *_: None
    later = edited(project, *EDITS[0])

    (other,) = elsewhere.find(later.session().context)
    assert (other.instances, other.unconfirmed_count) == ((), 2)
    # An entry of an earlier version has no count.
    journal = later.session().context.journal.path
    journal.write_text(re.sub(r'"count": ?2, ?', "", journal.read_text()))
    (other,) = elsewhere.find(later.session().context)
    assert other.unconfirmed_count == 1
    project.cloud.clock.sleep(1200)
    assert elsewhere.find(later.session().context) == ()
    assert launch_log.unended(later.session().context.journal) == {}
