"""Assembly of one cloud: the application that answers requests, whether they come over HTTP or in process."""

from __future__ import annotations

import functools
import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from localcloud.assembly import control_pages
from localcloud.assembly import sagemaker as assembly_sagemaker
from localcloud.aws import ecr as aws_ecr
from localcloud.aws import wsgi
from localcloud.aws.schedules import Caller, Schedules
from localcloud.core import urls
from localcloud.core.addresses import HOME_REGION, AddressBlock, PublicAddresses
from localcloud.core.disk_folders import DiskFolders, NoFolders
from localcloud.disks.attachments import follow_instance
from localcloud.ec2 import services
from localcloud.ec2.environment import CloudEnvironment
from localcloud.ec2.ingress import Ingress
from localcloud.ec2.lifecycle import Lifecycle, TrackedInstance, summary
from localcloud.ec2.meter import Meter
from localcloud.fault_injection import answers, api_calls
from localcloud.fault_injection.api_calls import CallRecord
from localcloud.fault_injection.client_address import ClientAddressFaults
from localcloud.fault_injection.hosts import FaultyHosts
from localcloud.fault_injection.instances import InstanceFaults
from localcloud.fault_injection.third_party import ThirdPartyResources
from localcloud.hosts.interface import Closable, HostControl, ImageStore, NoImages
from localcloud.sagemaker import dispatch
from localcloud.sagemaker.hosting.interface import Site
from localcloud.sagemaker.runs.execution import Executor
from localcloud.scenarios.scenario import Scenario

if TYPE_CHECKING:
    from localcloud.aws.identity import RoleSessions
    from localcloud.aws.wsgi import Environ
    from localcloud.hosts.spec import HostSpec

# Services whose requests all go to one application of moto's, whatever their path.
_PLAIN_SERVICES = frozenset(("ec2", "iam", "ssm", "sts"))
# Number of recorded calls; older ones are dropped.
_CALLS = 100_000


@dataclass(frozen=True)
class CloudParts:
    """Parts that differ between clouds.

    :param make_hosts: returns the hosts, given a function to call when a host shut itself down.
    :param spec: returns the host specification of an instance.
    :param console: returns the boot messages of an instance's host.
    :param open_unresponsive_port: see ``localcloud.hosts.interface.HostSite``.
    :param jobs: executes SageMaker's training jobs.
    :param call: makes the calls of schedules.
    :param models: where SageMaker's models are served.
    :param images: disks of images that were made from instances.
    :param disks: folders that stand for volumes and shared file systems.
    """

    environment: CloudEnvironment
    block: AddressBlock
    make_hosts: Callable[[Callable[[str], None]], HostControl]
    spec: Callable[[TrackedInstance], HostSpec]
    console: Callable[[str], bytes]
    open_unresponsive_port: Callable[[str, int, bool], Closable]
    jobs: Executor
    call: Caller
    models: Site
    images: ImageStore = field(default_factory=NoImages)
    disks: DiskFolders = field(default_factory=NoFolders)


