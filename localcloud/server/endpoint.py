"""The API of the cloud: moto's server application with what EC2 has and moto lacks, on a block of addresses.

Everything runs in one process, so that the layer can reach into moto's backends; requests come in over real HTTP.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from localcloud.aws import wsgi
from localcloud.core.addresses import ENDPOINT_PORT, HOME_REGION, AddressBlock, loopback_blocks
from localcloud.core.errors import LocalCloudError
from localcloud.core.home import Home
from localcloud.ec2.environment import CloudEnvironment, StateDurations
from localcloud.fault_injection import api_calls

if TYPE_CHECKING:
    from werkzeug.serving import BaseWSGIServer

    from localcloud.assembly.cloud import Cloud
    from localcloud.fault_injection.hosts import Closable
    from localcloud.hosts.interface import HostControl

# Read by moto when it is imported or asked.
MOTO_SETTINGS = {
    "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
    # An endpoint that is a bare address has no subdomain that could be a bucket.
    "S3_IGNORE_SUBDOMAIN_BUCKETNAME": "true",
    "MOTO_DISABLE_GLOBAL_CORS": "true",
}

_log = logging.getLogger(__name__)


def claim_block() -> tuple[AddressBlock, socket.socket]:
    """Take the first free block by binding its endpoint.

    :raises LocalCloudError: every block is taken.
    """
    blocks = loopback_blocks()
    for block in blocks:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((block.endpoint, ENDPOINT_PORT))
            listener.listen(128)
        except OSError:
            listener.close()
        else:
            return block, listener
    first, last = blocks[0].endpoint, blocks[-1].endpoint
    raise LocalCloudError(
        f"port {ENDPOINT_PORT} is taken on every address from {first} to {last}: "
        f"does another program listen on 0.0.0.0:{ENDPOINT_PORT}?"
    )


_FIRST_CALLS = {"sts": "GetCallerIdentity", "ec2": "DescribeVpcs", "ssm": "GetParameter"}


def _form(service: str, action: str) -> dict[str, str]:
    """The headers that say how a call's body is to be read."""
    if service == "ssm":
        return {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"AmazonSSM.{action}"}
    return {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}


@dataclass
class Endpoint:
    """A cloud that answers; made by ``open_endpoint``."""

    block: AddressBlock
    cloud: Cloud
    server: BaseWSGIServer

    def serve(self) -> None:
        """Answer requests until ``close`` is called from another thread."""
        self.server.serve_forever()

    def warm_up(self) -> None:
        """Make one call to each of the services that are called first, so that no caller waits for their tables."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for service, action in _FIRST_CALLS.items():
            scope = f"AWS4-HMAC-SHA256 Credential={wsgi.WARM_UP}/20260101/{HOME_REGION}/{service}/aws4_request,"
            headers = {"Authorization": scope, **_form(service, action)}
            with contextlib.suppress(OSError):
                body = f"Action={action}" if service != "ssm" else '{"Name": "none"}'
                direct.open(urllib.request.Request(self.block.url, body.encode(), headers), timeout=30).close()

    def close(self) -> None:
        """Stop answering and stop moving instances."""
        stopping = threading.Thread(target=self.server.shutdown)
        stopping.start()
        with contextlib.suppress(OSError):
            # A caller wakes the server, which else looks up twice a second only.
            socket.create_connection((self.block.endpoint, ENDPOINT_PORT), timeout=1).close()
        stopping.join()
        self.server.server_close()
        self.cloud.lifecycle.close()
        self.cloud.environment.clock.close()


@dataclass(frozen=True)
class HostSite:
    """Where a cloud stands, and what its hosts are.

    :param listener: bound to the endpoint of ``block``.
    :param make_hosts: makes the hosts, given what to call when a host shut itself down.
    :param console: what an instance wrote while it booted.
    :param decoy: see ``localcloud.assembly.cloud.Parts``.
    """

    block: AddressBlock
    listener: socket.socket
    make_hosts: Callable[[Callable[[str], None]], HostControl]
    console: Callable[[str], bytes]
    open_unresponsive_port: Callable[[str, int, bool], Closable]


def open_endpoint(home: Home, dwell: StateDurations, site: HostSite) -> Endpoint:
    """Put a cloud on a site."""
    from localcloud.assembly.cloud import CloudParts, build, moto_application
    from localcloud.assembly.instance_spec import HostSpecs
    from localcloud.core.clock import RealClock
    from localcloud.scenarios.fault_engine import FaultEngine

    block, clock = site.block, RealClock()
    world = CloudEnvironment(clock, FaultEngine(clock), dwell)
    cloud = build(
        CloudParts(
            world,
            block,
            site.make_hosts,
            HostSpecs(home, block, dwell.boot_s),
            site.console,
            site.open_unresponsive_port,
        )
    )
    application = wsgi.log_calls(api_calls.apply_delay(cloud.application(moto_application()), clock))
    return Endpoint(block, cloud, _server(application, block, site.listener))


def _server(application: wsgi.Application, block: AddressBlock, listener: socket.socket) -> BaseWSGIServer:
    from moto.moto_server.werkzeug_app import MotoRequestHandler
    from werkzeug.serving import make_server

    class Handler(MotoRequestHandler):
        # A caller that falls silent must not keep its thread for ever.
        timeout = 120

        def send_response(self, code: int, message: str | None = None) -> None:
            """The date is the chain's to say."""
            self.send_response_only(code, message)

        def connection_dropped(self, *_: Any) -> None:
            """No answer: the next thing that the caller sees is the end of the connection."""
            self.close_connection = True

        def log(self, type: str, message: str, *args: Any) -> None:
            """Only what went wrong: calls are logged by the chain, under their names."""
            if type == "error":
                _log.warning(message, *args)

    with listener:
        return make_server(
            block.endpoint,
            ENDPOINT_PORT,
            application,
            threaded=True,
            request_handler=Handler,
            fd=listener.fileno(),
        )
