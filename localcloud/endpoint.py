"""The API of the cloud: moto's server application with what EC2 has and moto lacks, on a block of addresses.

Everything runs in one process, so that the layer can reach into moto's backends; requests come in over real HTTP.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import socket
import threading
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from localcloud import wsgi
from localcloud.addresses import ENDPOINT_PORT, HOME_REGION, Block, blocks
from localcloud.errors import LocalCloudError
from localcloud.home import Home

if TYPE_CHECKING:
    from moto.ec2.models.instances import Instance
    from werkzeug.serving import BaseWSGIServer

    from localcloud.identity import RoleSessions
    from localcloud.lifecycle import Dwell, HostControl, Lifecycle

STATUS_PATH = "/_localcloud/status"

# Read by moto when it is imported or asked.
MOTO_SETTINGS = {
    "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
    # An endpoint that is a bare address has no subdomain that could be a bucket.
    "S3_IGNORE_SUBDOMAIN_BUCKETNAME": "true",
    "MOTO_DISABLE_GLOBAL_CORS": "true",
}

_log = logging.getLogger(__name__)


def claim() -> tuple[Block, socket.socket]:
    """Take the first free block by binding its endpoint.

    :raises LocalCloudError: every block is taken.
    """
    for block in blocks():
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((block.endpoint, ENDPOINT_PORT))
            listener.listen(128)
        except OSError:
            listener.close()
        else:
            return block, listener
    raise LocalCloudError(
        f"port {ENDPOINT_PORT} is taken on every address from {blocks()[0].endpoint} to {blocks()[-1].endpoint}: "
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

    block: Block
    lifecycle: Lifecycle
    server: BaseWSGIServer

    def serve(self) -> None:
        """Answer requests until ``close`` is called from another thread."""
        self.server.serve_forever()

    def warm_up(self) -> None:
        """Make one call to each of the services that are called first, so that no caller waits for their tables."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for service, action in _FIRST_CALLS.items():
            scope = f"AWS4-HMAC-SHA256 Credential=WARM/20260101/{HOME_REGION}/{service}/aws4_request,"
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
        self.lifecycle.close()


def open_endpoint(home: Home, dwell: Dwell, make_hosts: Callable[[Callable[[str], None]], HostControl]) -> Endpoint:
    """Claim a block and put a cloud on it.

    :param make_hosts: makes the hosts, given what to call when a host shut itself down.
    """
    block, listener = claim()
    lock = threading.RLock()
    lifecycle = _lifecycle(home, block, dwell=dwell, lock=lock, make_hosts=make_hosts)
    sessions = _install(home, block, lifecycle)
    server = _server(build(lifecycle, sessions, lock), block, listener)
    return Endpoint(block, lifecycle, server)


def build(lifecycle: Lifecycle, sessions: RoleSessions, lock: threading.RLock) -> wsgi.Application:
    """Stack the layers, the innermost first; a request passes them from the last to the first."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    from localcloud.metadata import Metadata

    application: wsgi.Application = DomainDispatcherApplication(create_backend_app)
    application = wsgi.one_at_a_time(application, lock)
    application = wsgi.serve_page(application, STATUS_PATH, functools.partial(_status, lifecycle, lock))
    application = wsgi.serve_metadata(application, Metadata(functools.partial(_find, lifecycle), sessions), lock)
    application = wsgi.catch_errors(application)
    application = wsgi.read_whole(application)
    return wsgi.log_calls(application)


def _lifecycle(
    home: Home,
    block: Block,
    *,
    dwell: Dwell,
    lock: threading.RLock,
    make_hosts: Callable[[Callable[[str], None]], HostControl],
) -> Lifecycle:
    from localcloud.lifecycle import Lifecycle
    from localcloud.specs import Specs

    def on_shutdown(instance_id: str) -> None:
        lifecycle.shut_down_from_within(instance_id)

    hosts = make_hosts(on_shutdown)
    lifecycle = Lifecycle(hosts, Specs(home, block, dwell.boot), dwell=dwell, lock=lock)
    return lifecycle


def _install(home: Home, block: Block, lifecycle: Lifecycle) -> RoleSessions:
    """Put our EC2 in the place of moto's, and seed what every account of AWS has."""
    from moto.ec2 import utils
    from moto.ec2.models import ec2_backends
    from moto.ssm.models import SimpleSystemManagerBackend, ssm_backends

    from localcloud import identity
    from localcloud.ec2 import Ec2, Ground
    from localcloud.images import seed_parameters

    def parameters(region_name: str, account_id: str) -> SimpleSystemManagerBackend:
        ssm = SimpleSystemManagerBackend(region_name, account_id)
        seed_parameters(ssm)
        return ssm

    sessions = identity.RoleSessions()
    lifecycle.on_end = sessions.drop
    ground = Ground(home, block, lifecycle, [HOME_REGION])
    # moto only ever calls what stands here, with these two arguments.
    backends: Any = (ec2_backends, ssm_backends)
    backends[0].backend = functools.partial(Ec2, ground=ground)
    backends[1].backend = parameters
    # DescribeInstances filters that moto does not know.
    utils.filter_dict_attribute_mapping.update({"client-token": "client_token", "reason": "_reason"})
    identity.seed()
    return sessions


def _server(application: wsgi.Application, block: Block, listener: socket.socket) -> BaseWSGIServer:
    from moto.moto_server.werkzeug_app import MotoRequestHandler
    from werkzeug.serving import make_server

    class Handler(MotoRequestHandler):
        # A caller that falls silent must not keep its thread for ever.
        timeout = 120

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


def _find(lifecycle: Lifecycle, instance_id: str) -> Instance | None:
    machine = lifecycle.machines.get(instance_id)
    return machine.instance if machine is not None and machine.instance.state == "running" else None


def _status(lifecycle: Lifecycle, lock: threading.RLock) -> bytes:
    from localcloud.lifecycle import summary

    with lock:
        return json.dumps([summary(machine) for machine in lifecycle.machines.values()]).encode()
