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

from localcloud.aws.wsgi import ACTION, Application, name_call
from localcloud.core.addresses import Block
from localcloud.core.clock import VirtualClock
from localcloud.core.errors import LocalCloudError
from localcloud.ec2.environment import Dwell, World
from localcloud.fault_injection.api_calls import LATE, Dropped, Seen
from localcloud.hosts.simulated import Life, PaperHosts
from localcloud.scenarios.fault_engine import Weather
from localcloud.scenarios.scenario import Scenario

if TYPE_CHECKING:
    import boto3
    from botocore.awsrequest import AWSPreparedRequest

    from localcloud.ec2.lifecycle import Machine

# Called around every call with "before" or "after", the action, and the call's number, from 1; what it raises is what
# the caller gets.
Boundary = Callable[[str, str, int], None]

# Seconds that a call takes.
LATENCY = 0.05
_COUNTED = ("pending", "running", "stopping", "stopped")


class Crash(BaseException):
    """The laptop dies at this boundary. Its session answers every later call with this, too: the dead call nobody."""


@dataclass(frozen=True)
class Alive:
    """An instance that has not ended.

    :param launched: when, on the cloud's clock.
    """

    id: str
    state: str
    type: str
    market: str
    tags: Mapping[str, str]
    launched: float


class MemoryCloud:
    """A cloud that lives as long as its object; a context manager.

    :param seed: of everything that is made up: ids, addresses, chances.
    :param scenario: what goes wrong.
    :param clock: its time; whoever waits calls its ``sleep``.
    :param dwell: how long states last; EC2's own times by default.
    :param owner_tag: names the tag that ``most_alive`` looks at.
    :param life: reads from user data how long a machine lives; see ``PaperHosts``.
    """

    _current: ClassVar[MemoryCloud | None] = None

    def __init__(
        self,
        seed: int = 0,
        scenario: Scenario | None = None,
        clock: VirtualClock | None = None,
        *,
        dwell: Dwell | None = None,
        owner_tag: str = "stratus:owner",
        life: Life | None = None,
    ) -> None:
        if MemoryCloud._current is not None:
            MemoryCloud._current.close()
            _settle_down()
        MemoryCloud._current = self
        self.clock = clock or VirtualClock()
        #: Called around every call.
        self.at_boundary: Boundary = lambda _phase, _action, _number: None
        self._owner_tag = owner_tag
        self._chance = random.Random(f"{seed}/retries")
        self._number, self._open = 0, True
        self._alive: dict[str, str] = {}
        self._most: Counter[str | None] = Counter()
        self._life = life
        self._put_together(seed, dwell or Dwell.real())
        self.begin(scenario or Scenario())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def session(self) -> boto3.Session:
        """A session as on another laptop with the same keys; one that met a ``Crash`` is dead, others go on."""
        from localcloud.aws.identity import ACCESS_KEY_ID, SECRET_ACCESS_KEY
        from localcloud.simulation.boto_session import Laptop

        died: list[Crash] = []

        def answer(request: AWSPreparedRequest, timeout: float) -> tuple[int, dict[str, str], bytes]:
            if died:
                raise died[0]
            try:
                return self._answer(request, timeout)
            except Crash as crash:
                died.append(crash)
                raise

        return Laptop(answer, self.clock, self._chance, keys=(ACCESS_KEY_ID, SECRET_ACCESS_KEY))

    def begin(self, scenario: Scenario) -> None:
        """Play another scenario from now on."""
        self._cloud.begin(scenario)

    @property
    def calls(self) -> list[Seen]:
        """The calls so far, as :func:`localcloud.calls` tells them."""
        return list(self._cloud.seen)

    def alive(self) -> list[Alive]:
        """Every instance that is not terminated, whoever's it is, in the order of launches."""
        machines = self._cloud.lifecycle.machines.values()
        return [_told(machine) for machine in machines if machine.instance.state != "terminated"]

    def most_alive(self, owner: str | None = None) -> int:
        """The largest number of instances that were alive at once; those on their way out do not count.

        :param owner: value of the owner's tag, empty for those without one; None for all instances.
        """
        return self._most[owner]

    def reach(self, instance_id: str) -> str:
        """What keeps a machine from answering SSH now, ``silent`` or ``refused``; empty when nothing does."""
        machine = self._cloud.lifecycle.machines.get(instance_id)
        if machine is None or machine.instance.state not in ("running", "stopping"):
            return "dropped"
        for kind in ("ssh-silent", "ssh-dropped", "ssh-refused"):
            if kind in machine.faults:
                return kind.removeprefix("ssh-")
        return self.hosts.reach(instance_id)

    def close(self) -> None:
        """No call is answered any more."""
        if self._open:
            self._open = False
            self._cloud.lifecycle.close()
            self.clock.close()

    def _put_together(self, seed: int, dwell: Dwell) -> None:
        from moto.moto_api._internal import mock_random

        from localcloud.assembly.cloud import Parts, assemble
        from localcloud.assembly.instance_spec import Specs

        mock_random.seed(seed)
        world = World(self.clock, Weather(self.clock), dwell)

        def make_hosts(on_shutdown: Callable[[str], None]) -> PaperHosts:
            self.hosts = PaperHosts(self.clock, on_shutdown, self._life)
            return self.hosts

        specs = Specs(_nowhere(), Block(0), dwell.boot)
        parts = Parts(world, Block(0), make_hosts, specs, lambda _: b"", lambda *_: _NoPort())
        self._cloud = assemble(parts)
        self._cloud.lifecycle.on_change = self._count
        self._chain = self._cloud.chain(_moto())

    def _answer(self, request: AWSPreparedRequest, timeout: float) -> tuple[int, dict[str, str], bytes]:
        from localcloud.simulation.boto_session import environ

        if not self._open:
            raise LocalCloudError("this cloud is closed; there is one at a time, and the newest counts")
        asked, body = environ(request)
        name_call(asked, body)
        self._number += 1
        number, action = self._number, asked[ACTION]
        self.at_boundary("before", action, number)
        self.clock.sleep(LATENCY)
        answer = self._pass(asked, request.url, timeout)
        self.at_boundary("after", action, number)
        return answer

    def _pass(self, asked: dict[str, Any], url: str, timeout: float) -> tuple[int, dict[str, str], bytes]:
        """Send a request down the chain, and back whatever a transport would bring, or raise."""
        from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

        told: list[Any] = []
        try:
            body = b"".join(self._chain(asked, lambda status, headers, *_: told.extend((status, headers))))
        except Dropped as error:
            raise ConnectionClosedError(endpoint_url=url, error=error) from None
        late = asked.get(LATE, 0.0)
        self.clock.sleep(min(late, timeout))
        if late >= timeout:
            raise ReadTimeoutError(endpoint_url=url)
        return int(told[0].split()[0]), dict(told[1]), body

    def _count(self, machine: Machine) -> None:
        instance = machine.instance
        before = self._alive.pop(instance.id, None)
        if instance.state not in _COUNTED:
            return
        owner = before if before is not None else _tags(machine).get(self._owner_tag, "")
        self._alive[instance.id] = owner
        self._most[None] = max(self._most[None], len(self._alive))
        self._most[owner] = max(self._most[owner], sum(one == owner for one in self._alive.values()))


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
def _settle_down() -> None:
    """Once a first cloud has lived all is loaded: a million objects that never go, and no collection need walk."""
    import gc

    gc.collect()
    gc.freeze()


def _tags(machine: Machine) -> dict[str, str]:
    # Not as EC2 tells them, which may not know the machine yet.
    instance = machine.instance
    return dict(instance.ec2_backend.tags.get(instance.id, {}))


def _told(machine: Machine) -> Alive:
    from localcloud.aws.quotas import market_of

    one = machine.instance
    return Alive(one.id, one.state, one.instance_type, market_of(one), _tags(machine), machine.launched_at)
