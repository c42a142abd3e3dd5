"""Execution roles: SageMaker assumes them, and containers get their credentials."""

from __future__ import annotations

from localcloud.aws import roles
from localcloud.aws.error_responses import ApiError
from localcloud.aws.roles import credentials

__all__ = ["check", "credentials"]

_PRINCIPAL = "sagemaker.amazonaws.com"


def check(role_arn: str) -> None:
    """Check that SageMaker can assume a role.

    :raises ApiError: there is no such role, or it does not trust SageMaker.
    """
    if not roles.trusts(role_arn, _PRINCIPAL):
        message = (
            f"Could not assume role {role_arn}. Please ensure that the role exists and allows principal "
            f"'{_PRINCIPAL}' to assume the role."
        )
        raise ApiError("ValidationException", message)
