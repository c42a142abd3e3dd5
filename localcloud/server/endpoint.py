"""HTTP endpoint of the cloud: moto's server application, with corrections in front, on a block of addresses.

Everything runs in one process, so that the corrections can read moto's backends; requests come in over real HTTP.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from localcloud.aws import wsgi
from localcloud.core.addresses import ENDPOINT_PORT, HOME_REGION, AddressBlock
from localcloud.core.home import Home
from localcloud.ec2.environment import CloudEnvironment, StateDurations
from localcloud.fault_injection import api_calls
from localcloud.hosts.interface import HostSite
from localcloud.server.scheduled_calls import http_caller

if TYPE_CHECKING:
    from werkzeug.serving import BaseWSGIServer

    from localcloud.assembly.cloud import Cloud

# Environment variables that moto reads when it is imported or called.
MOTO_SETTINGS = {
    "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
    # The endpoint is a bare address, which has no subdomain that could name a bucket.
    "S3_IGNORE_SUBDOMAIN_BUCKETNAME": "true",
    "MOTO_DISABLE_GLOBAL_CORS": "true",
}

_FIRST_CALLS = {"sts": "GetCallerIdentity", "ec2": "DescribeVpcs", "ssm": "GetParameter"}

_log = logging.getLogger(__name__)


@dataclass
class Endpoint:
    """A cloud that serves HTTP; made by ``open_endpoint``."""

    block: AddressBlock
    cloud: Cloud
    server: BaseWSGIServer

    def serve(self) -> None:
        """Answer requests until ``close`` is called from another thread."""
        self.server.serve_forever()

    def warm_up(self) -> None:
        """Call each service that clients call first, so that no client waits while its tables are loaded."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for service, action in _FIRST_CALLS.items():
            scope = f"AWS4-HMAC-SHA256 Credential={wsgi.WARM_UP}/20260101/{HOME_REGION}/{service}/aws4_request,"
            headers = {"Authorization": scope, **_content_headers(service, action)}
            with contextlib.suppress(OSError):
                body = f"Action={action}" if service != "ssm" else '{"Name": "none"}'
                opener.open(urllib.request.Request(self.block.url, body.encode(), headers), timeout=30).close()

    def close(self) -> None:
        """Stop serving, and stop changing instances."""
        stopping = threading.Thread(target=self.server.shutdown)
        stopping.start()
        with contextlib.suppress(OSError):
            # The server checks for its shutdown twice a second only; a connection wakes it at once.
            socket.create_connection((self.block.endpoint, ENDPOINT_PORT), timeout=1).close()
        stopping.join()
        self.server.server_close()
        self.cloud.sagemaker.close()
        self.cloud.lifecycle.close()
        self.cloud.environment.clock.close()


def _content_headers(service: str, action: str) -> dict[str, str]:
    """Return the headers that tell a service how to parse the body of a call."""
    if service == "ssm":
        return {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"AmazonSSM.{action}"}
    return {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}


def open_endpoint(home: Home, durations: StateDurations, site: HostSite) -> Endpoint:
    """Build a cloud with the hosts of ``site`` and bind it to their addresses."""
    from localcloud.assembly.cloud import CloudParts, build, moto_application
    from localcloud.assembly.instance_spec import HostSpecs
    from localcloud.assembly.sagemaker import model_site, process_executor
    from localcloud.core.clock import RealClock
    from localcloud.core.disk_folders import DiskFolders
    from localcloud.scenarios.fault_engine import FaultEngine

    block, clock = site.block, RealClock()
    environment = CloudEnvironment(clock, FaultEngine(clock), durations)
    specs = HostSpecs(home, block, environment)
    jobs = process_executor(environment, home, block)
    parts = CloudParts(
        environment,
        block,
        site.make_hosts,
        specs,
        site.console,
        site.open_unresponsive_port,
        jobs,
        http_caller(block.url),
        model_site(jobs, home),
        site.images,
        site.disks or DiskFolders(home.folder, home.hosts_folder),
    )
    cloud = build(parts)
    delayed = api_calls.apply_delay(cloud.application(moto_application()), clock)
    return Endpoint(block, cloud, _server(wsgi.log_calls(delayed, clock), block, site.listener))


def _server(application: wsgi.Application, block: AddressBlock, listener: socket.socket) -> BaseWSGIServer:
    from moto.moto_server.werkzeug_app import MotoRequestHandler
    from werkzeug.serving import make_server

    class Handler(MotoRequestHandler):
        # A client that stops sending must not keep its thread forever.
        timeout = 120

        def send_response(self, code: int, message: str | None = None) -> None:
            """Send the status line without a Date header: the application sets AWS's time."""
            self.send_response_only(code, message)

        def connection_dropped(self, *_: Any) -> None:
            """Close the connection without a response, for the ``dropped`` fault."""
            self.close_connection = True

        def log(self, type: str, message: str, *args: Any) -> None:
            """Log errors only: the application logs calls by their names."""
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
