"""The embedded cloud within this process, in virtual time: the same layers as behind the endpoint, without sockets.

    clock = VirtualClock()
    with InMemoryCloud(seed=7, scenario=scenario.load("faults.ini"), clock=clock) as cloud:
        ec2 = cloud.session().client("ec2")
        ...
        clock.sleep(8 * 3600)
        assert not cloud.live_instances()

The seed and the calls determine everything that happens. There is one such cloud at a time, because moto's backends are
global: a new cloud closes the one before.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from localcloud.aws.wsgi import ACTION, Application, annotate_call
from localcloud.core.addresses import AddressBlock
from localcloud.core.clock import VirtualClock
from localcloud.core.disk_folders import DiskFolders, NoFolders
from localcloud.core.errors import LocalCloudError
from localcloud.ec2.environment import CloudEnvironment, StateDurations
from localcloud.fault_injection.api_calls import DELAY, CallRecord, ConnectionDropped
from localcloud.hosts.simulated import ShutdownReader, SimulatedHosts
from localcloud.sagemaker.hosting.simulated import SimulatedSite
from localcloud.sagemaker.runs.simulated_runs import SimulatedExecutor
from localcloud.scenarios.fault_engine import FaultEngine
from localcloud.scenarios.scenario import Scenario
from localcloud.simulation import disks, managed
from localcloud.simulation.disks import LiveDisk
from localcloud.simulation.managed import LiveManaged
from localcloud.simulation.scheduled_calls import in_process_caller

if TYPE_CHECKING:
    import boto3
    from botocore.awsrequest import AWSPreparedRequest

    from localcloud.ec2.lifecycle import TrackedInstance
    from localcloud.ec2.meter import Meter

Boundary = Callable[[str, str, int], None]
"""Called around every call with "before" or "after", the action, and the call's number from 1; may raise."""

HttpResponse = tuple[int, dict[str, str], bytes]

# Duration of a call, in seconds.
LATENCY_S = 0.05
_COUNTED_STATES = ("pending", "running", "stopping", "stopped")


class ClientCrash(BaseException):
    """The client's computer dies at this boundary. Its session raises this for every later call, too."""


@dataclass(frozen=True)
class LiveInstance:
    """An instance that is not terminated.

    :param launched_at: time of its launch on the cloud's clock.
    """

    id: str
    state: str
    type: str
    market: str
    tags: Mapping[str, str]
    launched_at: float


