"""Client of the instance metadata service of the embedded cloud."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping


def ask_metadata(cloud: Mapping[str, str], path: str, *, method: str = "GET", **headers: str) -> tuple[int, str]:
    """Return status and body of a request to an instance's metadata service.

    :param headers: metadata headers by the end of their names: ``token``, ``token_ttl_seconds``.
    """
    named_headers = {f"X-aws-ec2-metadata-{name.replace('_', '-')}": value for name, value in headers.items()}
    request = urllib.request.Request(f"{cloud['AWS_ENDPOINT_URL']}/_imds/{path}", method=method, headers=named_headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metadata_token(cloud: Mapping[str, str], instance: str) -> str:
    """Return a token for an instance's metadata."""
    status, token = ask_metadata(cloud, f"{instance}/latest/api/token", method="PUT", token_ttl_seconds="60")
    assert status == 200
    return token
