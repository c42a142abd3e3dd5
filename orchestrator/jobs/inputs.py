"""What a job needs from elsewhere, looked at before machines are launched for it: its data on S3, its container image.

Each question raises when what it looks for is certainly not there, and returns a line when nobody can say from here:
the machines ask by their own role, and through their own network.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from typing import Any

from orchestrator.core.errors import StratusError, UsageError
from orchestrator.jobs.spec import JobSpec

DOCKER_HUB = "registry-1.docker.io"
TIMEOUT_S = 2.0
MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
)


def checks(find_data: Callable[[str], str], load_job: Callable[[], JobSpec]) -> dict[str, Callable[[], str]]:
    """Return what there is to ask about a job; keys name what each is about.

    :param find_data: looks up an ``s3://`` URL; returns an error code, ``NoSuchBucket`` or ``NoSuchKey`` if there is no
        such data, and an empty text if there is.
    :param job: reads it; what keeps it from being installed does not keep machines from being launched, and is a line.
    """
    try:
        spec = load_job()
    except StratusError as error:
        first, *_ = str(error).splitlines()
        return {"job": lambda: f"the job cannot be installed yet: {first}"}
    asks: dict[str, Callable[[], str]] = {
        item.source: partial(_check_data, find_data, item.source) for item in spec.data if item.is_s3
    }
    if spec.runtime == "docker" and spec.options.image:
        asks[f"image {spec.options.image}"] = partial(check_image, spec.options.image)
    return asks


def _check_data(find_data: Callable[[str], str], source: str) -> str:
    code = find_data(source)
    problem = {
        "NoSuchBucket": f"there is no bucket {source.removeprefix('s3://').partition('/')[0]}",
        "NoSuchKey": "there are no objects with this prefix",
    }.get(code)
    if problem:
        raise UsageError(problem, where=source, code=code, fix="correct data in job.ini")
    return f"{source}: cannot be listed from this computer ({code}); the VMs' role decides" if code else ""


def check_image(name: str, *, scheme: str = "https") -> str:
    """Ask the registry for an image's manifest, as anybody may who has no login there.

    :return: why nobody can say from here; empty when it is there.
    :raises UsageError: it is not there.
    """
    host, path, reference = parse_image_name(name)
    url = f"{scheme}://{host}/v2/{path}/manifests/{reference}"
    try:
        _request_manifest(url, _docker_hub_token(path) if host == DOCKER_HUB else "")
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise UsageError(
                f"the registry {host} has no such image",
                where=name,
                code="manifest unknown",
                fix="correct image in job.ini: its name, its tag",
            ) from error
        return f"image {name}: {host} does not say whether it is there ({error.code}); the VMs ask again"
    except (OSError, ValueError, KeyError) as error:
        return f"image {name}: {host} does not answer ({type(error).__name__}); the VMs ask again"
    return ""


def parse_image_name(name: str) -> tuple[str, str, str]:
    """Return registry, path and tag or digest of an image's name, as Docker reads it.

    https://docs.docker.com/reference/cli/docker/image/tag/: what stands before the first slash is a registry if it
    has a dot or a port.
    """
    rest, at, digest = name.partition("@")
    first, slash, after = rest.partition("/")
    host, path = (first, after) if slash and ("." in first or ":" in first) else (DOCKER_HUB, rest)
    path, colon, tag = path.partition(":")
    if host == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    return host, path, digest if at else tag if colon else "latest"


def _docker_hub_token(path: str) -> str:
    url = f"https://auth.docker.io/token?service=registry.docker.io&scope=repository:{path}:pull"
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
        found: dict[str, Any] = json.loads(answer.read(1 << 20))
    return str(found["token"])


def _request_manifest(url: str, token: str) -> None:
    request = urllib.request.Request(url, method="HEAD", headers={"Accept": MANIFEST_TYPES})
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    urllib.request.urlopen(request, timeout=TIMEOUT_S).close()
