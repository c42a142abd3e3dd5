"""Wait until instances answer SSH; each host goes on to the next step as soon as its own SSH is up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from orchestrator.aws.ec2 import host_names, waiters
from orchestrator.aws.ec2 import instances as ec2_instances
from orchestrator.aws.ec2.instances import Instance
from orchestrator.cluster.health import InstanceHealth
from orchestrator.cluster.inventory import Inventory
from orchestrator.cluster.replacement import Replacer
from orchestrator.core.clock import Backoff
from orchestrator.core.errors import ConnectError, HostError, HostsFailed, first_line
from orchestrator.core.events import Event
from orchestrator.core.host import Host
from orchestrator.core.next_step import NextStep, add_advice
from orchestrator.hosts import efa, gpu_health, parallel

if TYPE_CHECKING:
    from orchestrator.ssh import CommandResult

T = TypeVar("T")

Running = Future[tuple[Instance, float]]
"""A running instance, and the seconds that it was pending."""

GRACE_S = 30.0
"""How long the watching thread may take to deliver its results after its own deadline."""

FIRST_COMMAND_TIMEOUT_S = 30.0
FIRST_COMMAND_BACKOFF = Backoff(1.0, 10.0)


@dataclass(frozen=True)
class HostStartup:
    """Durations of one host's startup.

    :param pending_s: from the request to the state running.
    :param boot_s: from there to the first answer of SSH.
    :param ssh_s: of the first command.
    """

    name: str
    zone: str
    pending_s: float
    boot_s: float
    ssh_s: float

    @property
    def phases(self) -> dict[str, float]:
        """Seconds per phase, in the order of the phases."""
        return {"pending": self.pending_s, "boot": self.boot_s, "ssh": self.ssh_s}


@dataclass(frozen=True)
class ReadyHost(Generic[T]):
    """A host that answers SSH.

    :param result: returned by the work that followed on it.
    """

    startup: HostStartup
    host: Host
    result: T


def wait_until_ready(
    inventory: Inventory,
    launched: Sequence[Instance],
    on_ready: Callable[[Host], T],
    *,
    replacer: Replacer | None = None,
) -> parallel.Outcomes[ReadyHost[T]]:
    """Wait until instances answer SSH, and call ``on_ready`` for each as soon as it does.

    :param on_ready: called from one thread per host.
    :param replacer: replaces, once, an instance that dies on the way or never answers; None replaces none.
    """
    context = inventory.context
    instances = replacer.instances if replacer else {instance.name: instance for instance in launched}
    health = InstanceHealth(context.clients, lambda: [instance.id for instance in instances.values()])
    waiter = ReadinessWaiter(inventory, instances, health, replacer)
    with _listing_instances_on_interrupt(instances.values()):
        try:
            return waiter.wait(on_ready)
        except KeyboardInterrupt:
            if replacer:
                replacer.stop()
            raise
        finally:
            inventory.all_ready()


@dataclass(frozen=True)
class ReadinessWaiter:
    """Waits for the instances of one launch: one thread polls EC2 for all of them, one per host waits for SSH.

    :param instances: name -> instance as it was launched; changes when one is replaced.
    """

    inventory: Inventory
    instances: Mapping[str, Instance]
    health: InstanceHealth
    replacer: Replacer | None
    _ready_names: list[str] = field(default_factory=list)
    _shown: dict[str, Instance] = field(default_factory=dict)
    _without_efa: dict[str, list[str]] = field(default_factory=dict)

    def wait(self, on_ready: Callable[[Host], T]) -> parallel.Outcomes[ReadyHost[T]]:
        """Wait for all instances and call ``on_ready`` for each that is ready; return one outcome per name."""
        runtime = self.inventory.context.runtime
        # A snapshot: a replacement is watched by the thread that asked for it.
        ids = {instance.id: name for name, instance in self.instances.items()}
        running: dict[str, Running] = {name: Future() for name in ids.values()}
        if runtime.sequential:
            self._watch(ids, running)
        else:
            # A daemon: after a Ctrl-C it must not keep the process alive until its deadline.
            threading.Thread(target=self._watch, args=(ids, running), name="readiness", daemon=True).start()
        # Only the names are known yet: an instance has addresses once it runs.
        outcomes = runtime.for_each(
            [Host(name, "", "", 0, "", Path(), "", "") for name in running],
            lambda host: self._bring_up(host.name, running[host.name], on_ready),
            clock=runtime.clock,
            max_workers=len(running),
        )
        for problem, names in self._without_efa.items():
            text = f"EFA cannot be used on {' '.join(sorted(names, key=host_names.sort_key))}: {problem}; {efa.FIX}"
            self.inventory.context.on_event(Event("", "efa", "warning", text=text))
        return outcomes

    # -- instances, until they run

    def _watch(self, ids: Mapping[str, str], running: Mapping[str, Running]) -> None:
        """Settle the future of every instance: running, or failed.

        :param ids: instance id -> name.
        """
        clock = self.inventory.context.clock
        began = clock.monotonic()

        def fail(name: str, error: Exception) -> None:
            if name in running and not running[name].done():
                running[name].set_exception(error)

        failure: Exception | None = None
        try:
            for instance in self._wait_running(ids, fail):
                running[ids[instance.id]].set_result((instance, clock.monotonic() - began))
        except Exception as error:
            # Whatever it is, it must reach the hosts' threads: they would wait for their futures in vain.
            failure = error
        errors = failure.errors if isinstance(failure, HostsFailed) else {}
        for instance_id, name in ids.items():
            # An instance that EC2 never showed is listed by its id.
            cause = errors.get(name) or errors.get(instance_id) or failure
            fail(name, cause or HostError("EC2 never showed it running", where=name))

    def _wait_running(self, ids: Collection[str], on_lost: Callable[[str, HostError], None]) -> Iterator[Instance]:
        context = self.inventory.context
        pending_at: dict[str, datetime] = {}

        def on_waiting(instance: Instance) -> None:
            pending_at[instance.id] = context.clock.now()

        try:
            yield from waiters.wait_for_state(
                context.clients,
                list(ids),
                state="running",
                deadline_s=context.settings.ssh.ready_timeout,
                on_lost=on_lost,
                on_waiting=on_waiting,
            )
        finally:
            # EC2 bills from running on, and shows only the time of the request. Not the time at which an instance is
            # first shown running: EC2 may show it late, and the cost would be too low.
            if pending_at:
                context.launch_log.record_running(pending_at)

    def _wait_one_running(self, instance: Instance) -> tuple[Instance, float]:
        clock = self.inventory.context.clock
        began = clock.monotonic()
        (running,) = self._wait_running([instance.id], lambda name, error: None)
        return running, clock.monotonic() - began

    # -- one host, in its own thread

    def _bring_up(self, name: str, running: Running, on_ready: Callable[[Host], T]) -> ReadyHost[T]:
        timeout_s = self.inventory.context.settings.ssh.ready_timeout + GRACE_S
        try:
            startup, host = self._connect(name, lambda: running.result(timeout_s))
            self._check_gpus(host)
        except Exception as error:
            replacement = self._replace(name, error)
            if replacement is None:
                raise
            startup, host = self._connect(name, lambda: self._wait_one_running(replacement))
            self._check_gpus(host)
        # Not a reason to replace the VM: another one would get the same settings.
        self._mount(host)
        self._check_efa(host)
        self._ready_names.append(name)
        return ReadyHost(startup, host, on_ready(host))

    def _replace(self, name: str, error: Exception) -> Instance | None:
        if self.replacer is None:
            return None
        return self.replacer.replace(name, error, others_ready=bool(self._ready_names))

    def _connect(self, name: str, wait_running: Callable[[], tuple[Instance, float]]) -> tuple[HostStartup, Host]:
        """Bring one instance from pending to a host with a host key of its own."""
        instance, pending_s = self._phase(name, "pending", wait_running)
        self._shown[instance.id] = self._with_tags(instance)
        host = self.inventory.host(self._shown[instance.id])
        boot_s = self._phase(name, "boot", lambda: self._wait_for_ssh(host))
        result = self._phase(name, "ssh", lambda: self._run_first_command(host))
        startup = HostStartup(name, instance.zone, pending_s, boot_s, result.seconds)
        return startup, self.inventory.rotate_host_key(host, result)

    def _check_gpus(self, host: Host) -> None:
        """Check the GPUs of a host that was just launched.

        :raises HostError: one is bad.
        """
        context = self.inventory.context
        if self.replacer is None or not context.settings.vms.gpu_check:
            return
        if count := self.replacer.plan.nvidia_gpus(self._shown[host.identity].type):
            self._phase(host.name, "gpu", lambda: gpu_health.check(context.ssh, host, count))

    def _check_efa(self, host: Host) -> None:
        """Note why a host cannot use the adapters that the plan gives it: it is of use without them."""
        if self.replacer is None or not self.replacer.plan.efa_interfaces:
            return
        if problem := efa.problem(self.inventory.context.ssh, host):
            self._without_efa.setdefault(problem, []).append(host.name)

    def _mount(self, host: Host) -> None:
        instance = self._shown[host.identity]
        if instance.disks.mounts:
            self._phase(host.name, "disks", lambda: self.inventory.disks.mount(host, instance))

    def _with_tags(self, running: Instance) -> Instance:
        """Return an instance with the tags that it was launched with: EC2 may not show them yet."""
        launched = (instance for instance in self.instances.values() if instance.id == running.id)
        return next((ec2_instances.with_known_tags(running, instance) for instance in launched), running)

    def _wait_for_ssh(self, host: Host) -> float:
        context = self.inventory.context
        return context.ssh.wait_until_ready(
            host,
            timeout_s=context.settings.ssh.ready_timeout,
            failure_reason=lambda: self.health.failure_reason(host.identity),
        )

    def _run_first_command(self, host: Host) -> CommandResult:
        """Run a command, and again while it fails: sshd accepts connections before logins work, and a boot is slow."""
        context, command = self.inventory.context, self.inventory.first_command(host)
        error = HostError("the first command was not tried", where=host.name)
        for _ in context.clock.attempts(context.settings.ssh.ready_timeout, FIRST_COMMAND_BACKOFF):
            try:
                result = context.ssh.run(host, command, timeout_s=FIRST_COMMAND_TIMEOUT_S)
                return result.raise_if_failed("the first command")
            except HostError as failure:
                error = failure
                if isinstance(failure, ConnectError) and failure.kind in ("host-key", "key-file"):
                    break
                if reason := self.health.failure_reason(host.identity):
                    raise HostError(f"the VM stopped after SSH was up: {reason}", where=host.name) from failure
        raise error

    def _phase(self, name: str, phase: str, work: Callable[[], T]) -> T:
        """Do one phase of one host's startup, and report its start and end."""
        context = self.inventory.context
        began = context.clock.monotonic()
        context.on_event(Event(name, phase, "start"))
        try:
            result = work()
        except Exception as error:
            context.on_event(Event(name, phase, "failed", context.clock.monotonic() - began, first_line(error)))
            raise
        context.on_event(Event(name, phase, "done", context.clock.monotonic() - began))
        return result


@contextmanager
def _listing_instances_on_interrupt(instances: Collection[Instance]) -> Iterator[None]:
    """Add to a Ctrl-C which instances run at that moment, and what to do with them."""
    try:
        yield
    except KeyboardInterrupt as error:
        count = f"{len(instances)} VM{'s are' if len(instances) != 1 else ' is'} up or starting"
        names = ", ".join(f"{instance.name} ({instance.id})" for instance in instances)
        choice = NextStep("InstallDeps") + " continues with them; " + NextStep("TerminateAll") + " terminates them."
        add_advice(error, f"{count}: {names}.", choice)
        raise
