"""Baked images: which one a launch takes, what is listed and deleted, and what stays of a deletion that was cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from localcloud.scenarios.scenario import make_fault
from orchestrator.aws.machines import baked_images
from orchestrator.aws.machines.baked_images import Contents
from orchestrator.core.errors import StratusError, UsageError
from orchestrator.session import Session
from tests.support.simulated_project import SimulatedProject, simulate

__all__ = ["simulate"]

Simulate = Callable[..., SimulatedProject]
JOB = "[job]\nsingle = echo one\n"


def bake(session: Session, **changes: Any) -> str:
    """Make an image as BakeImage() does, apart from the preparation of the host, and return its id."""
    (instance,) = session.inventory.instances()
    contents = {"digest": digest_of(session), "job": "job", "base_id": instance.image_id, "base_name": "ubuntu-24.04"}
    clients, own = session.context.clients, session.context.cluster_id
    name = f"image-{session.context.clock.new_id()}"
    image_id = baked_images.create(clients, instance, name, Contents(**{**contents, "user": "ubuntu", **changes}), own)
    assert baked_images.wait_available(clients, own, image_id, 600) == baked_images.AVAILABLE
    return image_id


def digest_of(session: Session) -> str:
    return session.jobs.installs.environment_digest(session.jobs.load_job())


@pytest.fixture
def session(simulate: Simulate) -> Session:
    """A session with one VM, and a job that can be installed."""
    return open_session(simulate())


def open_session(project: SimulatedProject) -> Session:
    folder = project.folder / "job"
    folder.mkdir()
    (folder / "job.ini").write_text(JOB)
    project.config += f"[job]\nrun = {folder}\n"
    session = project.session()
    session.cluster.launch(session.cluster.plan(1))
    return session


def test_a_launch_takes_the_newest_image_of_its_install_with_a_disk_that_is_large_enough(session: Session) -> None:
    base = session.cluster.plan(1).image
    bake(session)
    session.context.clock.sleep(60)
    newest = bake(session)
    plan = session.cluster.plan(1)

    assert (plan.image.id, plan.image.base_id, plan.image.user) == (newest, base.id, "ubuntu")
    assert plan.image.size_gib == plan.disk.size == 75


@pytest.mark.parametrize("change", [{"digest": "0" * 32}, {"base_id": "ami-0123456789abcdef0"}])
def test_an_image_of_another_install_or_another_base_is_stale_and_not_taken(
    session: Session, change: dict[str, str]
) -> None:
    base = session.cluster.plan(1).image
    stale = bake(session, **change)
    (listed,) = session.baked_images.list_images().images

    assert session.cluster.plan(1).image == base
    assert (listed.id, listed.use, listed.size_gib, str(listed.max_usd_per_month)) == (stale, "stale", 75, "3.75")


def test_an_image_of_another_account_or_owner_is_not_taken(session: Session) -> None:
    own = session.context.cluster_id
    image_id = bake(session)
    clients = session.context.clients
    clients.ec2.create_tags(Resources=[image_id], Tags=[{"Key": "stratus:owner", "Value": "somebody"}])

    assert not own.is_caller or baked_images.find_images(clients, own) == []
    assert session.cluster.plan(1).image.base_id == ""


def test_stale_images_are_deleted_with_their_snapshots_and_the_others_stay(session: Session) -> None:
    bake(session, digest="0" * 32)
    other = bake(session, job="other")
    current = bake(session)

    report = session.baked_images.delete(stale=True)
    assert (len(report.deletions), report.remaining) == (1, ())
    assert {image.id for image in session.baked_images.list_images().images} == {current, other}
    snapshots = session.context.clients.ec2.describe_snapshots(
        Filters=[{"Name": "tag-key", "Values": ["stratus:install"]}]
    )["Snapshots"]
    assert len(snapshots) == 2
    with pytest.raises(UsageError, match="there is no baked image 'ami-x'"):
        session.baked_images.delete(["ami-x"])


def test_a_snapshot_that_a_deleted_image_left_behind_is_listed_and_deleted(session: Session) -> None:
    image_id = bake(session)
    session.context.clients.ec2.deregister_image(ImageId=image_id)
    (left,) = session.baked_images.list_images().images

    assert (left.id[:5], left.state, left.use) == ("snap-", baked_images.LEFT_BEHIND, "stale")
    assert session.baked_images.delete(stale=True).remaining == ()
    assert session.baked_images.list_images().images == ()


def test_a_deletion_that_aws_refuses_is_reported_and_the_image_stays_listed(simulate: Simulate) -> None:
    session = open_session(simulate(make_fault("denied", action="ec2:DeregisterImage")))
    image_id = bake(session, digest="0" * 32)
    report = session.baked_images.delete(stale=True)

    assert [line.partition(": ")[0] for line in report.remaining] == [f"image {image_id}"]
    assert [image.id for image in session.baked_images.list_images().images] == [image_id]


def test_an_image_cannot_be_launched_before_it_is_available(session: Session) -> None:
    (instance,) = session.inventory.instances()
    contents = Contents(digest_of(session), "job", instance.image_id, "ubuntu-24.04", "ubuntu")
    baked_images.create(session.context.clients, instance, "one", contents, session.context.cluster_id)

    assert session.cluster.plan(1).image.base_id == ""
    (listed,) = session.baked_images.list_images().images
    assert listed.state == "pending"
    with pytest.raises(StratusError, match="already in use"):
        baked_images.create(session.context.clients, instance, "one", contents, session.context.cluster_id)


def test_images_are_in_the_status_with_their_price_and_stay_at_the_end_unless_that_is_asked_for(
    session: Session,
) -> None:
    session.baked_images.log.record_intent("image", "one")
    image_id = bake(session)
    (resource,) = session.cluster.status().managed.resources

    assert (resource.kind, resource.name, resource.is_kept) == ("image", image_id, True)
    assert f"{resource.usd_per_hour:.5f}" == "0.00514"
    session.cluster.terminate()
    assert [image.id for image in session.baked_images.list_images().images] == [image_id]
