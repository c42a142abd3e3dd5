"""All checks by the names of their assumptions, in the order in which they run: those that cost nothing first."""

from __future__ import annotations

from localcloud.contract.checks import account, instances, requests
from localcloud.contract.checks.expectations import Check

# Checks of instances start from the state in which earlier ones leave the shared instances.
CHECKS: dict[str, Check] = {
    check.__name__.replace("_", "-"): check for check in (*account.CHECKS, *requests.CHECKS, *instances.CHECKS)
}
