"""One cloud put together: what answers requests, whether they come over HTTP or from within this process."""

from __future__ import annotations

import functools
import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from localcloud.assembly import control_pages
from localcloud.aws import ecr as aws_ecr
from localcloud.aws import wsgi
from localcloud.core import urls
from localcloud.core.addresses import HOME_REGION, AddressBlock
from localcloud.ec2 import services
from localcloud.ec2.environment import CloudEnvironment
from localcloud.ec2.lifecycle import Lifecycle, TrackedInstance, summary
from localcloud.fault_injection import api_calls
from localcloud.fault_injection.api_calls import CallRecord
from localcloud.fault_injection.hosts import Closable, FaultyHosts
from localcloud.fault_injection.instances import InstanceFaults
from localcloud.fault_injection.third_party import ThirdPartyResources
from localcloud.hosts.interface import HostControl
from localcloud.scenarios.scenario import Scenario

if TYPE_CHECKING:
    from localcloud.aws.identity import RoleSessions
    from localcloud.aws.wsgi import Environ
    from localcloud.hosts.spec import HostSpec

# Whose requests go to one application of moto's, whatever their path.
_PLAIN_SERVICES = frozenset(("ec2", "iam", "ssm", "sts"))
# Calls beyond this many are forgotten, the oldest first.
_CALLS = 100_000


@dataclass(frozen=True)
class CloudParts:
    """What differs between clouds.

    :param make_hosts: makes the hosts, given what to call when a host shut itself down.
    :param spec: says what host an instance is.
    :param console: what an instance wrote while it booted.
    :param decoy: opens a port that takes no part in SSH, given address, port and whether it takes connections.
    """

    environment: CloudEnvironment
    block: AddressBlock
    make_hosts: Callable[[Callable[[str], None]], HostControl]
    spec: Callable[[TrackedInstance], HostSpec]
    console: Callable[[str], bytes]
    open_unresponsive_port: Callable[[str, int, bool], Closable]


@dataclass
class Cloud:
    """A cloud that answers; made by ``assemble``."""

    environment: CloudEnvironment
    lifecycle: Lifecycle
    instance_faults: InstanceFaults
    third_party: ThirdPartyResources
    sessions: RoleSessions
    started_at: float
    ecr: aws_ecr.RegistryCredentials
    calls: deque[CallRecord] = field(default_factory=lambda: deque(maxlen=_CALLS))

    def play(self, scenario: Scenario) -> None:
        """Play a scenario from its beginning; what an earlier one brought is over, what it broke stays broken."""
        with self.environment.lock:
            # Colleagues come in fair weather: what the scenario says of machines does not mean theirs.
            self.environment.fault_engine.load(Scenario())
            self.third_party.replace([fault for fault in scenario.faults if fault.kind == "colleague"])
            self.environment.fault_engine.load(scenario)
            self.instance_faults.on_scenario()

    def record_call(self, action: str, outcome: str) -> None:
        """Remember a call."""
        self.calls.append(CallRecord(round(self.environment.clock.now() - self.started_at, 6), action, outcome))

    def application(self, moto: wsgi.Application) -> wsgi.Application:
        """Stack the layers, the innermost first; a request passes them from the last to the first."""
        from localcloud.aws.identity import authorize
        from localcloud.ec2 import metadata

        world = self.environment
        application = wsgi.serialize(moto, world.lock)
        application = wsgi.cache_answers(application, self.lifecycle.cache_key, self.lifecycle.invalidate)
        application = api_calls.reword_denials(application)
        known: dict[str, wsgi.Service] = {**services.services(world), "ecr/GetAuthorizationToken": self.ecr}
        application = wsgi.serve_json(application, known, authorize)
        application = api_calls.fail_before_applying(application, world.clock)
        application = api_calls.fail_after_applying(application)
        application = wsgi.render_errors(application)
        application = api_calls.drop_connections(application)
        application = api_calls.choose_delay(application)
        application = api_calls.stamp_date(application, world.clock)
        application = api_calls.choose_faults(application, world.fault_engine)
        application = api_calls.record_calls(application, self.record_call)
        application = wsgi.serve_pages(application, self._pages())
        application = metadata.serve(application, metadata.MetadataService(self._find, self.sessions), world.lock)
        return wsgi.buffer_body(application)

    def _pages(self) -> dict[str, Callable[[Environ], wsgi.Page]]:
        return {
            urls.STATUS: lambda _: wsgi.Page(json.dumps(self._status()).encode()),
            urls.CALLS: control_pages.calls(lambda: list(self.calls)),
            urls.REGISTRY: aws_ecr.registry_page(self.ecr),
            urls.SCENARIO: control_pages.scenario(lambda: self.environment.fault_engine.scenario, self.play),
        }

    def _find(self, instance_id: str) -> TrackedInstance | None:
        machine = self.lifecycle.instances.get(instance_id)
        return machine if machine is not None and machine.instance.state == "running" else None

    def _status(self) -> list[dict[str, Any]]:
        with self.environment.lock:
            return [summary(machine) for machine in self.lifecycle.instances.values()]


