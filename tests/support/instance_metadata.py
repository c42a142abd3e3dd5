"""Client of the instance metadata service of the embedded cloud."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping


def ask_metadata(cloud: Mapping[str, str], path: str, *, method: str = "GET", **headers: str) -> tuple[int, str]:
    named = {f"X-aws-ec2-metadata-{name.replace('_', '-')}": value for name, value in headers.items()}
    request = urllib.request.Request(f"{cloud['AWS_ENDPOINT_URL']}/_imds/{path}", method=method, headers=named)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metadata_token(cloud: Mapping[str, str], instance: str) -> str:
    status, token = ask_metadata(cloud, f"{instance}/latest/api/token", method="PUT", token_ttl_seconds="60")
    assert status == 200
    return token
