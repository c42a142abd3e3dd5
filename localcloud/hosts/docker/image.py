"""Image of docker hosts, built once, and again when one of its files changes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from localcloud.hosts.docker.engine import EngineError, docker

CONTEXT = Path(__file__).with_name("host_image")
OFFLINE_BASE = "stratus-base:bookworm"
"""Built by scripts/base-image, for computers that cannot pull images."""
_PUBLIC_BASE = "debian:bookworm-slim"
_BUILD_TIMEOUT_S = 1800.0


def image_name(target: str = "host") -> str:
    """Return the name of the image for the current files; it may not exist yet.

    :param target: ``host``, or ``engine`` for one with a running Docker engine.
    """
    digest = hashlib.sha256(_base_id().encode())
    # Sorted, because the order of files differs between file systems.
    for path in sorted(path for path in CONTEXT.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        digest.update(f"{path.relative_to(CONTEXT)} ".encode() + path.read_bytes())
    return f"localcloud-{target}:{digest.hexdigest()[:12]}"


def exists(image: str) -> bool:
    """Return whether the engine has an image."""
    try:
        docker("image", "inspect", "--format", "{{.Id}}", image)
    except EngineError:
        return False
    return True


def ensure(target: str = "host") -> str:
    """Build the image unless it exists, which takes a minute or two; return its name.

    :raises EngineError: the build failed, with its last line.
    """
    image = image_name(target)
    if not exists(image):
        try:
            docker(
                "build",
                "--target",
                target,
                "--build-arg",
                f"BASE={base_image()}",
                "--tag",
                image,
                str(CONTEXT),
                timeout_s=_BUILD_TIMEOUT_S,
            )
        except EngineError as error:
            raise EngineError(f"cannot build the image of docker hosts on {base_image()}: {error}") from error
    return image


def base_image() -> str:
    """Return the base image: LOCALCLOUD_HOST_BASE, else the one built offline, else a public one."""
    return os.environ.get("LOCALCLOUD_HOST_BASE") or (OFFLINE_BASE if exists(OFFLINE_BASE) else _PUBLIC_BASE)


def _base_id() -> str:
    base = base_image()
    try:
        return docker("image", "inspect", "--format", "{{.Id}}", base)
    except EngineError:
        return base
