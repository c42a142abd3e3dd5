"""Control pages of a cloud: paths beside the AWS APIs that show its calls and play scenarios."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from localcloud.aws.wsgi import Environ, Page
from localcloud.scenarios.scenario import Fault, Scenario, ScenarioError, parse

if TYPE_CHECKING:
    from localcloud.ec2.environment import UserComputer
    from localcloud.fault_injection.api_calls import CallRecord

_log = logging.getLogger(__name__)


def calls(recorded: Callable[[], list[CallRecord]]) -> Callable[[Environ], Page]:
    """Return the page that lists the API calls so far."""
    return lambda _: Page(json.dumps(recorded()).encode())


def client_address(client: UserComputer) -> Callable[[Environ], Page]:
    """Return the page that tells a user's computer its own address."""
    return lambda _: Page(client.address.encode(), content_type="text/plain")


def unused_faults(unused: Callable[[], list[Fault]]) -> Callable[[Environ], Page]:
    """Return the page that lists faults without effect so far: the title and the kind of each."""
    return lambda _: Page(json.dumps([[fault.title, fault.kind] for fault in unused()]).encode())


def scenario(current: Callable[[], Scenario], play: Callable[[Scenario], None]) -> Callable[[Environ], Page]:
    """Return the page of the scenario: GET shows it, PUT starts another one."""

    def page(environ: Environ) -> Page:
        if environ["REQUEST_METHOD"] == "PUT":
            try:
                play(parse(environ["wsgi.input"].read().decode()))
            except ScenarioError as error:
                return Page(str(error).encode(), "400 Bad Request", "text/plain")
            except Exception as error:
                _log.exception("the scenario could not start")
                return Page(f"cannot start the scenario: {error}".encode(), "500 Internal Server Error", "text/plain")
        return Page(current().text().encode(), content_type="text/plain")

    return page
