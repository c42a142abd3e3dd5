"""Logins to registries of container images: the one that the settings name, or ECR's, whose token AWS makes.

A password is looked up when a host asks for it, once for all hosts, and goes nowhere but to them.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from orchestrator.config.value_types import Secret

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients


def authorization_token(clients: Clients, region: str) -> Secret:
    """Ask ECR for a password that is good for twelve hours.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html: base64 of user:password.
    """
    there = clients if region == clients.region else clients.in_region(region)
    with there.translate_errors(f"asking ECR in {region} for a login"):
        answer = there.ecr.get_authorization_token()
    return Secret(base64.b64decode(answer["authorizationData"][0]["authorizationToken"]).decode().partition(":")[2])
