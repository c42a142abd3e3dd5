"""Requests that carry the bytes of S3 objects, told from all others by method, path and query."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs

from localcloud.core import urls

Environ = dict[str, Any]

_SUBRESOURCES = frozenset(
    ("acl", "attributes", "legal-hold", "restore", "retention", "select", "tagging", "torrent", "uploads")
)
_S3_SCOPE = re.compile(r"/s3/aws4_request")


def query(environ: Environ) -> dict[str, list[str]]:
    """Return the parameters of a request."""
    return parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)


def is_presigned(environ: Environ) -> bool:
    """Return whether a URL carries its signature."""
    return "Signature=" in environ.get("QUERY_STRING", "") and "HTTP_AUTHORIZATION" not in environ


def is_anonymous(environ: Environ) -> bool:
    """Return whether a request for a bucket or an object has no signature."""
    path = environ["PATH_INFO"]
    is_post = environ.get("CONTENT_TYPE", "").startswith(("application/x-www-form", "application/x-amz-json"))
    own = path.startswith(("/_", urls.METADATA, "/moto-api")) or path == "/" or is_post
    return not own and "HTTP_AUTHORIZATION" not in environ and not is_presigned(environ)


def _is_of_object(environ: Environ) -> bool:
    bucket, _, key = environ["PATH_INFO"].lstrip("/").partition("/")
    own_page = environ["PATH_INFO"].startswith(("/_", urls.METADATA))
    return bool(bucket and key) and not own_page and not _SUBRESOURCES & set(query(environ))


def _is_of_s3(environ: Environ) -> bool:
    return bool(_S3_SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))) or is_presigned(environ)


def writes_object(environ: Environ) -> bool:
    """Return whether the body is an object's, or a part's."""
    copies = "HTTP_X_AMZ_COPY_SOURCE" in environ
    return environ["REQUEST_METHOD"] == "PUT" and _is_of_s3(environ) and _is_of_object(environ) and not copies


def copies_object(environ: Environ) -> bool:
    """Return whether a request copies an object, or a range of it."""
    return environ["REQUEST_METHOD"] == "PUT" and "HTTP_X_AMZ_COPY_SOURCE" in environ


def reads_object(environ: Environ) -> bool:
    """Return whether the answer is an object's bytes: not its list of parts, and not one of its attributes."""
    reads = environ["REQUEST_METHOD"] == "GET" and _is_of_object(environ) and "uploadId" not in query(environ)
    unsigned = "HTTP_AUTHORIZATION" not in environ
    return reads and (unsigned or _is_of_s3(environ))
