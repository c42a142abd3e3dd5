"""The one call of ECR's that opens a registry; all others are moto's."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from localcloud.aws.wsgi import Environ, Page, Params
from localcloud.core.clock import Clock

ACCOUNT = "123456789012"
# An authorization token is good for twelve hours.
_GOOD_FOR_S = 12 * 3600


@dataclass
class RegistryCredentials:
    """GetAuthorizationToken: the password of the registry that was announced; callable.

    :param registry: ``host:port``; empty for none, then a token opens nothing.
    """

    clock: Clock
    registry: str = ""
    password: str = ""

    def __call__(self, action: str, question: Params, region: str) -> dict[str, Any]:
        """Answer the call."""
        del action, question
        token = base64.b64encode(f"AWS:{self.password or 'opens-nothing'}".encode()).decode()
        where = f"http://{self.registry}" if self.registry else f"https://{ACCOUNT}.dkr.ecr.{region}.amazonaws.com"
        expires = self.clock.utc().timestamp() + _GOOD_FOR_S
        data = {"authorizationToken": token, "expiresAt": expires, "proxyEndpoint": where}
        return {"authorizationData": [data]}


def registry_page(login: RegistryCredentials) -> Callable[[Environ], Page]:
    """PUT says which registry there is, as JSON: ``address`` and ``password``."""

    def answer(environ: Environ) -> Page:
        if environ["REQUEST_METHOD"] == "PUT":
            told = json.loads(environ["wsgi.input"].read())
            login.registry, login.password = str(told["address"]), str(told["password"])
        return Page(json.dumps({"address": login.registry}).encode())

    return answer
