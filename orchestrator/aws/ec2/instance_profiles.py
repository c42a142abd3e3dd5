"""Instance profiles that are new: IAM has them at once, EC2 hears of them some seconds later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.aws import client, errors

if TYPE_CHECKING:
    from orchestrator.core.errors import CloudRefused

PROPAGATION_S = (
    60.0  # IAM's changes take seconds: https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_general.html
)


def is_unknown_profile(code: str, message: str) -> bool:
    """Tell whether EC2 refused because it knows no such instance profile, or none with a role in it.

    :param code: AWS's error code.
    :param said: its text, or ours, which holds it.
    """
    return code == "InvalidParameterValue" and "iam instance profile" in message.lower()


def is_propagating(clients: client.Clients, profile: str, refusal: CloudRefused) -> bool:
    """Tell whether a refusal passes by itself: EC2 does not know a profile that IAM has, with a role in it.

    :param profile: name or ARN.
    """
    if not profile or not is_unknown_profile(refusal.code, refusal.message):
        return False
    try:
        found = _iam(clients).get_instance_profile(InstanceProfileName=profile.rpartition("/")[2])
    except errors.error_types():  # it is not there, or we may not look: EC2's own refusal stands
        return False
    return bool(found["InstanceProfile"]["Roles"])


def _iam(clients: client.Clients) -> Any:
    return clients.service("iam", attempts=2, timeout_s=client.OPTIONAL_TIMEOUT_S)
