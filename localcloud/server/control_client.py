"""Talking to a cloud that is up about its scenario, its calls and its registry."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from localcloud.core import urls
from localcloud.core.errors import LocalCloudError
from localcloud.scenarios.scenario import Scenario, load

if TYPE_CHECKING:
    from localcloud.fault_injection.api_calls import CallRecord

_DEADLINE_S = 30.0


def read_scenario(source: Scenario | Path | str | None) -> Scenario:
    """A scenario from whatever stands for one; None for fair weather.

    :raises ScenarioError: it cannot be read.
    """
    if source is None:
        return Scenario()
    return source if isinstance(source, Scenario) else load(source)


def play(url: str, scenario: Scenario) -> None:
    """Have the cloud at ``url`` play a scenario.

    :raises LocalCloudError: it would not.
    """
    _send(urllib.request.Request(url + urls.SCENARIO, scenario.text().encode(), method="PUT"))


def announce_registry(url: str, address: str, password: str) -> None:
    """Have the ECR of the cloud at ``url`` give out the password of a registry.

    :raises LocalCloudError: the cloud does not answer.
    """
    told = json.dumps({"address": address, "password": password}).encode()
    _send(urllib.request.Request(url + urls.REGISTRY, told, method="PUT"))


def current_scenario(url: str) -> str:
    """The scenario that is played, as a file would say it."""
    return _send(urllib.request.Request(url + urls.SCENARIO)).decode()


def calls(url: str) -> list[CallRecord]:
    """The calls so far."""
    from localcloud.fault_injection.api_calls import CallRecord

    return [CallRecord(*one) for one in json.loads(_send(urllib.request.Request(url + urls.CALLS)))]


def _send(request: urllib.request.Request) -> bytes:
    # Straight to the address, whatever proxy this shell is told to use.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(request, timeout=_DEADLINE_S) as answer:
            body: bytes = answer.read()
    except urllib.error.HTTPError as error:
        raise LocalCloudError(error.read().decode("utf-8", "replace")) from error
    except OSError as error:
        raise LocalCloudError(f"the cloud does not answer: {error}") from error
    return body
