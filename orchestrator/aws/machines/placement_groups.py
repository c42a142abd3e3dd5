"""Cluster placement group: instances next to each other in one zone. It costs nothing, and is deleted with the cluster.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/placement-strategies.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.aws import client, dry_run, errors
from orchestrator.core.errors import CloudRefused

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import PlacementGroupTypeDef

    from orchestrator.aws.identity import ClusterId
    from orchestrator.core.journal import Journal

CLUSTER = "cluster"
"""Strategy of the group, and the value of ``[vms] placement``."""

JOURNAL_KIND = "placement-group"

UNKNOWN, DUPLICATE = "InvalidPlacementGroup.Unknown", "InvalidPlacementGroup.Duplicate"


def find(clients: client.Clients, cluster_id: ClusterId) -> list[str]:
    """Return the names of the cluster's own placement groups."""
    with clients.translate_errors("looking up the placement group"):
        groups = clients.ec2.describe_placement_groups(Filters=cluster_id.filters)["PlacementGroups"]
    return [group["GroupName"] for group in groups if _is_own(group, cluster_id)]


def ensure(clients: client.Clients, cluster_id: ClusterId, *, journal: Journal) -> str:
    """Return the name of the cluster's placement group; create it if needed.

    :raises CloudRefused: a group of that name belongs to another owner, or AWS refuses.
    """
    name = cluster_id.resource_name
    if name in find(clients, cluster_id):
        return name
    entry = journal.record_intent(JOURNAL_KIND, name=name, **cluster_id.journal_fields)
    with clients.translate_errors(f"creating placement group {name}"):
        try:
            clients.ec2.create_placement_group(**_request(cluster_id))
        except errors.error_types() as error:
            # Created since the lookup, by another process or by a request whose answer was lost.
            if errors.code_of(error) == DUPLICATE and name in find(clients, cluster_id):
                return name
            # A request that may have been carried out stays open in the journal.
            if errors.reaction(error) not in ("ambiguous", "retry"):
                journal.record_outcome(entry, refused=errors.code_of(error), ended=True)
            raise
    journal.record_outcome(entry, created=name)
    return name


def check(clients: client.Clients, cluster_id: ClusterId) -> None:
    """Check that :func:`ensure` would succeed; changes nothing.

    :raises CloudRefused: a group of that name belongs to another owner, or AWS would refuse.
    """
    name = cluster_id.resource_name
    with clients.translate_errors(f"checking that placement group {name} can be created"):
        filters: Any = [{"Name": "group-name", "Values": [name]}]
        groups = clients.ec2.describe_placement_groups(Filters=filters)["PlacementGroups"]
        if not groups:
            dry_run.check(clients.ec2.create_placement_group, **_request(cluster_id))
    if groups and not _is_own(groups[0], cluster_id):
        raise CloudRefused(
            f"a placement group named {name} exists, and it is not tagged as this cluster's",
            code=DUPLICATE,
            fix=f"delete it: aws ec2 delete-placement-group --region {clients.region} --group-name {name}",
        )


def delete(clients: client.Clients, name: str) -> None:
    """Delete a placement group; one that is gone already is no error.

    :raises CloudRefused: instances use it, or AWS refuses.
    """
    with clients.translate_errors(f"deleting placement group {name}"):
        try:
            clients.ec2.delete_placement_group(GroupName=name)
        except errors.error_types() as error:
            if errors.code_of(error) != UNKNOWN:
                raise


def _is_own(group: PlacementGroupTypeDef, cluster_id: ClusterId) -> bool:
    return cluster_id.is_resource_name(group["GroupName"]) and cluster_id.matches(group.get("Tags", []))


def _request(cluster_id: ClusterId) -> dict[str, Any]:
    return {
        "GroupName": cluster_id.resource_name,
        "Strategy": CLUSTER,
        "TagSpecifications": [{"ResourceType": "placement-group", "Tags": cluster_id.tags}],
    }
