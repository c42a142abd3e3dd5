"""Decision which instances are one owner's: by their tags, and by the journal of this computer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from orchestrator.aws import identity


class TaggedInstance(Protocol):
    """Id and tags of an instance."""

    @property
    def id(self) -> str:
        """EC2's id."""

    @property
    def cluster(self) -> str:
        """Name of its cluster."""

    @property
    def owner(self) -> str:
        """Value of the tag ``stratus:owner``."""

    @property
    def owner_id(self) -> str:
        """Value of the tag ``stratus:ownerid``; empty if not tagged."""


@dataclass(frozen=True)
class Ownership:
    """The instances of a cluster's owner.

    :param launched_ids: of instances that this computer launched into the cluster, whatever owner their tags name.
    """

    cluster_id: identity.ClusterId
    launched_ids: frozenset[str] = frozenset()

    def includes(self, instance: TaggedInstance) -> bool:
        """Return True if an instance is the owner's."""
        if instance.cluster != self.cluster_id.cluster:
            return False
        return instance.id in self.launched_ids or self.cluster_id.owns(instance.owner, instance.owner_id)

    def is_of_same_role(self, instance: TaggedInstance) -> bool:
        """Return True if an instance was launched with the caller's role, but not as this owner."""
        role = identity.role_of(self.cluster_id.owner) if self.cluster_id.is_caller else ""
        return bool(role) and identity.role_of(instance.owner) == role and not self.includes(instance)

    def with_ids(self, ids: Iterable[str]) -> Ownership:
        """Return the ownership with further instances of this computer."""
        return replace(self, launched_ids=self.launched_ids | frozenset(ids))
