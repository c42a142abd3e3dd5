"""Client of the instance metadata service of the embedded cloud."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.parse
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


def ask_link_local(cloud: Mapping[str, str], source: str) -> tuple[int, str]:
    """Return the status and the instance id that the link-local service answers to a client at ``source``."""
    endpoint = urllib.parse.urlsplit(cloud["AWS_ENDPOINT_URL"])
    status, body = 0, ""
    for method, path in (("PUT", "latest/api/token"), ("GET", "latest/meta-data/instance-id")):
        link = http.client.HTTPConnection(endpoint.hostname or "", endpoint.port, 10, source_address=(source, 0))
        headers = {"Host": "169.254.169.254", "X-aws-ec2-metadata-token-ttl-seconds": "60"}
        link.request(method, f"/{path}", headers={**headers, "X-aws-ec2-metadata-token": body})
        response = link.getresponse()
        status, body = response.status, response.read().decode()
        link.close()
    return status, body