class InMemoryCloud:
    """A cloud that exists as long as its object; a context manager.

    :param seed: determines all ids, addresses and chances.
    :param scenario: faults to inject.
    :param clock: its time, which passes in ``clock.sleep`` only.
    :param durations: times that states last; EC2's own by default.
    :param owner_tag: tag whose value is the owner, for ``max_live_instances``.
    :param read_shutdown: reads from user data when a host shuts itself down; see ``SimulatedHosts``.
    :param folders: of volumes and shared file systems; by default there are none.
    :param block: its addresses, on which no host listens.
    """

    _current: ClassVar[InMemoryCloud | None] = None
    hosts: SimulatedHosts

    def __init__(
        self,
        seed: int = 0,
        scenario: Scenario | None = None,
        clock: VirtualClock | None = None,
        *,
        durations: StateDurations | None = None,
        owner_tag: str = "stratus:owner",
        read_shutdown: ShutdownReader | None = None,
        folders: DiskFolders | None = None,
        block: AddressBlock = AddressBlock(0),  # noqa: B008 - a frozen record
    ) -> None:
        if InMemoryCloud._current is not None:
            InMemoryCloud._current.close()
            _freeze_gc()
        # moto's backends are global, so an older cloud must not change them any more.
        InMemoryCloud._current = self
        self.clock = clock or VirtualClock()
        #: Called around every call.
        self.on_call_boundary: Boundary = lambda _phase, _action, _number: None
        self._owner_tag, self._block = owner_tag, block
        self._random = random.Random(f"{seed}/retries")
        self._call_count, self._open = 0, True
        self._owner_of: dict[str, str] = {}
        self._max_live: Counter[str | None] = Counter()
        self._read_shutdown = read_shutdown
        self._folders = folders or NoFolders()
        self._build(seed, durations or StateDurations.real())
        self.play(scenario or Scenario())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def session(self, keys: tuple[str, str] | None = None) -> boto3.Session:
        """Return a session as on another computer; a ``ClientCrash`` ends this session only.

        :param keys: access key and secret key, such as those of an assumed role; None for those of the user.
        """
        from localcloud.aws.identity import ACCESS_KEY_ID, SECRET_ACCESS_KEY
        from localcloud.simulation.boto_session import InProcessSession

        crashes: list[ClientCrash] = []

        def transport(request: AWSPreparedRequest, timeout_s: float) -> HttpResponse:
            if crashes:
                raise crashes[0]
            try:
                return self._respond(request, timeout_s)
            except ClientCrash as crash:
                crashes.append(crash)
                raise

        return InProcessSession(transport, self.clock, self._random, keys=keys or (ACCESS_KEY_ID, SECRET_ACCESS_KEY))

    def play(self, scenario: Scenario) -> None:
        """Start another scenario."""
        self._cloud.play(scenario)

    @property
    def calls(self) -> list[CallRecord]:
        """The calls so far, as :func:`localcloud.calls` returns them."""
        return list(self._cloud.calls)

    @property
    def meter(self) -> Meter:
        """The meter, which bills as EC2 does."""
        return self._cloud.meter

    def unused_faults(self) -> list[str]:
        """Return the titles of the scenario's faults that have had no effect so far."""
        return [fault.title for fault in self._cloud.environment.fault_engine.unused()]

    def live_instances(self) -> list[LiveInstance]:
        """Return every instance that is not terminated, of all owners, in the order of launches."""
        instances = self._cloud.lifecycle.instances.values()
        return [_describe(tracked) for tracked in instances if tracked.instance.state != "terminated"]

    def live_managed(self) -> list[LiveManaged]:
        """Return the jobs, warm pools and endpoints of SageMaker that bill now, of all owners."""
        return managed.live(self._cloud.sagemaker)

    def live_disks(self, region: str) -> list[LiveDisk]:
        """Return the volumes, images, snapshots and file systems of a region, of all owners."""
        return disks.live(region)

    def schedules(self) -> list[str]:
        """Return the names of the schedules of EventBridge Scheduler, of all owners."""
        return managed.schedules()

    def max_live_instances(self, owner: str | None = None) -> int:
        """Return the largest number of instances that existed at once; those shutting down do not count.

        :param owner: value of the owner's tag, empty for instances without one; None for all instances.
        """
        return self._max_live[owner]

    def ssh_fault(self, instance_id: str) -> str:
        """Return why an instance does not answer SSH: ``dropped``, ``silent`` or ``refused``; empty if it does."""
        tracked = self._cloud.lifecycle.instances.get(instance_id)
        if tracked is None or tracked.instance.state not in ("running", "stopping"):
            return "dropped"
        for kind in ("ssh-silent", "ssh-dropped", "ssh-refused"):
            if kind in tracked.faults:
                return kind.removeprefix("ssh-")
        return self.hosts.ssh_fault(instance_id)

    def close(self) -> None:
        """Refuse every further call."""
        if self._open:
            self._open = False
            self._cloud.lifecycle.close()
            self.clock.close()

    def _build(self, seed: int, durations: StateDurations) -> None:
        from moto.moto_api._internal import mock_random

        from localcloud.assembly.cloud import CloudParts, build
        from localcloud.assembly.instance_spec import HostSpecs

        # moto draws all ids from this generator.
        mock_random.seed(seed)
        environment = CloudEnvironment(self.clock, FaultEngine(self.clock), durations)

        def make_hosts(on_shutdown: Callable[[str], None]) -> SimulatedHosts:
            self.hosts = SimulatedHosts(self.clock, on_shutdown, self._read_shutdown)
            return self.hosts

        specs = HostSpecs(_unused_home(), self._block, environment)
        self.jobs, self.models = SimulatedExecutor(environment), SimulatedSite(environment)
        call = in_process_caller(self._send, self.clock)
        parts = CloudParts(
            environment,
            self._block,
            make_hosts,
            specs,
            lambda _: b"",
            lambda *_: _NoPort(),
            self.jobs,
            call,
            self.models,
            disks=self._folders,
        )
        self._cloud = build(parts)
        self._cloud.lifecycle.on_change.append(self._count)
        self._application = self._cloud.application(_moto())

    def _respond(self, request: AWSPreparedRequest, timeout_s: float) -> HttpResponse:
        from localcloud.simulation.boto_session import wsgi_environ

        if not self._open:
            raise LocalCloudError("this cloud is closed: there is one at a time, and a newer one was opened")
        environ, body = wsgi_environ(request)
        annotate_call(environ, body)
        self._call_count += 1
        number, action = self._call_count, environ[ACTION]
        self.on_call_boundary("before", action, number)
        self.clock.sleep(LATENCY_S)
        response = self._send(environ, request.url, timeout_s)
        self.on_call_boundary("after", action, number)
        return response

    def _send(self, environ: dict[str, Any], url: str, timeout_s: float) -> HttpResponse:
        """Pass a request to the application, and return or raise what botocore's transport would."""
        from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

        head: list[Any] = []
        try:
            body = b"".join(self._application(environ, lambda status, headers, *_: head.extend((status, headers))))
        except ConnectionDropped as error:
            raise ConnectionClosedError(endpoint_url=url, error=error) from None
        delay_s = environ.get(DELAY, 0.0)
        # A client waits no longer than its read timeout, but the call has taken effect.
        self.clock.sleep(min(delay_s, timeout_s))
        if delay_s >= timeout_s:
            raise ReadTimeoutError(endpoint_url=url)
        return int(head[0].split()[0]), dict(head[1]), body

    def _count(self, tracked: TrackedInstance) -> None:
        instance = tracked.instance
        known_owner = self._owner_of.pop(instance.id, None)
        if instance.state not in _COUNTED_STATES:
            return
        # Read once: the tag may be changed or removed later.
        owner = known_owner if known_owner is not None else _tags(tracked).get(self._owner_tag, "")
        self._owner_of[instance.id] = owner
        self._max_live[None] = max(self._max_live[None], len(self._owner_of))
        same_owner = sum(other == owner for other in self._owner_of.values())
        self._max_live[owner] = max(self._max_live[owner], same_owner)


class _NoPort:
    def close(self) -> None:
        """Do nothing: no port was opened."""


def _unused_home() -> Any:
    """Return a home whose folder is never created: simulated hosts have no disks."""
    from localcloud.core.home import Home

    return Home(Path("/nowhere"))


@cache
def _moto() -> Application:
    from localcloud.assembly.cloud import moto_application

    return moto_application()


@cache
def _freeze_gc() -> None:
    """Exclude moto's tables from garbage collection, once the first cloud has loaded them: a million objects."""
    import gc

    gc.collect()
    gc.freeze()


def _tags(tracked: TrackedInstance) -> dict[str, str]:
    # Not from EC2's API, which may not show the instance yet.
    instance = tracked.instance
    return dict(instance.ec2_backend.tags.get(instance.id, {}))


def _describe(tracked: TrackedInstance) -> LiveInstance:
    from localcloud.aws.quotas import market_of

    instance = tracked.instance
    return LiveInstance(
        instance.id,
        instance.state,
        instance.instance_type,
        market_of(instance),
        _tags(tracked),
        tracked.launched_at,
    )
