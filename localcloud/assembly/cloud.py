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
from localcloud.core.addresses import HOME_REGION, Block
from localcloud.ec2 import services
from localcloud.ec2.environment import World
from localcloud.ec2.lifecycle import Lifecycle, Machine, summary
from localcloud.fault_injection import api_calls
from localcloud.fault_injection.api_calls import Seen
from localcloud.fault_injection.hosts import BadHosts, Closable
from localcloud.fault_injection.instances import Fates
from localcloud.fault_injection.third_party import Colleagues
from localcloud.hosts.interface import HostControl
from localcloud.scenarios.scenario import Scenario

if TYPE_CHECKING:
    from localcloud.aws.identity import RoleSessions
    from localcloud.aws.wsgi import Environ
    from localcloud.hosts.spec import MachineSpec

# Whose requests go to one application of moto's, whatever their path.
_PLAIN_SERVICES = frozenset(("ec2", "iam", "ssm", "sts"))
# Calls beyond this many are forgotten, the oldest first.
_CALLS = 100_000


@dataclass(frozen=True)
class Parts:
    """What differs between clouds.

    :param make_hosts: makes the hosts, given what to call when a host shut itself down.
    :param spec: says what host an instance is.
    :param console: what an instance wrote while it booted.
    :param decoy: opens a port that takes no part in SSH, given address, port and whether it takes connections.
    """

    world: World
    block: Block
    make_hosts: Callable[[Callable[[str], None]], HostControl]
    spec: Callable[[Machine], MachineSpec]
    console: Callable[[str], bytes]
    decoy: Callable[[str, int, bool], Closable]


@dataclass
class Cloud:
    """A cloud that answers; made by ``assemble``."""

    world: World
    lifecycle: Lifecycle
    fates: Fates
    colleagues: Colleagues
    sessions: RoleSessions
    began: float
    ecr: aws_ecr.Login
    seen: deque[Seen] = field(default_factory=lambda: deque(maxlen=_CALLS))

    def begin(self, scenario: Scenario) -> None:
        """Play a scenario from its beginning; what an earlier one brought is over, what it broke stays broken."""
        with self.world.lock:
            # Colleagues come in fair weather: what the scenario says of machines does not mean theirs.
            self.world.weather.begin(Scenario())
            self.colleagues.come_and_go([fault for fault in scenario.faults if fault.kind == "colleague"])
            self.world.weather.begin(scenario)
            self.fates.begin()

    def note(self, action: str, outcome: str) -> None:
        """Remember a call."""
        self.seen.append(Seen(round(self.world.clock.now() - self.began, 6), action, outcome))

    def chain(self, moto: wsgi.Application) -> wsgi.Application:
        """Stack the layers, the innermost first; a request passes them from the last to the first."""
        from localcloud.aws.identity import check_permitted
        from localcloud.ec2 import metadata

        world = self.world
        application = wsgi.one_at_a_time(moto, world.lock)
        application = wsgi.remember(application, self.lifecycle.state, self.lifecycle.touch)
        application = api_calls.word_denials(application)
        known: dict[str, wsgi.Service] = {**services.services(world), "ecr/GetAuthorizationToken": self.ecr}
        application = wsgi.serve_json(application, known, check_permitted)
        application = api_calls.refuse(application, world.clock)
        application = api_calls.spoil(application)
        application = wsgi.catch_errors(application)
        application = api_calls.drop(application)
        application = api_calls.delay(application)
        application = api_calls.date(application, world.clock)
        application = api_calls.judge(application, world.weather)
        application = api_calls.record(application, self.note)
        application = wsgi.serve_pages(application, self._pages())
        application = metadata.serve(application, metadata.Metadata(self._find, self.sessions), world.lock)
        return wsgi.read_whole(application)

    def _pages(self) -> dict[str, Callable[[Environ], wsgi.Page]]:
        return {
            urls.STATUS: lambda _: wsgi.Page(json.dumps(self._status()).encode()),
            urls.CALLS: control_pages.calls(lambda: list(self.seen)),
            urls.REGISTRY: aws_ecr.page(self.ecr),
            urls.SCENARIO: control_pages.scenario(lambda: self.world.weather.scenario, self.begin),
        }

    def _find(self, instance_id: str) -> Machine | None:
        machine = self.lifecycle.machines.get(instance_id)
        return machine if machine is not None and machine.instance.state == "running" else None

    def _status(self) -> list[dict[str, Any]]:
        with self.world.lock:
            return [summary(machine) for machine in self.lifecycle.machines.values()]


def assemble(parts: Parts) -> Cloud:
    """Put a cloud together; it takes the place of any other that this process had."""

    def on_shutdown(instance_id: str) -> None:
        lifecycle.shut_down_from_within(instance_id)

    world = parts.world
    hosts = BadHosts(parts.make_hosts(on_shutdown), lambda one: lifecycle.machines[one].faults, parts.decoy)
    lifecycle = Lifecycle(hosts, parts.spec, world)
    fates = Fates(lifecycle, hosts, world)
    lifecycle.on_launch, lifecycle.on_running = fates.launched, fates.running
    sessions = _install(parts, lifecycle)
    return Cloud(
        world, lifecycle, fates, Colleagues(lifecycle, world), sessions, world.clock.now(), aws_ecr.Login(world.clock)
    )


def moto_application() -> wsgi.Application:
    """moto's own server application; it looks backends up with every request, so that one serves all clouds."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    dispatcher: Any = DomainDispatcherApplication(create_backend_app)
    known: dict[str, wsgi.Application] = {}

    def application(environ: Environ, respond: wsgi.Respond) -> Iterable[bytes]:
        service = environ[wsgi.SERVICE]
        if service not in _PLAIN_SERVICES:
            answer: Iterable[bytes] = dispatcher(environ, respond)
            return answer
        # The dispatcher tries a pattern for each service of AWS, every time.
        if service not in known:
            known[service] = dispatcher.get_application(environ)
        return known[service](environ, respond)

    return application


def _install(parts: Parts, lifecycle: Lifecycle) -> RoleSessions:
    """Put our EC2 in the place of moto's, and seed what every account of AWS has."""
    from moto.core.base_backend import BackendDict
    from moto.ec2 import utils
    from moto.ec2.models import ec2_backends
    from moto.ssm.models import SimpleSystemManagerBackend, ssm_backends

    from localcloud.aws import identity
    from localcloud.aws.images import seed_parameters
    from localcloud.ec2.backend import Ec2, Ground

    def parameters(region_name: str, account_id: str) -> SimpleSystemManagerBackend:
        ssm = SimpleSystemManagerBackend(region_name, account_id)
        seed_parameters(ssm)
        return ssm

    # Not moto's own reset, which would make every backend again at once.
    known: list[Any] = getattr(BackendDict, "_instances")  # noqa: B009
    for backends in known:
        backends.clear()
    sessions = identity.RoleSessions()
    lifecycle.on_end = sessions.drop
    ground = Ground(parts.world, parts.block, lifecycle, parts.console, [HOME_REGION])
    # moto only ever calls what stands here, with these two arguments.
    ours: Any = (ec2_backends, ssm_backends)
    ours[0].backend = functools.partial(Ec2, ground=ground)
    ours[1].backend = parameters
    # DescribeInstances filters that moto does not know.
    utils.filter_dict_attribute_mapping.update({"client-token": "client_token", "reason": "_reason"})
    identity.seed()
    return sessions
