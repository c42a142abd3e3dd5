"""Execution roles: SageMaker assumes them, and containers get their credentials."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from localcloud.aws.ecr import ACCOUNT
from localcloud.aws.error_responses import ApiError

_PRINCIPAL = "sagemaker.amazonaws.com"
_SESSION_S = 12 * 3600


def check(role_arn: str) -> None:
    """Check that SageMaker can assume a role.

    :raises ApiError: there is no such role, or it does not trust SageMaker.
    """
    from moto.iam.models import iam_backends

    roles = iam_backends[ACCOUNT]["aws"].roles.values()
    role = next((role for role in roles if role.arn == role_arn), None)
    if role is None or not _trusts(role.assume_role_policy_document):
        message = (
            f"Could not assume role {role_arn}. Please ensure that the role exists and allows principal "
            f"'{_PRINCIPAL}' to assume the role."
        )
        raise ApiError("ValidationException", message)


def _trusts(policy: Any) -> bool:
    document = json.loads(policy) if isinstance(policy, str) else policy or {}
    statements = document.get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        principal = statement.get("Principal", {})
        services = principal.get("Service", []) if isinstance(principal, dict) else principal
        if statement.get("Effect") == "Allow" and (_PRINCIPAL in services or services == "*"):
            return True
    return False


def credentials(role_arn: str, session_name: str, region: str) -> Mapping[str, str]:
    """Return the environment variables of a session of the role; the caller holds the cloud's lock."""
    from moto.sts.models import sts_backends

    session = sts_backends[ACCOUNT]["aws"].assume_role(
        region_name=region,
        role_session_name=session_name[:64],
        role_arn=role_arn,
        policy="",
        duration=_SESSION_S,
        external_id="",
    )
    return {
        "AWS_ACCESS_KEY_ID": session.access_key_id,
        "AWS_SECRET_ACCESS_KEY": session.secret_access_key,
        "AWS_SESSION_TOKEN": session.session_token,
    }
