"""Managed services of a cluster: which kinds of resources each has, and what decides that it is looked up."""

from __future__ import annotations

from decimal import Decimal
from functools import partial

from orchestrator.aws.managed.log import ManagedLog
from orchestrator.aws.managed.resources import ManagedKind
from orchestrator.aws.managed.sweep import LOOKUP_ATTEMPTS, LOOKUP_TIMEOUT_S, ManagedService
from orchestrator.aws.sagemaker.hosting.endpoints import Endpoints
from orchestrator.aws.sagemaker.hosting.transforms import TransformJobs
from orchestrator.aws.sagemaker.ownership import TagMemo
from orchestrator.aws.sagemaker.training import TrainingJobs
from orchestrator.aws.sagemaker.tuning import TuningJobs
from orchestrator.aws.sagemaker.uses import Use
from orchestrator.cluster.context import ClusterContext

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
    is_configured = bool(settings.role or settings.sagemaker_bucket)
    return ManagedService("SageMaker", [tuning_jobs, *kinds], log, is_configured=is_configured)


def _price_per_hour(context: ClusterContext, use: Use, instance_type: str) -> Decimal | None:
    price = context.managed_prices.per_hour(instance_type, use)
    return price.usd if price else None
