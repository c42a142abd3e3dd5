"""Client of a running cloud's control pages: scenario, calls, instances and registry."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localcloud.core import urls
from localcloud.core.errors import LocalCloudError
from localcloud.scenarios.scenario import Scenario, load

if TYPE_CHECKING:
    from localcloud.fault_injection.api_calls import CallRecord

_TIMEOUT_S = 30.0


def read_scenario(source: Scenario | Path | str | None) -> Scenario:
    """Return the scenario that a file, a text or a scenario stands for; None stands for one without faults.

    :raises ScenarioError: it cannot be read.
    """
    if source is None:
        return Scenario()
    return source if isinstance(source, Scenario) else load(source)


def play(url: str, scenario: Scenario) -> None:
    """Start a scenario on the cloud at ``url``.

    :raises LocalCloudError: the cloud refused it or does not answer.
    """
    _send(urllib.request.Request(url + urls.SCENARIO, scenario.text().encode(), method="PUT"))


def announce_registry(url: str, address: str, password: str) -> None:
    """Let ECR of the cloud at ``url`` issue the password of a registry.

    :raises LocalCloudError: the cloud does not answer.
    """
    body = json.dumps({"address": address, "password": password}).encode()
    _send(urllib.request.Request(url + urls.REGISTRY, body, method="PUT"))


def current_scenario(url: str) -> str:
    """Return the text of the scenario that is played."""
    return _send(urllib.request.Request(url + urls.SCENARIO)).decode()


def calls(url: str) -> list[CallRecord]:
    """Return the API calls so far."""
    from localcloud.fault_injection.api_calls import CallRecord

    return [CallRecord(*fields) for fields in json.loads(_send(urllib.request.Request(url + urls.CALLS)))]


def unused_faults(url: str) -> list[tuple[str, str]]:
    """Return title and kind of the scenario's faults that have had no effect so far."""
    faults = json.loads(_send(urllib.request.Request(url + urls.UNUSED_FAULTS)))
    return [(title, kind) for title, kind in faults]


def instances(url: str) -> list[dict[str, Any]]:
    """Return the instances, each as a record of plain values."""
    records: list[dict[str, Any]] = json.loads(_send(urllib.request.Request(url + urls.STATUS)))
    return records


def _send(request: urllib.request.Request) -> bytes:
    # Not through the proxy that this shell may be configured to use: the address is this computer's.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as response:
            body: bytes = response.read()
    except urllib.error.HTTPError as error:
        # The body is the message, for example all mistakes of a scenario.
        raise LocalCloudError(error.read().decode("utf-8", "replace")) from error
    except OSError as error:
        raise LocalCloudError(f"the embedded cloud does not answer: {error}") from error
    return body
