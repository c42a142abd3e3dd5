"""A cloud within this process, in virtual time: the same layers as behind the endpoint, without sockets or threads.

    clock = VirtualClock()
    with MemoryCloud(seed=7, scenario=scenarios.load("bad_day.ini"), clock=clock) as cloud:
        ec2 = cloud.session().client("ec2")
        ...
        clock.sleep(8 * 3600)      # everybody goes home
        assert not cloud.alive()

Everything is decided by the seed and by what is asked. One such cloud at a time: moto keeps what it knows for the whole
process, so a new cloud closes the one before.
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
from localcloud.core.errors import LocalCloudError
from localcloud.ec2.environment import CloudEnvironment, StateDurations
from localcloud.fault_injection.api_calls import DELAY, CallRecord, ConnectionDropped
from localcloud.hosts.simulated import ShutdownReader, SimulatedHosts
from localcloud.scenarios.fault_engine import FaultEngine
from localcloud.scenarios.scenario import Scenario

if TYPE_CHECKING:
    import boto3
    from botocore.awsrequest import AWSPreparedRequest

    from localcloud.ec2.lifecycle import TrackedInstance

# Called around every call with "before" or "after", the action, and the call's number, from 1; what it raises is what
# the caller gets.
Boundary = Callable[[str, str, int], None]

# Seconds that a call takes.
LATENCY_S = 0.05
_COUNTED = ("pending", "running", "stopping", "stopped")


class ClientCrash(BaseException):
    """The laptop dies at this boundary. Its session answers every later call with this, too: the dead call nobody."""


@dataclass(frozen=True)
class LiveInstance:
    """An instance that has not ended.

    :param launched: when, on the cloud's clock.
    """

    id: str
    state: str
    type: str
    market: str
    tags: Mapping[str, str]
    launched_at: float


class InMemoryCloud:
    """A cloud that lives as long as its object; a context manager.

    :param seed: of everything that is made up: ids, addresses, chances.
    :param scenario: what goes wrong.
    :param clock: its time; whoever waits calls its ``sleep``.
    :param dwell: how long states last; EC2's own times by default.
    :param owner_tag: names the tag that ``most_alive`` looks at.
    :param life: reads from user data how long a machine lives; see ``PaperHosts``.
    """

    _current: ClassVar[InMemoryCloud | None] = None

    def __init__(
        self,
        seed: int = 0,
        scenario: Scenario | None = None,
        clock: VirtualClock | None = None,
        *,
        durations: StateDurations | None = None,
        owner_tag: str = "stratus:owner",
        read_shutdown: ShutdownReader | None = None,
    ) -> None:
        if InMemoryCloud._current is not None:
            InMemoryCloud._current.close()
            _freeze_gc()
        InMemoryCloud._current = self
        self.clock = clock or VirtualClock()
        #: Called around every call.
        self.on_call_boundary: Boundary = lambda _phase, _action, _number: None
        self._owner_tag = owner_tag
        self._chance = random.Random(f"{seed}/retries")
        self._call_count, self._open = 0, True
        self._owner_of: dict[str, str] = {}
        self._max_live: Counter[str | None] = Counter()
        self._life = read_shutdown
        self._build(seed, durations or StateDurations.real())
        self.play(scenario or Scenario())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def session(self) -> boto3.Session:
        """A session as on another laptop with the same keys; one that met a ``Crash`` is dead, others go on."""
        from localcloud.aws.identity import ACCESS_KEY_ID, SECRET_ACCESS_KEY
        from localcloud.simulation.boto_session import InProcessSession

        died: list[ClientCrash] = []

        def answer(request: AWSPreparedRequest, timeout: float) -> tuple[int, dict[str, str], bytes]:
            if died:
                raise died[0]
            try:
                return self._answer(request, timeout)
            except ClientCrash as crash:
                died.append(crash)
                raise

        return InProcessSession(answer, self.clock, self._chance, keys=(ACCESS_KEY_ID, SECRET_ACCESS_KEY))

    def play(self, scenario: Scenario) -> None:
        """Play another scenario from now on."""
        self._cloud.play(scenario)

    @property
    def calls(self) -> list[CallRecord]:
        """The calls so far, as :func:`localcloud.calls` tells them."""
        return list(self._cloud.calls)

    def live_instances(self) -> list[LiveInstance]:
        """Every instance that is not terminated, whoever's it is, in the order of launches."""
        machines = self._cloud.lifecycle.instances.values()
        return [_describe(machine) for machine in machines if machine.instance.state != "terminated"]

    def max_live_instances(self, owner: str | None = None) -> int:
        """The largest number of instances that were alive at once; those on their way out do not count.

        :param owner: value of the owner's tag, empty for those without one; None for all instances.
        """
        return self._max_live[owner]

    def ssh_fault(self, instance_id: str) -> str:
        """What keeps a machine from answering SSH now, ``silent`` or ``refused``; empty when nothing does."""
        machine = self._cloud.lifecycle.instances.get(instance_id)
        if machine is None or machine.instance.state not in ("running", "stopping"):
            return "dropped"
        for kind in ("ssh-silent", "ssh-dropped", "ssh-refused"):
            if kind in machine.faults:
                return kind.removeprefix("ssh-")
        return self.hosts.ssh_fault(instance_id)

    def close(self) -> None:
        """No call is answered any more."""
        if self._open:
            self._open = False
            self._cloud.lifecycle.close()
            self.clock.close()

    def _build(self, seed: int, dwell: StateDurations) -> None:
        from moto.moto_api._internal import mock_random

        from localcloud.assembly.cloud import CloudParts, build
        from localcloud.assembly.instance_spec import HostSpecs

        mock_random.seed(seed)
        world = CloudEnvironment(self.clock, FaultEngine(self.clock), dwell)

        def make_hosts(on_shutdown: Callable[[str], None]) -> SimulatedHosts:
            self.hosts = SimulatedHosts(self.clock, on_shutdown, self._life)
            return self.hosts

        specs = HostSpecs(_nowhere(), AddressBlock(0), dwell.boot_s)
        parts = CloudParts(world, AddressBlock(0), make_hosts, specs, lambda _: b"", lambda *_: _NoPort())
        self._cloud = build(parts)
        self._cloud.lifecycle.on_change = self._count
        self._chain = self._cloud.application(_moto())

    def _answer(self, request: AWSPreparedRequest, timeout: float) -> tuple[int, dict[str, str], bytes]:
        from localcloud.simulation.boto_session import wsgi_environ

        if not self._open:
            raise LocalCloudError("this cloud is closed; there is one at a time, and the newest counts")
        asked, body = wsgi_environ(request)
        annotate_call(asked, body)
        self._call_count += 1
        number, action = self._call_count, asked[ACTION]
        self.on_call_boundary("before", action, number)
        self.clock.sleep(LATENCY_S)
        answer = self._pass(asked, request.url, timeout)
        self.on_call_boundary("after", action, number)
        return answer

    def _pass(self, asked: dict[str, Any], url: str, timeout: float) -> tuple[int, dict[str, str], bytes]:
        """Send a request down the chain, and back whatever a transport would bring, or raise."""
        from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

        told: list[Any] = []
        try:
            body = b"".join(self._chain(asked, lambda status, headers, *_: told.extend((status, headers))))
        except ConnectionDropped as error:
            raise ConnectionClosedError(endpoint_url=url, error=error) from None
        late = asked.get(DELAY, 0.0)
        self.clock.sleep(min(late, timeout))
        if late >= timeout:
            raise ReadTimeoutError(endpoint_url=url)
        return int(told[0].split()[0]), dict(told[1]), body

    def _count(self, machine: TrackedInstance) -> None:
        instance = machine.instance
        before = self._owner_of.pop(instance.id, None)
        if instance.state not in _COUNTED:
            return
        owner = before if before is not None else _tags(machine).get(self._owner_tag, "")
        self._owner_of[instance.id] = owner
        self._max_live[None] = max(self._max_live[None], len(self._owner_of))
        self._max_live[owner] = max(self._max_live[owner], sum(one == owner for one in self._owner_of.values()))


class _NoPort:
    def close(self) -> None:
        """Nothing was opened."""


def _nowhere() -> Any:
    """A folder that is named, and never made."""
    from localcloud.core.home import Home

    return Home(Path("/nowhere"))


@cache
def _moto() -> Application:
    from localcloud.assembly.cloud import moto_application

    return moto_application()


@cache
def _freeze_gc() -> None:
    """Once a first cloud has lived all is loaded: a million objects that never go, and no collection need walk."""
    import gc

    gc.collect()
    gc.freeze()


def _tags(machine: TrackedInstance) -> dict[str, str]:
    # Not as EC2 tells them, which may not know the machine yet.
    instance = machine.instance
    return dict(instance.ec2_backend.tags.get(instance.id, {}))


def _describe(machine: TrackedInstance) -> LiveInstance:
    from localcloud.aws.quotas import market_of

    one = machine.instance
    return LiveInstance(one.id, one.state, one.instance_type, market_of(one), _tags(machine), machine.launched_at)
