"""ECR's GetAuthorizationToken; all other calls of ECR are moto's."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from localcloud.aws.wsgi import Environ, Page, Params
from localcloud.core.clock import Clock

ACCOUNT = "123456789012"
# ECR's authorization tokens are valid for twelve hours.
_VALID_FOR_S = 12 * 3600


@dataclass
class RegistryCredentials:
    """Answers GetAuthorizationToken with the password of the announced registry; callable.

    :param registry: ``host:port``; empty for none, whose token is refused everywhere.
    """

    clock: Clock
    registry: str = ""
    password: str = ""

    def __call__(self, action: str, params: Params, region: str) -> dict[str, Any]:
        """Answer the call."""
        del action, params
        # The token is basic authentication of the user AWS, as with real ECR.
        token = base64.b64encode(f"AWS:{self.password or 'opens-nothing'}".encode()).decode()
        endpoint = f"http://{self.registry}" if self.registry else f"https://{ACCOUNT}.dkr.ecr.{region}.amazonaws.com"
        expires = self.clock.utc().timestamp() + _VALID_FOR_S
        data = {"authorizationToken": token, "expiresAt": expires, "proxyEndpoint": endpoint}
        return {"authorizationData": [data]}


def registry_page(credentials: RegistryCredentials) -> Callable[[Environ], Page]:
    """Return the page of the registry: PUT sets it, as JSON with ``address`` and ``password``."""

    def answer(environ: Environ) -> Page:
        if environ["REQUEST_METHOD"] == "PUT":
            body = json.loads(environ["wsgi.input"].read())
            credentials.registry, credentials.password = str(body["address"]), str(body["password"])
        return Page(json.dumps({"address": credentials.registry}).encode())

    return answer
