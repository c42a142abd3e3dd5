"""Callers of S3 without an Authorization header: presigned URLs, and anonymous requests for public buckets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.iam import access_control
from moto.s3.models import s3_backends

from localcloud.aws.error_responses import ApiError
from localcloud.s3 import presigned, requests
from localcloud.s3.requests import Environ

CHECKED = "X-Localcloud-Checked"
_ACTIONS = {"GET": "Get", "HEAD": "Get", "PUT": "Put", "POST": "Put", "DELETE": "Delete"}


class CheckedRequest(access_control.S3IAMRequest):
    """moto's check of policies, for callers whose signature was checked here, or who need none."""

    def __init__(self, **options: Any) -> None:
        headers: Mapping[str, str] = options["headers"]
        self._is_anonymous = headers.get(CHECKED, "") == "anonymous"
        self._is_checked = CHECKED in headers
        if not self._is_anonymous:
            super().__init__(**options)

    def check_signature(self) -> None:
        """Check a signature that is not checked yet."""
        if not (self._is_anonymous or self._is_checked):
            super().check_signature()

    def check_action_permitted(self, resource: str) -> None:
        """Check the caller's policies; callers without credentials have none."""
        if not self._is_anonymous:
            super().check_action_permitted(resource)


def check(environ: Environ, now: datetime) -> None:
    """Check a request that has no Authorization header, and name its caller to moto.

    :raises ApiError: its signature is wrong or expired, or the bucket is not public.
    """
    if requests.is_presigned(environ):
        presigned.check(environ, now)
        parameters = {name: values[0] for name, values in requests.query(environ).items()}
        _mark(environ, parameters["X-Amz-Credential"], "presigned")
        if token := parameters.get("X-Amz-Security-Token"):
            environ["HTTP_X_AMZ_SECURITY_TOKEN"] = token
    elif requests.is_anonymous(environ):
        _check_public(environ)


def _check_public(environ: Environ) -> None:
    name, _, key = environ["PATH_INFO"].lstrip("/").partition("/")
    bucket = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets.get(name)
    if bucket is None:
        raise ApiError("NoSuchBucket")
    verb = _ACTIONS.get(environ["REQUEST_METHOD"], "Other")
    action = f"s3:{verb}Object" if key else "s3:ListBucket" if verb == "Get" else f"s3:{verb}Bucket"
    allowed = bucket.get_permission(action, f"arn:aws:s3:::{name}" + (f"/{key}" if key else ""))
    acls: list[Any] = [bucket.acl if not key else getattr(bucket.keys.get(key), "acl", None)]
    is_public = verb == "Get" and any(acl is not None and acl.public_read for acl in acls)
    if allowed != access_control.PermissionResult.PERMITTED and not is_public:
        raise ApiError("AccessDenied", "Access Denied", 403)
    # moto would look for permission to HeadObject, which is no action of S3.
    _mark(environ, "anonymous/20260101/us-east-1/s3/aws4_request", "anonymous")


def _mark(environ: Environ, credential: str, caller: str) -> None:
    """Tell moto, and `CheckedRequest`, that the caller was checked."""
    environ["HTTP_AUTHORIZATION"] = f"AWS4-HMAC-SHA256 Credential={credential}, Signature="
    environ[f"HTTP_{CHECKED.upper().replace('-', '_')}"] = caller


def install() -> None:
    """Let moto check the requests of S3 with this module's class."""
    replaced: Any = access_control
    replaced.S3IAMRequest = CheckedRequest
