"""Repositories for container images in ECR, and the login with which images are pushed to them."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from orchestrator.aws import errors
from orchestrator.config.value_types import Secret
from orchestrator.core.errors import UsageError
from orchestrator.core.next_step import Text

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import TagTypeDef

    from orchestrator.aws.client import Clients
    from orchestrator.aws.identity import ClusterId
    from orchestrator.core.journal import Journal

PUSH = "image"
"""Kind of the journal entries about pushed images."""

_ATTEMPTS = 3
_NAME = re.compile(r"((?P<account>[0-9]{12})\.dkr\.ecr\.)?[^/]+/(?P<repository>[^:@]+)(?P<id>[:@].+)?")
_MISSING = ("RepositoryNotFoundException", "ImageNotFoundException")
# Without them, ECR refuses to show an image of another type than Docker's own.
_MEDIA_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)


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


def check_image(clients: Clients, image: str, fix: Text) -> None:
    """Check that an image is in ECR, which SageMaker itself reports minutes after the job was created.

    An image of another account that may not be looked up passes, and so does one while ECR does not answer.

    :param image: name with the registry of the clients' region, and a tag or digest.
    :param fix: what to do if it is missing.
    :raises UsageError: it is not there.
    """
    name = _NAME.fullmatch(image)
    if name is None:
        return
    identifier = name["id"] or ":latest"
    image_id = {"imageDigest" if identifier[0] == "@" else "imageTag": identifier[1:]}
    wanted: dict[str, Any] = {"repositoryName": name["repository"], "imageIds": [image_id]}
    # An embedded cloud's registry has no account in its name.
    wanted |= {"registryId": name["account"]} if name["account"] else {}
    try:
        answer = _ecr(clients).batch_get_image(**wanted, acceptedMediaTypes=[*_MEDIA_TYPES])
    except errors.error_types() as error:
        if errors.code_of(error) not in _MISSING:
            return
        problem = f"there is no repository {name['repository']} in ECR"
    else:
        if answer.get("images"):
            return
        problem = f"the repository {name['repository']} has no image {identifier[1:]}"
    raise UsageError(problem, where=image, code="ImageNotFound", fix=fix)


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
