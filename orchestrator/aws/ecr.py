"""Logins to registries of container images: the one that the settings name, or ECR's, whose token AWS makes.

A password is looked up when a host asks for it, once for all hosts, and goes nowhere but to them.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.config.value_types import Secret
from orchestrator.core.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients
    from orchestrator.config.settings import Install

HUB = "docker.io"
ECR = "ecr"
_OF_ECR = re.compile(r"[0-9]{12}\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws)")


@dataclass(frozen=True)
class Login:
    """How a host logs in to a registry.

    :param registry: its host, with a port where it has one.
    :param user: whom it knows us as.
    :param password: looks the password up; the same one for all who ask.
    """

    registry: str
    user: str
    password: Callable[[], Secret] = field(repr=False, compare=False)


def host_of(image: str) -> str:
    """Return the registry of an image's name, as Docker reads it: what stands before the first slash, if it has a dot
    or a port; https://docs.docker.com/reference/cli/docker/image/tag/.
    """
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first) else HUB


def login(clients: Clients, install: Install, images: Iterable[str], env: Mapping[str, str]) -> Login | None:
    """Return the login that one of these images needs; None when none does.

    :param clients: for ECR's token, which is asked for when a host wants it.
    :param images: names of images that hosts are going to pull.
    :param env: where ``[install] registry_password_env`` may name a variable of.
    :raises UsageError: the password is not where the settings say.
    """
    found = (_login(clients, install, host, env) for host in dict.fromkeys(map(host_of, images)))
    return next(filter(None, found), None)


def _login(clients: Clients, install: Install, host: str, env: Mapping[str, str]) -> Login | None:
    if install.registry == host:
        secret = _password(install.registry_password_env, env)
        return Login(host, install.registry_user, lambda: secret)
    of_ecr = _OF_ECR.fullmatch(host)
    if of_ecr or install.registry == ECR:
        region = of_ecr[1] if of_ecr else clients.region
        return Login(host, "AWS", _once(lambda: _token(clients, region)))
    return None


def _password(named: str, env: Mapping[str, str]) -> Secret:
    where = "[install] registry_password_env"
    if "/" not in named:
        if not env.get(named):
            raise UsageError(f"no variable {named} here", where=where, fix=f"export {named}=...  in this terminal")
        return Secret(env[named])
    try:
        found, why = Path(named).read_text(encoding="utf-8").strip(), "is empty"
    except (OSError, UnicodeDecodeError) as error:
        found, why = "", f"cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}"
    if not found:
        raise UsageError(f"{named} {why}", where=where, fix="put the password into that file")
    return Secret(found)


def _token(clients: Clients, region: str) -> Secret:
    """Ask ECR for a password that is good for twelve hours.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html: base64 of user:password.
    """
    there = clients if region == clients.region else clients.elsewhere(region)
    with there.calls(f"asking ECR in {region} for a login"):
        answer = there.ecr.get_authorization_token()
    return Secret(base64.b64decode(answer["authorizationData"][0]["authorizationToken"]).decode().partition(":")[2])


def _once(look: Callable[[], Secret]) -> Callable[[], Secret]:
    """Return a function that looks once, however many hosts ask at the same time; a failure is looked at again."""
    lock = threading.Lock()
    found: list[Secret] = []

    def known() -> Secret:
        with lock:
            if not found:
                found.append(look())
            return found[0]

    return known
