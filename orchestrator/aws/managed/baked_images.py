"""Baked images as managed resources: listed with the cluster, kept at its end unless that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.aws.client import Clients
from orchestrator.aws.identity import ClusterId
from orchestrator.aws.machines import baked_images
from orchestrator.aws.machines.baked_images import BakedImage
from orchestrator.aws.managed.resources import ManagedResource
from orchestrator.aws.pricing.price_table import HOURS_PER_MONTH

JOURNAL_KIND = "image"


@dataclass(frozen=True)
class BakedImages:
    """Images of installed VMs, and snapshots that deleted ones left behind."""

    clients: Clients
    cluster_id: Callable[[], ClusterId]

    label = "image"

    def find(self) -> Sequence[ManagedResource]:
        """Return the cluster's images; see `ManagedKind.find`."""
        return [self._resource(image) for image in baked_images.find(self.clients, self.cluster_id())]

    def end(self, name: str) -> None:
        """Delete an image with its snapshots; see `ManagedKind.end`."""
        for image in baked_images.find(self.clients, self.cluster_id()):
            if image.id == name:
                baked_images.delete(self.clients, image)

    def _resource(self, image: BakedImage) -> ManagedResource:
        per_month = image.max_usd_per_month(self.clients.region)
        return ManagedResource(
            kind=self.label,
            name=image.id,
            state=image.state,
            # Of a full disk: AWS does not show how much of it is written.
            usd_per_hour=None if per_month is None else per_month / HOURS_PER_MONTH,
            created_at=image.created_at,
            is_kept=True,
            detail=f"{image.size_gib} GiB, {image.contents.job}",
        )
