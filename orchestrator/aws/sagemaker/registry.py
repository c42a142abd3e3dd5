"""Repositories for container images in ECR, and the login with which images are pushed to them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from orchestrator.aws import errors
from orchestrator.config.value_types import Secret

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import TagTypeDef

    from orchestrator.aws.client import Clients
    from orchestrator.aws.identity import ClusterId
    from orchestrator.core.journal import Journal

PUSH = "image"
"""Kind of the journal entries about pushed images."""

_ATTEMPTS = 3


@dataclass(frozen=True)
class RegistryAccess:
    """Login to the registry of an account and region.

    :param host: of the registry: ``123456789012.dkr.ecr.us-west-2.amazonaws.com``.
    :param password: valid for twelve hours.
    """

    host: str
    user: str
    password: Secret = field(repr=False)


def log_in(clients: Clients) -> RegistryAccess:
    """Return the registry of the clients' region, and a login.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html: base64 of user:password.

    :raises StratusError: ECR refused, or does not answer.
    """
    with clients.translate_errors(f"requesting an ECR login in {clients.region}"):
        data = _ecr(clients).get_authorization_token()["authorizationData"][0]
        user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
        host = urlsplit(data["proxyEndpoint"]).netloc
    return RegistryAccess(host, user, Secret(password))


def exists(clients: Clients, repository: str) -> bool:
    """Return True if the registry has a repository.

    :raises StratusError: ECR refused, or does not answer.
    """
    with clients.translate_errors(f"looking up the repository {repository}"):
        try:
            _ecr(clients).describe_repositories(repositoryNames=[repository])
        except errors.error_types() as error:
            if errors.code_of(error) != "RepositoryNotFoundException":
                raise
            return False
    return True


def create(clients: Clients, repository: str, tags: Sequence[TagTypeDef]) -> None:
    """Create a repository, unless there is one.

    :raises StratusError: ECR refused, or does not answer.
    """
    with clients.translate_errors(f"creating the repository {repository}"):
        try:
            _ecr(clients).create_repository(repositoryName=repository, tags=list(tags))
        except errors.error_types() as error:
            if errors.code_of(error) != "RepositoryAlreadyExistsException":
                raise


def pushed_image(journal: Journal, own: ClusterId, name: str) -> str:
    """Return the image that this computer has pushed last under a name, by digest; empty if there is none.

    :param name: as :func:`orchestrator.install.local_image.managed_name` makes it.
    """
    wanted = (name, own.account, own.region)
    images = [
        str(entry.outcome["image"])
        for entry in journal.entries()
        if entry.kind == PUSH and entry.outcome and "image" in entry.outcome and _place(entry.facts) == wanted
    ]
    return images[-1] if images else ""


def _place(facts: Mapping[str, Any]) -> tuple[Any, ...]:
    return facts.get("name"), facts.get("account"), facts.get("region")


def _ecr(clients: Clients) -> Any:
    return clients.service("ecr", attempts=_ATTEMPTS)
