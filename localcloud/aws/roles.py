"""Roles that services of AWS assume: trust policies, and credentials of sessions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from localcloud.aws.ecr import ACCOUNT

_SESSION_S = 12 * 3600


def trusts(role_arn: str, principal: str) -> bool:
    """Return whether a role exists and a service may assume it.

    :param principal: such as ``sagemaker.amazonaws.com``.
    """
    from moto.iam.models import iam_backends

    roles = iam_backends[ACCOUNT]["aws"].roles.values()
    role = next((role for role in roles if role.arn == role_arn), None)
    return role is not None and _allows(role.assume_role_policy_document, principal)


def _allows(policy: Any, principal: str) -> bool:
    document = json.loads(policy) if isinstance(policy, str) else policy or {}
    statements = document.get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        trusted = statement.get("Principal", {})
        services = trusted.get("Service", []) if isinstance(trusted, dict) else trusted
        names = [services] if isinstance(services, str) else services
        if statement.get("Effect") == "Allow" and (principal in names or "*" in names):
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
