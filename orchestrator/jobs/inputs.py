"""Checks, before a launch, of a job's data on S3, its container image and what its framework needs.

Each check raises if the input certainly does not exist, and returns a line if this computer cannot tell: the VMs use
their own role, and their own network.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from orchestrator.core.errors import StratusError, UsageError
from orchestrator.jobs.spec import JobSpec
from orchestrator.jobs.storage.data_items import DataItem

DOCKER_HUB = "registry-1.docker.io"
TIMEOUT_S = 2.0
TOKEN_LIMIT_BYTES = 1 << 20
# All forms of a manifest: a registry answers 404 for an image whose form is not in the list.
MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
)


def checks(
    find_data: Callable[[str], str],
    load_job: Callable[[], JobSpec],
    missing_needs: Callable[[JobSpec], Sequence[str]] = lambda spec: (),
) -> dict[str, Callable[[], str]]:
    """Return checks of a job's inputs; the keys name the inputs.

    :param find_data: looks up an ``s3://`` URL; returns an error code, ``NoSuchBucket`` or ``NoSuchKey`` if there is no
        such data, and an empty text if there is.
    :param load_job: reads the job; an error in it is a line, as machines may be launched before the job is complete.
    :param missing_needs: returns a line for each requirement of the job's framework that nothing installs.
    """
    try:
        spec = load_job()
    except StratusError as error:
        first, *_ = str(error).splitlines()
        return {"job": lambda: f"the job cannot be installed yet: {first}"}
    by_input: dict[str, Callable[[], str]] = {
        item.source: partial(_check_data, find_data, item.source) for item in spec.data if item.is_s3
    }
    by_input |= {item.source: partial(_check_mounted, item) for item in spec.data if item.is_file_system}
    if spec.checkpoints:
        by_input["checkpoints"] = partial(_check_bucket, find_data, spec.checkpoints.bucket_url, "checkpoints")
    if spec.options.results:
        bucket_url = "s3://" + spec.options.results.removeprefix("s3://").partition("/")[0]
        by_input["results"] = partial(_check_bucket, find_data, bucket_url, "results")
    if spec.runtime == "docker" and spec.options.image:
        by_input[f"image {spec.options.image}"] = partial(check_image, spec.options.image)
    return by_input | {line: partial(str, line) for line in missing_needs(spec)}


def _check_data(find_data: Callable[[str], str], source: str) -> str:
    code = find_data(source)
    problem = {
        "NoSuchBucket": f"there is no bucket {source.removeprefix('s3://').partition('/')[0]}",
        "NoSuchKey": "there are no objects with this prefix",
    }.get(code)
    if problem:
        raise UsageError(problem, where=source, code=code, fix="correct data in job.ini")
    return f"{source}: cannot be listed from this computer ({code}); the VMs' role decides" if code else ""


def _check_mounted(item: DataItem) -> str:
    item.check_mounted()
    return ""


def _check_bucket(find_data: Callable[[str], str], url: str, option: str) -> str:
    code = find_data(url)
    if code == "NoSuchBucket":
        raise UsageError("there is no such bucket", where=url, code=code, fix=f"correct {option} in job.ini")
    # An empty bucket is as good as a full one.
    return f"{url}: cannot be listed from this computer ({code})" if code not in ("", "NoSuchKey") else ""


def check_image(name: str, *, scheme: str = "https") -> str:
    """Request an image's manifest from its registry, without a login.

    :return: why it is unknown if the image exists; empty if it does.
    :raises UsageError: it does not exist.
    """
    registry, path, reference = parse_image_name(name)
    url = f"{scheme}://{registry}/v2/{path}/manifests/{reference}"
    try:
        _request_manifest(url, _docker_hub_token(path) if registry == DOCKER_HUB else "")
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise UsageError(
                f"the registry {registry} has no such image",
                where=name,
                code="manifest unknown",
                fix="correct image in job.ini: its name, its tag",
            ) from error
        # 401 and 403 are also the answers for a private image, which the VMs may pull with their login.
        return f"image {name}: not checked, {registry} answered {error.code}; the VMs check again"
    except (OSError, ValueError, KeyError) as error:
        return f"image {name}: not checked, {registry} does not answer ({type(error).__name__}); the VMs check again"
    return ""


def parse_image_name(name: str) -> tuple[str, str, str]:
    """Return registry, path and tag or digest of an image's name, as Docker reads it.

    https://docs.docker.com/reference/cli/docker/image/tag/: the part before the first slash is a registry if it has a
    dot or a port.
    """
    rest, at, digest = name.partition("@")
    first, slash, after = rest.partition("/")
    registry, path = (first, after) if slash and ("." in first or ":" in first) else (DOCKER_HUB, rest)
    path, colon, tag = path.partition(":")
    if registry == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    return registry, path, digest if at else tag if colon else "latest"


def _docker_hub_token(path: str) -> str:
    # Docker Hub wants an anonymous token even for public images: https://distribution.github.io/distribution/spec/auth/
    url = f"https://auth.docker.io/token?service=registry.docker.io&scope=repository:{path}:pull"
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as response:
        document: dict[str, Any] = json.loads(response.read(TOKEN_LIMIT_BYTES))
    return str(document["token"])


def _request_manifest(url: str, token: str) -> None:
    request = urllib.request.Request(url, method="HEAD", headers={"Accept": MANIFEST_TYPES})
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    urllib.request.urlopen(request, timeout=TIMEOUT_S).close()
