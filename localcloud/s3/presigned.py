"""Presigned URLs: expiry and signature, with AWS's own errors."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from urllib.parse import quote, unquote

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends

from localcloud.aws.error_responses import ApiError
from localcloud.s3.requests import Environ, query

# https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html: seven days.
_LONGEST_S = 604_800
_EARLY = timedelta(minutes=15)
_CREDENTIAL = re.compile(r"([^/]+)/(\d{8})/([^/]+)/s3/aws4_request")


def check(environ: Environ, now: datetime) -> None:
    """Check a presigned URL.

    :param now: AWS's time.
    :raises ApiError: it is expired, signed for another request, or in the format of Signature Version 2.
    """
    parameters = {name: values[0] for name, values in query(environ).items()}
    if "X-Amz-Signature" not in parameters:
        # Buckets made since June 2020 take Version 4 only.
        message = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
        raise ApiError("InvalidRequest", message, 400)
    credential = _CREDENTIAL.fullmatch(parameters.get("X-Amz-Credential", ""))
    if credential is None:
        raise ApiError("AuthorizationQueryParametersError", "Error parsing the X-Amz-Credential parameter.", 400)
    _check_time(parameters, now)
    signature = _signature(environ, parameters, credential, _secret(credential[1]))
    if not hmac.compare_digest(signature, parameters["X-Amz-Signature"]):
        raise ApiError("SignatureDoesNotMatch")


def _check_time(parameters: Mapping[str, str], now: datetime) -> None:
    try:
        signed_at = datetime.strptime(parameters["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=now.tzinfo)
        seconds = int(parameters["X-Amz-Expires"])
    except (KeyError, ValueError) as error:
        raise ApiError("AuthorizationQueryParametersError", "X-Amz-Date or X-Amz-Expires is wrong.", 400) from error
    if not 0 < seconds <= _LONGEST_S:
        message = "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less"
        raise ApiError("AuthorizationQueryParametersError", f"{message} than {_LONGEST_S} seconds", 400)
    if now >= signed_at + timedelta(seconds=seconds) or now < signed_at - _EARLY:
        raise ApiError("AccessDenied", "Request has expired", 403)


def _secret(key_id: str) -> str:
    user_key = iam_backends[DEFAULT_ACCOUNT_ID]["aws"].access_keys.get(key_id)
    if user_key is not None:
        return str(user_key.secret_access_key)
    for role in sts_backends[DEFAULT_ACCOUNT_ID]["aws"].assumed_roles:
        if role.access_key_id == key_id:
            return str(role.secret_access_key)
    raise ApiError("InvalidAccessKeyId")


def _signature(environ: Environ, parameters: Mapping[str, str], credential: re.Match[str], secret: str) -> str:
    canonical = _canonical_request(environ, parameters)
    scope = "/".join((*credential.groups()[1:], "s3", "aws4_request"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(("AWS4-HMAC-SHA256", parameters["X-Amz-Date"], scope, digest))
    key = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


def _canonical_request(environ: Environ, parameters: Mapping[str, str]) -> str:
    encode: Callable[[str], str] = lambda text: quote(text, safe="-_.~")  # noqa: E731
    signed = sorted((encode(name), encode(value)) for name, value in parameters.items() if name != "X-Amz-Signature")
    names = parameters.get("X-Amz-SignedHeaders", "").split(";")
    headers = "".join(f"{name}:{' '.join(_header(environ, name).split())}\n" for name in names)
    path = quote(unquote(str(environ.get("RAW_URI") or environ["PATH_INFO"]).partition("?")[0]), safe="/-_.~")
    payload = environ.get("HTTP_X_AMZ_CONTENT_SHA256", "UNSIGNED-PAYLOAD")
    query_text = "&".join(f"{name}={value}" for name, value in signed)
    return "\n".join((environ["REQUEST_METHOD"], path, query_text, headers, ";".join(names), payload))


def _header(environ: Environ, name: str) -> str:
    key = name.upper().replace("-", "_")
    return str(environ.get(key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}", ""))
