"""SageMaker's instance types by use, with their quotas and prices.

The types are those of botocore's service model. Public lists do not agree on the codes of SageMaker's quotas; here a
code is derived from the quota's name.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

# Most are 0 in a new account; enough here for tests that lower none.
DEFAULT_INSTANCES = 20

# Shape of the service model -> uses in the names of the quotas.
_USES = {
    "TrainingInstanceType": ("training job", "spot training job", "training warm pool"),
    "ProductionVariantInstanceType": ("endpoint",),
    "TransformInstanceType": ("transform job",),
    "ProcessingInstanceType": ("processing job",),
}
_QUOTA_NAME = r"ml\.[a-z0-9-]+\.[a-z0-9]+ for [a-z ]+ usage"

# USD per hour in us-west-2 and us-east-1, 2026, for training and hosting; transform at the same price.
USD_PER_HOUR = {
    "ml.t3.medium": 0.05,
    "ml.m5.large": 0.115,
    "ml.m5.xlarge": 0.23,
    "ml.m5.2xlarge": 0.461,
    "ml.c5.xlarge": 0.204,
    "ml.c5.2xlarge": 0.408,
    "ml.g4dn.xlarge": 0.7364,
    "ml.g4dn.2xlarge": 0.94,
    "ml.g5.xlarge": 1.408,
    "ml.g5.2xlarge": 1.52,
    "ml.g5.12xlarge": 7.09,
    "ml.g6.xlarge": 1.127,
    "ml.g6.12xlarge": 5.752,
    "ml.g7e.2xlarge": 4.2039,
    "ml.p4d.24xlarge": 25.251,
    "ml.p5.48xlarge": 63.296,
}
COMPONENTS = ("Training", "Hosting", "Transform", "Processing")


@dataclass(frozen=True)
class ManagedQuota:
    """Number of instances of one type that may run for one use.

    :param name: such as ``ml.g5.xlarge for training job usage``.
    """

    name: str
    default: int = DEFAULT_INSTANCES

    @property
    def code(self) -> str:
        """Code derived from the name."""
        return f"L-{hashlib.sha256(self.name.encode()).hexdigest()[:8].upper()}"


def is_quota_name(text: str) -> bool:
    """Return True if a text has the form of the name of a quota of SageMaker."""
    return re.fullmatch(_QUOTA_NAME, text) is not None


@cache
def quotas_by_code() -> Mapping[str, ManagedQuota]:
    """Return all quotas of instances: code -> quota."""
    model = _service_model()
    quotas = [
        ManagedQuota(f"{instance_type} for {use} usage")
        for shape, uses in _USES.items()
        for use in uses
        for instance_type in model.shape_for(shape).enum
    ]
    return {quota.code: quota for quota in quotas}


def _service_model() -> Any:
    import botocore.session

    return botocore.session.Session().get_service_model("sagemaker")