@dataclass
class Cloud:
    """A cloud that answers requests; made by ``build``."""

    environment: CloudEnvironment
    block: AddressBlock
    lifecycle: Lifecycle
    instance_faults: InstanceFaults
    third_party: ThirdPartyResources
    sessions: RoleSessions
    started_at: float
    ecr: aws_ecr.RegistryCredentials
    meter: Meter
    hosts: FaultyHosts
    client_address_faults: ClientAddressFaults
    sagemaker: assembly_sagemaker.SageMakerParts
    schedules: Schedules
    calls: deque[CallRecord] = field(default_factory=lambda: deque(maxlen=_CALLS))

    def play(self, scenario: Scenario) -> None:
        """Start a scenario. Pending faults of the earlier one are dropped; what it broke stays broken."""
        with self.environment.lock:
            # Created without faults: the scenario's faults must not apply to the third party's instances.
            self.environment.fault_engine.load(Scenario())
            self.third_party.replace([fault for fault in scenario.faults if fault.kind == "colleague"])
            self.environment.fault_engine.load(scenario)
            self.instance_faults.on_scenario()
            self.client_address_faults.on_scenario()
            self.sagemaker.training.lifecycle.on_scenario()

    def record_call(self, action: str, outcome: str) -> None:
        """Record a call with its outcome."""
        self.calls.append(CallRecord(round(self.environment.clock.now() - self.started_at, 6), action, outcome))

    def application(self, moto: wsgi.Application) -> wsgi.Application:
        """Return the application that answers requests: moto behind all wrappers, the innermost first."""
        from localcloud.aws.identity import authorize, check_permission
        from localcloud.ec2 import metadata
        from localcloud.s3 import data_plane

        environment = self.environment
        application = wsgi.serialize(data_plane.handle(moto, environment.clock), environment.lock)
        # Outside the lock: a cached answer need not wait for a slow call.
        application = wsgi.cache_answers(application, self.lifecycle.cache_key, self.lifecycle.invalidate)
        application = api_calls.reword_denials(application)
        own_services: dict[str, wsgi.Service] = {
            **services.services(environment),
            "ecr/GetAuthorizationToken": self.ecr,
        }
        application = wsgi.serve_json(application, own_services, authorize)
        application = aws_ecr.serve(application, self.ecr, check_permission)
        application = dispatch.serve(application, self.sagemaker.dispatch, check_permission)
        application = self.sagemaker.autoscaling.serve(application, check_permission)
        application = self.schedules.serve(application, check_permission)
        application = api_calls.fail_before_applying(application, environment.clock)
        application = api_calls.fail_after_applying(application)
        # Errors of the wrappers above are rendered here; those below see responses only.
        application = wsgi.render_errors(application)
        application = answers.alter_answers(application)
        application = api_calls.drop_connections(application)
        application = api_calls.choose_delay(application)
        application = api_calls.stamp_date(application, environment.clock)
        application = api_calls.choose_faults(application, environment.fault_engine)
        # Outside the faults, so that injected errors and dropped calls are recorded as clients see them.
        application = api_calls.record_calls(application, self.record_call)
        # Outside the faults: control pages must work during any scenario.
        application = wsgi.serve_pages(application, self._pages())
        instances = metadata.Instances(self._find, self._id_at, self._user_data)
        service = metadata.MetadataService(instances, self.sessions, environment.clock)
        application = metadata.serve(application, service, environment.lock)
        return data_plane.receive_bodies(wsgi.buffer_body(application))

    def _pages(self) -> dict[str, Callable[[Environ], wsgi.Page]]:
        return {
            urls.STATUS: lambda _: wsgi.Page(json.dumps(self._status()).encode()),
            urls.CLIENT_ADDRESS: control_pages.client_address(self.environment.client),
            urls.CALLS: control_pages.calls(lambda: list(self.calls)),
            urls.REGISTRY: aws_ecr.registry_page(self.ecr),
            urls.UNUSED_FAULTS: control_pages.unused_faults(self.environment.fault_engine.unused),
            urls.SCENARIO: control_pages.scenario(lambda: self.environment.fault_engine.scenario, self.play),
        }

    def _find(self, instance_id: str) -> TrackedInstance | None:
        tracked = self.lifecycle.instances.get(instance_id)
        return tracked if tracked is not None and tracked.instance.state == "running" else None

    def _id_at(self, address: str) -> str:
        # Called without the lock: list() copies the dictionary in one step.
        instances = (tracked.instance for tracked in list(self.lifecycle.instances.values()))
        running = (instance for instance in instances if instance.state == "running")
        return next((item.id for item in running if self.block.local_address(str(item.private_ip)) == address), "")

    def _user_data(self, tracked: TrackedInstance) -> bytes:
        """Return the user data that the host of an instance got: faults change it."""
        from localcloud.ec2.metadata import user_data

        spec = self.hosts.spec(tracked.instance.id)
        return user_data(tracked.instance) if spec is None else spec.user_data

    def _status(self) -> list[dict[str, Any]]:
        with self.environment.lock:
            return [summary(tracked) for tracked in self.lifecycle.instances.values()]


