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
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html, FIPS and dual-stack endpoints included.
ECR_HOST = re.compile(r"[0-9]{12}\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws)")


@dataclass(frozen=True)
class RegistryLogin:
    """Login of hosts to a registry.

    :param registry: its host, with a port if it has one.
    :param user: user name there.
    :param password: returns the password; the same one to every caller.
    """

    registry: str
    user: str
    password: Callable[[], Secret] = field(repr=False, compare=False)


def registry_of(image: str) -> str:
    """Return the registry of an image's name, as Docker reads it: the part before the first slash, if it has a dot
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

    :param ecr_token: returns the password for ECR in a region, empty for the region of the cluster; called when the
        first host logs in.
    :param images: names of images that hosts are going to pull.
    :param env: variables of this computer, one of which ``[install] registry_password_env`` may name.
    :raises UsageError: the password is not where the settings say.
    """
    logins = (_login_for(ecr_token, install, registry, env) for registry in dict.fromkeys(map(registry_of, images)))
    return next(filter(None, logins), None)


def _login_for(
    ecr_token: Callable[[str], Secret], install: InstallSettings, registry: str, env: Mapping[str, str]
) -> RegistryLogin | None:
    if install.registry == registry:
        # At once: a missing password is reported before any host is worked on.
        password = _password(install.registry_password_env, env)
        return RegistryLogin(registry, install.registry_user, lambda: password)
    match = ECR_HOST.fullmatch(registry)
    if match or install.registry == ECR:
        # Late: the token is an API call that most installs do without, as the image is there already.
        region = match[1] if match else ""
        return RegistryLogin(registry, "AWS", _once(lambda: ecr_token(region)))
    return None


def _password(source: str, env: Mapping[str, str]) -> Secret:
    """Return the password in a variable, or in a file if the name has a slash."""
    where = "[install] registry_password_env"
    if "/" not in source:
        if not env.get(source):
            raise UsageError(f"variable {source} is not set", where=where, fix=f"export {source}=...  in this terminal")
        return Secret(env[source])
    try:
        password, problem = Path(source).read_text(encoding="utf-8").strip(), "is empty"
    except (OSError, UnicodeDecodeError) as error:
        password, problem = "", f"cannot be read: {getattr(error, 'strerror', None) or 'not a text file'}"
    if not password:
        raise UsageError(f"{source} {problem}", where=where, fix="put the password into that file")
    return Secret(password)


def _once(get_secret: Callable[[], Secret]) -> Callable[[], Secret]:
    """Return a function that calls another one once and keeps its result; after an error the next call tries again."""
    # All hosts ask at about the same time; without the lock each would fetch a token of its own.
    lock = threading.Lock()
    secrets: list[Secret] = []

    def get_cached() -> Secret:
        with lock:
            if not secrets:
                secrets.append(get_secret())
            return secrets[0]

    return get_cached
