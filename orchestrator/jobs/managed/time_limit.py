"""Limit of time of what SageMaker runs, from the settings' limits of time and money."""

from __future__ import annotations

from decimal import Decimal

from orchestrator.config.options import ClusterSettings
from orchestrator.core.errors import UsageError


def limit_s(
    cluster: ClusterSettings, usd_per_hour: Decimal | None, *, max_hours: float = 0.0, kept_s: int = 0
) -> float:
    """Return the seconds that a job may run: at least 1.

    :param usd_per_hour: of all its instances; None if unknown.
    :param max_hours: the job's own; 0 for the settings'.
    :param kept_s: how long its instances are kept afterwards, in seconds, which max_dollars pays as well.
    :raises UsageError: max_dollars cannot be kept.
    """
    seconds = (max_hours or cluster.max_hours) * 3600
    if not cluster.max_dollars:
        return max(1.0, seconds)
    if not usd_per_hour:
        fix = "set [cluster] max_dollars = 0 to go on without a cap"
        raise UsageError("the price is unknown, so max_dollars cannot be kept", where="[cluster]", fix=fix)
    affordable_s = cluster.max_dollars / float(usd_per_hour) * 3600 - kept_s
    if affordable_s < 1:
        unpaid = f"keep_alive_minutes = {kept_s // 60}" if kept_s else "a second"
        text = f"max_dollars = {cluster.max_dollars:g} does not pay {unpaid} at ${usd_per_hour:.2f} per hour"
        fix = ", or set [sagemaker] keep_alive_minutes = 0" if kept_s else ""
        raise UsageError(text, where="[cluster]", fix="raise max_dollars" + fix)
    return min(seconds, affordable_s)
