"""Authorization tokens of Amazon ECR, with which Docker logs in to its registries."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from orchestrator.config.value_types import Secret

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients

_ATTEMPTS = 3  # an installation waits for the token


def authorization_token(clients: Clients, region: str = "") -> Secret:
    """Return a password for the ECR registries of a region, valid for twelve hours.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html: base64 of user:password.
    """
    regional = clients.in_region(region) if region and region != clients.region else clients
    with regional.translate_errors(f"requesting an ECR login in {regional.region}"):
        response = regional.service("ecr", attempts=_ATTEMPTS).get_authorization_token()
    token = response["authorizationData"][0]["authorizationToken"]
    return Secret(base64.b64decode(token).decode().partition(":")[2])
