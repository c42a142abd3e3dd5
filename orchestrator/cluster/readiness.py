"""Machines as they come up: each goes on to SSH, and to whatever comes next, the moment it runs itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from orchestrator.aws.ec2 import instances as ec2_instances
from orchestrator.aws.ec2 import waiters
from orchestrator.aws.ec2.instances import Instance
from orchestrator.aws.launch.plan import LaunchPlan
from orchestrator.cluster.context import ClusterContext, Runtime
from orchestrator.cluster.health import InstanceHealth
from orchestrator.cluster.inventory import Inventory
from orchestrator.cluster.replacement import Replacer
from orchestrator.core.errors import HostError, HostsFailed
from orchestrator.core.events import Event, EventHandler
from orchestrator.core.host import Host
from orchestrator.core.next_step import NextStep, add_advice
from orchestrator.hosts import parallel

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient


T = TypeVar("T")

LaunchOne = Callable[[LaunchPlan], Instance]
Running = Future[tuple[Instance, float]]

# How long the thread that asks EC2 may take to hand over its last word after its own deadline.
GRACE_S = 30.0


@dataclass(frozen=True)
class HostStartup:
    """How one host came up, seconds: ``pending`` request to running, ``boot`` to SSH, ``ssh`` one round trip."""

    name: str
    zone: str
    pending_s: float
    boot_s: float
    ssh_s: float

    @property
    def phases(self) -> dict[str, float]:
        """Seconds per phase, in the order of the phases."""
        return {"pending": self.pending_s, "boot": self.boot_s, "ssh": self.ssh_s}


def _as_it_is(host: Host) -> Host:
    return host


@dataclass(frozen=True)
class ReadyHost(Generic[T]):
    """A host that came up, and what was done on it then."""

    startup: HostStartup
    host: Host
    result: T


@dataclass(frozen=True)
class ReadinessWaiter:
    """How machines become hosts.

    :param links: opens the SSH sessions.
    :param host_of: turns a running instance into a host.
    :param watch: yields the instances of some ids once each, as they run; raises at its deadline or when one dies, and
        tells its second argument of those that will not run as soon as that is known.
    :param died: asked while SSH is waited for: why the machine of that id died, or nothing while it lives.
    :param running_s: deadline for running, seconds.
    :param ready_s: deadline for SSH after that, seconds.
    :param replace: returns the instance that takes a failed host's place, given its name, why it failed, and whether
        others came up; None when none does.
    :param means: time and threads.
    :param arrived: names of the hosts that came up.
    :param renew: gives a host its own host key in the first session, and returns it with that key.
    """

    ssh: SshClient
    host_of: Callable[[Instance], Host]
    watch: Callable[[Sequence[str], Callable[[str, HostError], None]], Iterator[Instance]]
    failure_reason: Callable[[str], str]
    tell: EventHandler
    running_s: float
    ready_s: float
    rotate_host_key: Callable[[Host], Host] = _as_it_is
    replace: Callable[[str, Exception, bool], Instance | None] = lambda name, error, others_up: None
    runtime: Runtime = field(default_factory=Runtime)
    ready_names: list[str] = field(default_factory=list)

    def wait(self, instance_ids: Mapping[str, str], on_ready: Callable[[Host], T]) -> parallel.Outcomes[ReadyHost[T]]:
        """Bring up machines and do ``then`` on each; nobody waits for the slowest.

        :param ids: name -> id of the machines.
        :return: every name's outcome.
        """
        running: dict[str, Running] = {name: Future() for name in instance_ids}
        if self.runtime.sequential:
            self._feed(instance_ids, running)
        else:
            threading.Thread(target=self._feed, args=(instance_ids, running), name="arrivals", daemon=True).start()
        expected = [Host(name, "", "", 0, "", Path(), "", "") for name in instance_ids]
        return self.runtime.for_each(
            expected,
            lambda host: self._one(host.name, running[host.name], on_ready),
            clock=self.runtime.clock,
            max_workers=len(instance_ids),
        )

    def _feed(self, ids: Mapping[str, str], running: Mapping[str, Running]) -> None:
        """Hand every instance to the thread that waits for it; an error goes to those that it is about."""
        names = {identity: name for name, identity in ids.items()}
        began = self.runtime.clock.monotonic()

        def lost(name: str, error: Exception) -> None:
            if name in running and not running[name].done():
                running[name].set_exception(error)

        failure: Exception | None = None
        try:
            for instance in self.watch(list(names), lost):
                running[names[instance.id]].set_result((instance, self.runtime.clock.monotonic() - began))
        except Exception as error:
            failure = error
        known = failure.errors if isinstance(failure, HostsFailed) else {}
        for name, identity in ids.items():
            # A machine that was never shown goes by its id.
            why = known.get(name) or known.get(identity) or failure
            lost(name, why or HostError("it was never seen running", where=name))

    def _one(self, name: str, running: Running, then: Callable[[Host], T]) -> ReadyHost[T]:
        try:
            ready, host = self._up(name, lambda: running.result(self.running_s + GRACE_S))
        except Exception as error:
            instance = self.replace(name, error, bool(self.ready_names))
            if instance is None:
                raise
            ready, host = self._up(name, lambda: self._runs(instance))
        self.ready_names.append(name)
        return ReadyHost(ready, host, then(host))

    def _runs(self, instance: Instance) -> tuple[Instance, float]:
        """Wait until a machine that came later runs."""
        began = self.runtime.clock.monotonic()
        (running,) = self.watch([instance.id], lambda name, error: None)
        return running, self.runtime.clock.monotonic() - began

    def _up(self, name: str, wait: Callable[[], tuple[Instance, float]]) -> tuple[HostStartup, Host]:
        """Bring up one machine, from pending to a host key of its own."""
        instance, pending = self._phase(name, "pending", wait)
        host = self.host_of(instance)
        boot = self._phase(name, "boot", lambda: self._boot(host))
        ssh = self._phase(
            name, "ssh", lambda: self.ssh.run(host, "true", timeout_s=30).raise_if_failed("the first command").seconds
        )
        return HostStartup(name, instance.zone, pending, boot, ssh), self.rotate_host_key(host)

    def _boot(self, host: Host) -> float:
        return self.ssh.wait_until_ready(
            host, timeout_s=self.ready_s, failure_reason=lambda: self.failure_reason(host.identity)
        )

    def _phase(self, name: str, phase: str, work: Callable[[], T]) -> T:
        """Do one phase of one host and tell how it went."""
        began = self.runtime.clock.monotonic()
        self.tell(Event(name, phase, "start"))
        try:
            result = work()
        except Exception as error:
            self.tell(Event(name, phase, "failed", self.runtime.clock.monotonic() - began, str(error).splitlines()[0]))
            raise
        self.tell(Event(name, phase, "done", self.runtime.clock.monotonic() - began))
        return result


def wait_until_ready(
    inventory: Inventory,
    launched: Sequence[Instance],
    on_ready: Callable[[Host], T],
    *,
    replace: Replacer | None = None,
) -> parallel.Outcomes[ReadyHost[T]]:
    """Wait until instances answer SSH and call ``on_ready`` for each as soon as it does, independent of the others.

    :param on_ready: called from one thread per host.
    :param replace: replaces, once, an instance that dies on the way or never answers.
    """
    context = inventory.context
    by_name = replace.instances if replace else {instance.name: instance for instance in launched}
    timeout_s = context.settings.ssh.ready_timeout
    waiter = ReadinessWaiter(
        ssh=context.ssh,
        host_of=lambda shown: inventory.host(_with_tags(by_name, shown)),
        watch=lambda ids, lost: _watch_running(context, ids, lost),
        tell=context.tell,
        running_s=timeout_s,
        failure_reason=InstanceHealth(
            context.clients, lambda: [instance.id for instance in by_name.values()], context.clock
        ),
        ready_s=timeout_s,
        rotate_host_key=context.key_rotation,
        replace=replace or _replace_nothing,
        runtime=context.runtime,
    )
    with _noting_remaining_instances(by_name.values()):
        try:
            return waiter.wait({name: instance.id for name, instance in by_name.items()}, on_ready)
        except KeyboardInterrupt:
            if replace:
                replace.stop()
            raise
        finally:
            context.clear_boot_key_tags()


def replacer(
    context: ClusterContext, plan: LaunchPlan, launched: Sequence[Instance], launch_one: LaunchOne
) -> Replacer:
    """Return what replaces instances of one launch."""
    by_name = {instance.name: instance for instance in launched}
    return Replacer(context.clients, plan, by_name, launch_one, context.tell, context.clock)


def _watch_running(
    context: ClusterContext, ids: Sequence[str], lost: Callable[[str, HostError], None]
) -> Iterator[Instance]:
    return waiters.wait_for_state(
        context.clients,
        ids,
        state="running",
        deadline_s=context.settings.ssh.ready_timeout,
        on_lost=lost,
    )


def _with_tags(by_name: Mapping[str, Instance], shown: Instance) -> Instance:
    """Return an instance as EC2 shows it, with the tags that it was launched with: EC2 may not show them yet."""
    return next(
        (ec2_instances.with_known_tags(shown, instance) for instance in by_name.values() if instance.id == shown.id),
        shown,
    )


def _replace_nothing(name: str, error: Exception, others_up: bool) -> None:
    """Replace no instance."""


@contextmanager
def _noting_remaining_instances(instances: Collection[Instance]) -> Iterator[None]:
    """Add the instances that exist now to a Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt as error:
        count = f"{len(instances)} machine{'s are' if len(instances) != 1 else ' is'} up or coming up"
        listed = ", ".join(f"{instance.name} ({instance.id})" for instance in instances)
        go_on = NextStep("InstallDeps") + " continues with them; " + NextStep("TerminateAll") + " terminates them."
        add_advice(error, f"{count}: {listed}.", go_on)
        raise