def build(parts: CloudParts) -> Cloud:
    """Build a cloud. It replaces any earlier one of this process, because moto's backends are global."""

    def on_shutdown(instance_id: str) -> None:
        lifecycle.host_shut_down(instance_id)

    environment = parts.environment
    hosts = FaultyHosts(
        parts.make_hosts(on_shutdown),
        lambda instance_id: lifecycle.instances[instance_id].faults,
        parts.open_unresponsive_port,
    )
    # The callbacks above refer to it before it exists; they run only after a launch.
    lifecycle = Lifecycle(hosts, parts.spec, environment)
    instance_faults = InstanceFaults(lifecycle, hosts, environment)
    lifecycle.on_launch, lifecycle.on_running = instance_faults.on_launch, instance_faults.on_running
    ingress = Ingress(lifecycle, hosts, environment, parts.block.ssh_port)
    meter = Meter(environment)
    lifecycle.on_change += [meter.observe, functools.partial(follow_instance, parts.disks)]
    sessions, ecr = _install(parts, lifecycle, ingress), aws_ecr.RegistryCredentials(environment.clock)
    return Cloud(
        environment,
        parts.block,
        lifecycle,
        instance_faults,
        ThirdPartyResources(lifecycle, environment),
        sessions,
        environment.clock.now(),
        ecr,
        meter,
        hosts,
        ClientAddressFaults(environment, ingress.update),
        assembly_sagemaker.build(environment, parts.jobs, parts.models, ecr.is_missing),
        Schedules(environment.clock, environment.lock, parts.call),
    )


def moto_application() -> wsgi.Application:
    """Return moto's server application. It looks backends up for every request, so one serves all clouds."""
    from moto.core import responses as moto_responses
    from moto.core import utils
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    # moto lists the 800 methods of the service's class on every request.
    responses: Any = moto_responses
    responses.method_names_from_class = functools.cache(utils.method_names_from_class)
    dispatcher: Any = DomainDispatcherApplication(create_backend_app)
    applications: dict[str, wsgi.Application] = {}

    def application(environ: Environ, start_response: wsgi.StartResponse) -> Iterable[bytes]:
        service = environ[wsgi.SERVICE]
        if service not in _PLAIN_SERVICES:
            response: Iterable[bytes] = dispatcher(environ, start_response)
            return response
        # The dispatcher would match a pattern for each AWS service on every request.
        if service not in applications:
            applications[service] = dispatcher.get_application(environ)
        return applications[service](environ, start_response)

    return application


def _install(parts: CloudParts, lifecycle: Lifecycle, ingress: Ingress) -> RoleSessions:
    """Replace moto's EC2 by ``Ec2Region``, and create what every AWS account has."""
    from moto.core.base_backend import BackendDict
    from moto.ec2 import utils
    from moto.ec2.models import ec2_backends
    from moto.ssm.models import SimpleSystemManagerBackend, ssm_backends

    from localcloud.aws import identity
    from localcloud.aws.images import seed_parameters
    from localcloud.disks import file_systems
    from localcloud.ec2.api import Ec2Api
    from localcloud.ec2.backend import BackendContext, Ec2Region

    def parameters(region_name: str, account_id: str) -> SimpleSystemManagerBackend:
        ssm = SimpleSystemManagerBackend(region_name, account_id)
        seed_parameters(ssm)
        return ssm

    # Not moto's own reset, which would recreate every backend at once.
    backend_dicts: list[Any] = getattr(BackendDict, "_instances")  # noqa: B009
    for backends in backend_dicts:
        backends.clear()
        # Of S3: owners of buckets of an earlier cloud, at which a lookup of a missing bucket would recurse.
        getattr(backends, "bucket_accounts", {}).clear()
    sessions = identity.RoleSessions()
    lifecycle.on_terminated = sessions.drop
    context = BackendContext(
        environment=parts.environment,
        block=parts.block,
        public_addresses=PublicAddresses(parts.block),
        lifecycle=lifecycle,
        on_ingress_change=ingress.update,
        console=parts.console,
        images=parts.images,
        regions=[HOME_REGION],
        dispatch=Ec2Api.dispatch,
        disks=parts.disks,
    )
    file_systems.install(parts.environment, parts.disks)
    # moto calls these factories with region and account.
    targets: Any = (ec2_backends, ssm_backends)
    targets[0].backend = functools.partial(Ec2Region, context=context)
    targets[1].backend = parameters
    # DescribeInstances filters that moto lacks.
    utils.filter_dict_attribute_mapping.update({"client-token": "client_token", "reason": "_reason"})
    identity.seed()
    return sessions
