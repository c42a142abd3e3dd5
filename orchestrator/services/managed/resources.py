"""Managed services of a cluster: which kinds of resources each has, and what decides that it is looked up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial

from orchestrator.aws.client import Clients
from orchestrator.aws.disks import file_systems, volumes
from orchestrator.aws.disks.managed import FilesGroups, KeptVolumes, SharedFileSystems
from orchestrator.aws.disks.mounts import EFS, LUSTRE
from orchestrator.aws.ec2 import security_groups
from orchestrator.aws.identity import ClusterId
from orchestrator.aws.machines import placement_groups
from orchestrator.aws.managed.log import ManagedLog
from orchestrator.aws.managed.placement_groups import PlacementGroups
from orchestrator.aws.managed.resources import ManagedKind
from orchestrator.aws.managed.sweep import LOOKUP_ATTEMPTS, LOOKUP_TIMEOUT_S, ManagedService
from orchestrator.aws.sagemaker import training, tuning
from orchestrator.aws.sagemaker.hosting import endpoints, transforms
from orchestrator.aws.sagemaker.hosting.endpoints import Endpoints
from orchestrator.aws.sagemaker.hosting.schedules import OrphanedEnds
from orchestrator.aws.sagemaker.hosting.transforms import TransformJobs
from orchestrator.aws.sagemaker.ownership import TagMemo
from orchestrator.aws.sagemaker.training import TrainingJobs
from orchestrator.aws.sagemaker.tuning import TuningJobs
from orchestrator.aws.sagemaker.uses import Use
from orchestrator.cluster.context import ClusterContext
from orchestrator.core.errors import StratusError
from orchestrator.core.journal import JournalEntry

SAGEMAKER_ENTRIES = ("training", "tuning", "endpoint", "transform")
"""Kinds of journal entries of SageMaker's resources."""


def sagemaker(context: ClusterContext) -> ManagedService:
    """Return SageMaker: tuning, training and transform jobs, and endpoints."""
    settings = context.settings.sagemaker
    log = ManagedLog(context.journal, lambda: context.cluster_id, context.clock, SAGEMAKER_ENTRIES)
    clients = context.clients.limited(attempts=LOOKUP_ATTEMPTS, timeout_s=LOOKUP_TIMEOUT_S)
    memo = TagMemo(clients)
    types = ((TrainingJobs, Use.TRAINING), (Endpoints, Use.HOSTING), (TransformJobs, Use.TRANSFORM))
    # Tuning jobs first: one that goes on replaces the training jobs that were stopped.
    tuning_jobs: ManagedKind = TuningJobs(clients, lambda: context.cluster_id, memo)
    kinds: list[ManagedKind] = [
        kind(clients, lambda: context.cluster_id, partial(_price_per_hour, context, use), memo) for kind, use in types
    ]
    # Last: the schedules of the endpoints that were deleted are known by then.
    orphans = OrphanedEnds(clients, lambda: context.cluster_id, lambda name: endpoints.find(clients, name) is not None)
    is_configured = bool(settings.role or settings.sagemaker_bucket)
    return ManagedService(
        "SageMaker", [tuning_jobs, *kinds, orphans], log, is_configured=is_configured, end_unseen=_unseen_ends(clients)
    )


def _unseen_ends(clients: Clients) -> Mapping[str, Callable[[JournalEntry], None]]:
    """Return how resources end that may not be described, by the kind of their journal entries; tuning jobs first."""

    def named(stop: Callable[[Clients, str], None]) -> Callable[[JournalEntry], None]:
        return lambda entry: stop(clients, str(entry.facts["name"]))

    def delete_endpoint(entry: JournalEntry) -> None:
        name = str(entry.facts["name"])
        # The names of jobs are unique; that of an endpoint may be a colleague's.
        if not (entry.outcome or {}).get("arn"):
            raise StratusError(f"whether this computer created the endpoint {name} is not known; not deleted unseen")
        endpoints.delete_unseen(clients, name, str(entry.facts.get("part", "")))

    stops = {"tuning": tuning.stop, "training": training.stop_unseen, "transform": transforms.stop}
    return {**{kind: named(stop) for kind, stop in stops.items()}, "endpoint": delete_endpoint}


def of_ec2(context: ClusterContext) -> list[ManagedService]:
    """Return what EC2 and its file systems have besides instances, as far as this computer knows of some."""
    return [*disks(context), *_placement(context)]


def _placement(context: ClusterContext) -> list[ManagedService]:
    log = ManagedLog(context.journal, lambda: context.cluster_id, context.clock, (placement_groups.JOURNAL_KIND,))
    clients = context.clients.limited(attempts=LOOKUP_ATTEMPTS, timeout_s=LOOKUP_TIMEOUT_S)
    groups = PlacementGroups(clients, lambda: context.cluster_id)
    is_configured = bool(context.settings.vms.placement)
    # Not only open entries: a group that VMs use is not listed, which closes its entry.
    was_made = any(entry.kind == placement_groups.JOURNAL_KIND for entry in context.journal.entries())
    service = ManagedService("EC2 placement", [groups], log, is_configured=is_configured)
    return [service] if is_configured or was_made else []


def disks(context: ClusterContext) -> list[ManagedService]:
    """Return EBS, EFS, FSx and the security groups of their file systems.

    Status looks up those that the settings or the journal of this computer name; TerminateAll all of them, because
    another computer, whose settings named them, may have made some.
    """
    settings = context.settings
    clients = context.clients.limited(attempts=LOOKUP_ATTEMPTS, timeout_s=LOOKUP_TIMEOUT_S)

    def cluster_id() -> ClusterId:
        return context.cluster_id

    def log(kind: str) -> ManagedLog:
        return ManagedLog(context.journal, cluster_id, context.clock, (kind,))

    shared_kinds = {item.kind for item in settings.file_systems}
    services = [
        ManagedService(
            "EBS",
            [KeptVolumes(clients, cluster_id, lambda: context.prices)],
            log(volumes.JOURNAL_KIND),
            is_configured=any(volume.keep for volume in settings.volumes),
        ),
        ManagedService(
            "EFS",
            [SharedFileSystems(clients, cluster_id, EFS)],
            log(file_systems.JOURNAL_KINDS[EFS]),
            is_configured=EFS in shared_kinds,
        ),
        ManagedService(
            "FSx",
            [SharedFileSystems(clients, cluster_id, LUSTRE)],
            log(file_systems.JOURNAL_KINDS[LUSTRE]),
            is_configured=LUSTRE in shared_kinds,
        ),
    ]
    shared = [service for service in services if service.name != "EBS"]
    group = FilesGroups(clients, cluster_id, [service.kinds[0] for service in shared])
    is_shared = any(service.is_used for service in shared) or _has_made_group(context)
    groups = ManagedService("EC2", [group], log("files-group"), is_configured=is_shared, comes_last=True)
    return [*services, groups]


def _has_made_group(context: ClusterContext) -> bool:
    """Return True if this computer has made a group of file systems: it may outlive them."""
    names = (str(entry.facts.get("name")) for entry in context.journal.entries() if entry.kind == "group")
    return any(name.endswith(security_groups.FILES) for name in names)


def _price_per_hour(context: ClusterContext, use: Use, instance_type: str) -> Decimal | None:
    price = context.managed_prices.per_hour(instance_type, use)
    return price.usd if price else None
