"""Login to the registry of container images."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.config.value_types import Secret
from orchestrator.core.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.config.settings import InstallSettings

DOCKER_HUB = "docker.io"
ECR = "ecr"
ECR_HOST = re.compile(r"[0-9]{12}\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws)")


@dataclass(frozen=True)
class RegistryLogin:
    """How a host logs in to a registry.

    :param registry: its host, with a port where it has one.
    :param user: whom it knows us as.
    :param password: looks the password up; the same one for all who ask.
    """

    registry: str
    user: str
    password: Callable[[], Secret] = field(repr=False, compare=False)


def registry_of(image: str) -> str:
    """Return the registry of an image's name, as Docker reads it: what stands before the first slash, if it has a dot
    or a port; https://docs.docker.com/reference/cli/docker/image/tag/.
    """
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first) else DOCKER_HUB


def find_login(
    ecr_token: Callable[[str], Secret],
    install: InstallSettings,
    images: Iterable[str],
    env: Mapping[str, str],
) -> RegistryLogin | None:
    """Return the login that one of these images needs; None when none does.

    :param ecr_token: returns the password for ECR in a region, empty for the region of the cluster; called once a host
        logs in.
    :param images: names of images that hosts are going to pull.
    :param env: where ``[install] registry_password_env`` may name a variable of.
    :raises UsageError: the password is not where the settings say.
    """
    found = (_login_for(ecr_token, install, host, env) for host in dict.fromkeys(map(registry_of, images)))
    return next(filter(None, found), None)


def _login_for(
    ecr_token: Callable[[str], Secret], install: InstallSettings, registry: str, env: Mapping[str, str]
) -> RegistryLogin | None:
    if install.registry == registry:
        secret = _password(install.registry_password_env, env)
        return RegistryLogin(registry, install.registry_user, lambda: secret)
    of_ecr = ECR_HOST.fullmatch(registry)
    if of_ecr or install.registry == ECR:
        region = of_ecr[1] if of_ecr else ""
        return RegistryLogin(registry, "AWS", _once(lambda: ecr_token(region)))
    return None


def _password(source: str, env: Mapping[str, str]) -> Secret:
    where = "[install] registry_password_env"
    if "/" not in source:
        if not env.get(source):
            raise UsageError(f"no variable {source} here", where=where, fix=f"export {source}=...  in this terminal")
        return Secret(env[source])
    try:
        found, why = Path(source).read_text(encoding="utf-8").strip(), "is empty"
    except (OSError, UnicodeDecodeError) as error:
        found, why = "", f"cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}"
    if not found:
        raise UsageError(f"{source} {why}", where=where, fix="put the password into that file")
    return Secret(found)


def _once(get_secret: Callable[[], Secret]) -> Callable[[], Secret]:
    """Return a function that looks once, however many hosts ask at the same time; a failure is looked at again."""
    lock = threading.Lock()
    found: list[Secret] = []

    def known() -> Secret:
        with lock:
            if not found:
                found.append(get_secret())
            return found[0]

    return known
