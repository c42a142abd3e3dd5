"""New instance profiles: IAM creates them at once, EC2 accepts them some seconds later (eventual consistency)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.aws import client, errors

if TYPE_CHECKING:
    from orchestrator.core.errors import CloudRefused

PROPAGATION_S = 60.0
"""Longest wait; usually seconds: https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_general.html"""


def is_unknown_profile(code: str, message: str) -> bool:
    """Return True if EC2 refused an instance profile as unknown, or as one without a role.

    :param code: AWS error code.
    :param message: AWS's message, or a message that contains it.
    """
    return code == "InvalidParameterValue" and "iam instance profile" in message.lower()


def is_propagating(clients: client.Clients, profile: str, refusal: CloudRefused) -> bool:
    """Return True if a refusal is temporary: EC2 does not know a profile that exists in IAM and has a role.

    :param profile: name or ARN.
    """
    if not profile or not is_unknown_profile(refusal.code, refusal.message):
        return False
    try:
        response = _iam(clients).get_instance_profile(InstanceProfileName=profile.rpartition("/")[2])
    except errors.error_types():  # it does not exist, or may not be read: the refusal of EC2 stands
        return False
    return bool(response["InstanceProfile"]["Roles"])


def _iam(clients: client.Clients) -> Any:
    return clients.service("iam", attempts=2, timeout_s=client.OPTIONAL_TIMEOUT_S)
