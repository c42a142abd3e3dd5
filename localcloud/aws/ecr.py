"""ECR's GetAuthorizationToken and BatchGetImage; all other calls of ECR are moto's.

Images are those of moto's records (PutImage), of the announced registry, and AWS's own deep-learning containers.
Without a registry, images of jobs count as pushed: a rehearsal needs no engine, and they are interpreters anyway.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import io
import json
import re
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from localcloud.aws import wsgi
from localcloud.aws.error_responses import ApiError
from localcloud.aws.wsgi import Application, Environ, Page, Params, StartResponse
from localcloud.core.clock import Clock

ACCOUNT = "123456789012"
# https://github.com/aws/deep-learning-containers/blob/master/available_images.md
AWS_IMAGES = "763104351884"
_REPOSITORIES = re.compile(
    r"(huggingface-)?(pytorch|tensorflow|mxnet)-(training|inference)|djl-inference|autogluon-\w+"
)
_TAGS = re.compile(r"[0-9.]+(-transformers[0-9.]+)?-(cpu|gpu)-py3[0-9]+(-cu[0-9]+)?-ubuntu[0-9.]+(-sagemaker)?")
# Tag of a build without a Dockerfile: what follows from nothing cannot have been built, nor pushed.
_NOTHING = hashlib.sha256(b"").hexdigest()[:12]
_DIGEST = "sha256:" + "0" * 64
_MEDIA_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
)
_MISSING = "The repository with name '{}' does not exist in the registry with id '{}'"
# ECR's authorization tokens are valid for twelve hours.
_VALID_FOR_S = 12 * 3600
_REGISTRY_TIMEOUT_S = 10.0


@dataclass
class RegistryCredentials:
    """Answers GetAuthorizationToken with the password of the announced registry; callable.

    :param registry: ``host:port``; empty for none, whose token is refused everywhere.
    :param stand_ins: patterns of repositories whose images count as pushed as long as there is no registry.
    """

    clock: Clock
    registry: str = ""
    password: str = ""
    stand_ins: tuple[str, ...] = ("stratus/*",)

    def __call__(self, action: str, params: Params, region: str) -> dict[str, Any]:
        """Answer the call."""
        del action, params
        endpoint = f"http://{self.registry}" if self.registry else f"https://{ACCOUNT}.dkr.ecr.{region}.amazonaws.com"
        expires = self.clock.utc().timestamp() + _VALID_FOR_S
        data = {"authorizationToken": self._token, "expiresAt": expires, "proxyEndpoint": endpoint}
        return {"authorizationData": [data]}

    @property
    def _token(self) -> str:
        # The token is basic authentication of the user AWS, as with real ECR.
        return base64.b64encode(f"AWS:{self.password or 'opens-nothing'}".encode()).decode()

    def digest(self, repository: str, reference: str) -> str:
        """Return the digest of an image in the announced registry; empty if it has none.

        :param reference: tag or digest.
        """
        if not self.registry:
            return _DIGEST if self._is_own(repository) and reference != _NOTHING else ""
        url = f"http://{self.registry}/v2/{repository}/manifests/{reference}"
        headers = {"Accept": ", ".join(_MEDIA_TYPES), "Authorization": f"Basic {self._token}"}
        request = urllib.request.Request(url, headers=headers, method="HEAD")
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=_REGISTRY_TIMEOUT_S) as response:
                return str(response.headers["Docker-Content-Digest"])
        except OSError:
            return ""

    def is_missing(self, image: str) -> bool:
        """Return True for the image of a job, ``HOST/stratus/job:tag``, that was not pushed."""
        repository, reference = _split(image.partition("/")[2])
        return self._is_own(repository) and not self.digest(repository, reference)

    def _is_own(self, repository: str) -> bool:
        return any(fnmatch.fnmatchcase(repository, name) for name in self.stand_ins)


def _split(name: str) -> tuple[str, str]:
    """Return repository, and digest or tag."""
    repository, _, digest = name.partition("@")
    repository, _, tag = repository.partition(":")
    return repository, digest or tag or "latest"


def registry_page(credentials: RegistryCredentials) -> Callable[[Environ], Page]:
    """Return the page of the registry: PUT sets it, as JSON with ``address`` and ``password``."""

    def answer(environ: Environ) -> Page:
        if environ["REQUEST_METHOD"] == "PUT":
            body = json.loads(environ["wsgi.input"].read())
            credentials.registry, credentials.password = str(body["address"]), str(body["password"])
        return Page(json.dumps({"address": credentials.registry}).encode())

    return answer


def serve(
    inner: Application, credentials: RegistryCredentials, check_permission: Callable[[Environ, str, str], None]
) -> Application:
    """Answer BatchGetImage where moto has no records, and pass other calls on.

    :param check_permission: raises an ApiError if policies deny the caller a permission on a resource.
    """

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if (environ[wsgi.SERVICE], environ[wsgi.ACTION]) != ("ecr", "BatchGetImage"):
            return inner(environ, start_response)
        params = json.loads(environ["wsgi.input"].getvalue() or b"{}")
        account, repository = params.get("registryId", ACCOUNT), params.get("repositoryName", "")
        check_permission(
            environ, "ecr:BatchGetImage", f"arn:aws:ecr:{environ[wsgi.REGION]}:{account}:repository/{repository}"
        )
        if account not in (ACCOUNT, AWS_IMAGES) or (account == AWS_IMAGES and not _REPOSITORIES.fullmatch(repository)):
            raise ApiError("RepositoryNotFoundException", _MISSING.format(repository, account), 400)
        find = _aws_digest if account == AWS_IMAGES else credentials.digest
        images, failures = [], []
        for image_id in params.get("imageIds", []):
            if digest := find(repository, image_id.get("imageDigest") or image_id.get("imageTag", "")):
                images.append(_image(account, repository, {**image_id, "imageDigest": digest}))
            else:
                failures.append(_failure(image_id))
        if failures and account == ACCOUNT:
            return inner({**environ, "wsgi.input": io.BytesIO(environ["wsgi.input"].getvalue())}, start_response)
        body = json.dumps({"images": images, "failures": failures}).encode()
        return wsgi.send_response(start_response, "200 OK", body, ("Content-Type", "application/x-amz-json-1.1"))

    return application


def _aws_digest(repository: str, reference: str) -> str:
    del repository
    return _DIGEST if _TAGS.fullmatch(reference) else ""


def _image(account: str, repository: str, image_id: Params) -> Params:
    manifest = {"schemaVersion": 2, "mediaType": _MEDIA_TYPES[0]}
    names = {"registryId": account, "repositoryName": repository, "imageId": image_id}
    return {**names, "imageManifest": json.dumps(manifest), "imageManifestMediaType": _MEDIA_TYPES[0]}


def _failure(image_id: Params) -> Params:
    return {"imageId": image_id, "failureCode": "ImageNotFound", "failureReason": "Requested image not found"}