def build(parts: CloudParts) -> Cloud:
    """Put a cloud together; it takes the place of any other that this process had."""

    def on_shutdown(instance_id: str) -> None:
        lifecycle.host_shut_down(instance_id)

    world = parts.environment
    hosts = FaultyHosts(
        parts.make_hosts(on_shutdown), lambda one: lifecycle.instances[one].faults, parts.open_unresponsive_port
    )
    lifecycle = Lifecycle(hosts, parts.spec, world)
    fates = InstanceFaults(lifecycle, hosts, world)
    lifecycle.on_launch, lifecycle.on_running = fates.on_launch, fates.on_running
    sessions = _install(parts, lifecycle)
    return Cloud(
        world,
        lifecycle,
        fates,
        ThirdPartyResources(lifecycle, world),
        sessions,
        world.clock.now(),
        aws_ecr.RegistryCredentials(world.clock),
    )


def moto_application() -> wsgi.Application:
    """moto's own server application; it looks backends up with every request, so that one serves all clouds."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    dispatcher: Any = DomainDispatcherApplication(create_backend_app)
    known: dict[str, wsgi.Application] = {}

    def application(environ: Environ, respond: wsgi.StartResponse) -> Iterable[bytes]:
        service = environ[wsgi.SERVICE]
        if service not in _PLAIN_SERVICES:
            answer: Iterable[bytes] = dispatcher(environ, respond)
            return answer
        # The dispatcher tries a pattern for each service of AWS, every time.
        if service not in known:
            known[service] = dispatcher.get_application(environ)
        return known[service](environ, respond)

    return application


def _install(parts: CloudParts, lifecycle: Lifecycle) -> RoleSessions:
    """Put our EC2 in the place of moto's, and seed what every account of AWS has."""
    from moto.core.base_backend import BackendDict
    from moto.ec2 import utils
    from moto.ec2.models import ec2_backends
    from moto.ssm.models import SimpleSystemManagerBackend, ssm_backends

    from localcloud.aws import identity
    from localcloud.aws.images import seed_parameters
    from localcloud.ec2.backend import BackendContext, Ec2Region

    def parameters(region_name: str, account_id: str) -> SimpleSystemManagerBackend:
        ssm = SimpleSystemManagerBackend(region_name, account_id)
        seed_parameters(ssm)
        return ssm

    # Not moto's own reset, which would make every backend again at once.
    known: list[Any] = getattr(BackendDict, "_instances")  # noqa: B009
    for backends in known:
        backends.clear()
    sessions = identity.RoleSessions()
    lifecycle.on_terminated = sessions.drop
    ground = BackendContext(parts.environment, parts.block, lifecycle, parts.console, [HOME_REGION])
    # moto only ever calls what stands here, with these two arguments.
    ours: Any = (ec2_backends, ssm_backends)
    ours[0].backend = functools.partial(Ec2Region, context=ground)
    ours[1].backend = parameters
    # DescribeInstances filters that moto does not know.
    utils.filter_dict_attribute_mapping.update({"client-token": "client_token", "reason": "_reason"})
    identity.seed()
    return sessions
