"""The pages by which a cloud is asked and told things that AWS knows nothing of."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from localcloud.aws.wsgi import Environ, Page
from localcloud.scenarios.scenario import Scenario, ScenarioError, parse

if TYPE_CHECKING:
    from localcloud.fault_injection.api_calls import CallRecord

_log = logging.getLogger(__name__)


def calls(seen: Callable[[], list[CallRecord]]) -> Callable[[Environ], Page]:
    """The calls so far."""
    return lambda _: Page(json.dumps(seen()).encode())


def scenario(current: Callable[[], Scenario], begin: Callable[[Scenario], None]) -> Callable[[Environ], Page]:
    """GET says what is played, PUT plays another."""

    def page(environ: Environ) -> Page:
        if environ["REQUEST_METHOD"] == "PUT":
            try:
                begin(parse(environ["wsgi.input"].read().decode()))
            except ScenarioError as error:
                return Page(str(error).encode(), "400 Bad Request", "text/plain")
            except Exception as error:
                _log.exception("the scenario could not begin")
                return Page(f"it could not begin: {error}".encode(), "500 Internal Server Error", "text/plain")
        return Page(current().text().encode(), content_type="text/plain")

    return page
