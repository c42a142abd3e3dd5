"""Checks of what Status and TerminateAll list: every VM of the user, on every computer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.chaos import invariants

if TYPE_CHECKING:
    from localcloud.simulation.cloud import InMemoryCloud, LiveInstance
    from orchestrator.cluster.status import ClusterStatus
    from orchestrator.cluster.terminate import TerminateReport
    from orchestrator.session import Session

VISIBLE_S = 305.0
"""Time from a launch after which EC2 shows an instance whatever the faults are."""


def unlisted_by_terminate(
    cloud: InMemoryCloud, session: Session, report: TerminateReport, journal: bytes
) -> Iterator[str]:
    """Yield the instances still there that the report of TerminateAll does not list, although tags or journal tell.

    :param journal: content of this computer's journal.
    """
    listed = "\n".join(map(str, report.remaining))
    same_role = "\n".join(other.summary for other in report.same_role)
    for instance in invariants.our_instances(cloud):
        launch_id = instance.tags.get(invariants.TAG_RUN, "-")
        is_known = _is_of_cluster(session, instance) or launch_id.encode() in journal
        is_named = instance.id in same_role and not is_known
        names = (instance.id, launch_id, "cluster ")
        if instance.state == "shutting-down" or is_named or any(name in listed for name in names):
            continue
        # What EC2 does not show yet need not be named, but a computer without a record must not report success.
        is_due = _is_visible(cloud, instance) or (report.may_be_own and not report.remaining)
        if is_known or (is_due and _is_of_role(session, instance)):
            yield f"TerminateAll does not list {instance.id} ({instance.state}) of launch {launch_id}"


def unlisted_by_status(cloud: InMemoryCloud, session: Session, status: ClusterStatus) -> Iterator[str]:
    """Yield the instances that the status does not list, although they have the role's tags."""
    texts = [other.summary for other in status.same_role] + [other.summary for other in status.elsewhere]
    listed = "\n".join([*(instance.id for instance in status.instances), *texts])
    for instance in invariants.our_instances(cloud):
        if instance.id not in listed and _is_of_role(session, instance) and _is_visible(cloud, instance):
            yield f"Status does not list {instance.id} ({instance.state})"


def owner_ids_in_cluster(cloud: InMemoryCloud) -> set[str]:
    """Return the owner ids of our instances in the cluster of the settings before any edit."""
    ids = invariants.instance_ids(invariants.REGIONS[0])
    instances = [item for item in invariants.our_instances(cloud) if item.id in ids]
    ours = [item.tags for item in instances if item.tags.get(invariants.TAG_CLUSTER) == "ml"]
    return {tags[invariants.TAG_OWNER_ID] for tags in ours if invariants.TAG_OWNER_ID in tags}


def cannot_tell(report: TerminateReport) -> bool:
    """Return True if all that remains is of the role, and this computer cannot tell whether it is its own."""
    groups = [line for line in map(str, report.remaining) if "made with your role" in line]
    return report.may_be_own and len(report.remaining) == len(report.same_role) + len(groups)


def _is_of_cluster(session: Session, instance: LiveInstance) -> bool:
    """Return True if the tags are those of the session's cluster."""
    cluster_id = session.context.cluster_id
    owner_id = instance.tags.get(invariants.TAG_OWNER_ID, "")
    if cluster_id.owner_id or owner_id:
        tags = {invariants.TAG_OWNER_ID: cluster_id.owner_id}
    else:
        tags = {invariants.TAG_OWNER: cluster_id.owner}
    return any(tags.values()) and _has(instance, {invariants.TAG_CLUSTER: cluster_id.cluster, **tags}, session)


def _is_of_role(session: Session, instance: LiveInstance) -> bool:
    """Return True if an instance was launched with the session's role into a cluster of the session's name."""
    cluster_id, role = session.context.cluster_id, invariants.ROLE_ARN
    is_role = cluster_id.owner.startswith(role) and instance.tags.get(invariants.TAG_OWNER, "").startswith(role)
    return is_role and _has(instance, {invariants.TAG_CLUSTER: cluster_id.cluster}, session)


def _has(instance: LiveInstance, tags: dict[str, str], session: Session) -> bool:
    is_here = instance.id in invariants.instance_ids(session.context.cluster_id.region)
    return is_here and all(instance.tags.get(name) == value for name, value in tags.items())


def _is_visible(cloud: InMemoryCloud, instance: LiveInstance) -> bool:
    return cloud.clock.now() - instance.launched_at > VISIBLE_S
