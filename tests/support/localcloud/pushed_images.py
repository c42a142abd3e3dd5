"""Images in the embedded cloud's ECR, as a push from elsewhere leaves them."""

from __future__ import annotations

import json
from typing import Any

MANIFEST = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json"}


def put_image(ecr: Any, name: str) -> str:
    """Put an image into a new repository; return its digest.

    :param ecr: client of boto3.
    :param name: repository and tag.
    """
    repository, _, tag = name.rpartition(":")
    ecr.create_repository(repositoryName=repository)
    image = ecr.put_image(repositoryName=repository, imageTag=tag, imageManifest=json.dumps(MANIFEST))
    return str(image["image"]["imageId"]["imageDigest"])
