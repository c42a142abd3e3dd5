"""The same work on many hosts in parallel; every host has an outcome, whatever happens."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

from orchestrator.core.clock import Clock
from orchestrator.core.errors import HostError, HostsFailed
from orchestrator.core.host import Host

T = TypeVar("T")

MAX_WORKERS = 64
"""Hosts worked on at the same time: more threads than this only wait for one another."""


class HostUnfinished(HostError):
    """The work on a host had not ended in time; it may still go on there."""

    json_name = "Unfinished"


class HostInterrupted(HostUnfinished):
    """The work on a host had not ended when the user pressed Ctrl-C."""

    json_name = "Interrupted"


class HostsInterrupted(KeyboardInterrupt):
    """Ctrl-C during work on hosts; ``outcomes`` has an entry for each of them."""

    def __init__(self, outcomes: Outcomes[Any]) -> None:
        super().__init__("interrupted")
        self.outcomes = outcomes


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """Result of the work on one host: a value or an error.

    :param seconds: from its start; 0 when it never began.
    """

    host: Host
    value: T | None
    error: Exception | None
    seconds: float

    @property
    def ok(self) -> bool:
        """True if there is a value."""
        return self.error is None

    def unwrap(self) -> T:
        """Return the value.

        :raises Exception: the error, when there is one instead.
        """
        if self.error is not None:
            raise self.error
        return cast(T, self.value)


class Outcomes(Mapping[str, Outcome[T]]):
    """Host name -> outcome, in the order of the hosts."""

    def __init__(self, outcomes: Sequence[Outcome[T]]) -> None:
        self._outcomes = {outcome.host.name: outcome for outcome in outcomes}

    def __getitem__(self, name: str) -> Outcome[T]:
        return self._outcomes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._outcomes)

    def __len__(self) -> int:
        return len(self._outcomes)

    def __repr__(self) -> str:
        return f"<Outcomes: {len(self.succeeded)} ok, {len(self.failed)} failed>"

    @property
    def succeeded(self) -> Outcomes[T]:
        """Outcomes with a value."""
        return Outcomes([outcome for outcome in self.values() if outcome.ok])

    @property
    def failed(self) -> Outcomes[T]:
        """Outcomes with an error."""
        return Outcomes([outcome for outcome in self.values() if not outcome.ok])

    @property
    def errors(self) -> dict[str, Exception]:
        """Host name -> error, of the failed ones."""
        return {name: outcome.error for name, outcome in self.items() if outcome.error is not None}

    def successful_values(self) -> list[T]:
        """Return the values of the outcomes that succeeded, in the order of the hosts."""
        return [outcome.unwrap() for outcome in self.values() if outcome.ok]

    def raise_if_failed(self, message: str) -> Outcomes[T]:
        """Return these outcomes if all succeeded.

        :param message: what failed: ``install failed``.
        :raises HostsFailed: with every error, the first one chained.
        """
        errors = self.errors
        if not errors:
            return self
        raise HostsFailed(f"{message} on {len(errors)} of {len(self)} VMs", errors) from next(iter(errors.values()))


class ForEach(Protocol):
    """Runner of the same work on many hosts: :func:`for_each` or :func:`for_each_sequential`."""

    def __call__(
        self,
        hosts: Sequence[Host],
        work: Callable[[Host], T],
        *,
        clock: Clock,
        max_workers: int = MAX_WORKERS,
        timeout_s: float | None = None,
        on_done: Callable[[Outcome[T]], None] | None = None,
    ) -> Outcomes[T]:
        """Call ``work`` with every host; see :func:`for_each`."""


def for_each_sequential(
    hosts: Sequence[Host],
    work: Callable[[Host], T],
    *,
    clock: Clock,
    max_workers: int = MAX_WORKERS,  # noqa: ARG001 - the signature of `for_each`
    timeout_s: float | None = None,  # noqa: ARG001 - no thread that could be abandoned
    on_done: Callable[[Outcome[T]], None] | None = None,
) -> Outcomes[T]:
    """Call ``work`` with one host after another, in their order and without threads: a repeatable `for_each`.

    :raises HostsInterrupted: on Ctrl-C, as `for_each` does.
    """
    workers = _Workers(hosts, work, clock)
    try:
        for host in hosts:
            workers.started_at[host.name] = clock.monotonic()
            outcome = workers.outcome_of[host.name] = workers.attempt_here(host)
            if on_done is not None:
                on_done(outcome)
    except KeyboardInterrupt as interrupt:
        raise HostsInterrupted(workers.result(HostInterrupted, "interrupted")) from interrupt
    return workers.result(HostUnfinished, "not done")


def for_each(
    hosts: Sequence[Host],
    work: Callable[[Host], T],
    *,
    clock: Clock,
    max_workers: int = MAX_WORKERS,
    timeout_s: float | None = None,
    on_done: Callable[[Outcome[T]], None] | None = None,
) -> Outcomes[T]:
    """Call ``work`` with every host at the same time and return the outcomes; errors are outcomes, not raised.

    :param hosts: distinct by name.
    :param clock: measures durations and the timeout.
    :param max_workers: hosts worked on at the same time.
    :param timeout_s: seconds after which unfinished hosts count as :class:`HostUnfinished`; their threads are
        abandoned and do not keep the program from exiting.
    :param on_done: called in this thread with each outcome as it arrives, the fastest host first.
    :raises ValueError: two hosts have the same name.
    :raises HostsInterrupted: on Ctrl-C, with the outcomes known by then; it is a KeyboardInterrupt.
    """
    # Outcomes are stored by name: one of the two would be lost.
    if len({host.name for host in hosts}) != len(hosts):
        raise ValueError("two hosts have the same name")
    workers = _Workers(hosts, work, clock)
    deadline = None if timeout_s is None else clock.monotonic() + timeout_s
    try:
        workers.start(max_workers)
        for outcome in workers.outcomes(deadline):
            if on_done is not None:
                on_done(outcome)
    except KeyboardInterrupt as interrupt:
        raise HostsInterrupted(workers.result(HostInterrupted, "interrupted")) from interrupt
    # Also after an error of on_done: no thread may begin with another host then.
    finally:
        workers.cancel_waiting()
    return workers.result(HostUnfinished, f"not done after {timeout_s or 0:g} s")


class _Workers(Generic[T]):
    """Threads that work on hosts, and the outcomes so far."""

    def __init__(self, hosts: Sequence[Host], work: Callable[[Host], T], clock: Clock) -> None:
        self.hosts = hosts
        self.work = work
        self.clock = clock
        # deque.popleft() is atomic: threads take hosts without a lock.
        self.waiting = deque(hosts)
        self.started_at: dict[str, float] = {}
        self.finished: queue.SimpleQueue[Outcome[T]] = queue.SimpleQueue()
        self.outcome_of: dict[str, Outcome[T]] = {}

    def start(self, max_workers: int) -> None:
        """Start the threads; daemons, since one of them may hang on a host forever."""
        for _ in range(min(max(max_workers, 1), len(self.hosts))):
            threading.Thread(target=self.run_worker, name="host-worker", daemon=True).start()

    def run_worker(self) -> None:
        """Work on one host after another until none is waiting."""
        while True:
            try:
                host = self.waiting.popleft()
            except IndexError:
                return
            self.started_at[host.name] = self.clock.monotonic()
            self.finished.put(self.attempt(host))

    def attempt_here(self, host: Host) -> Outcome[T]:
        """Work on one host; an error becomes its outcome."""
        started = self.clock.monotonic()
        try:
            return Outcome(host, self.work(host), None, self.clock.monotonic() - started)
        except Exception as error:
            return Outcome(host, None, error, self.clock.monotonic() - started)

    def attempt(self, host: Host) -> Outcome[T]:
        """Work on one host in a worker thread; any exception becomes its outcome."""
        started = self.clock.monotonic()
        try:
            return self.attempt_here(host)
        except BaseException as error:
            # SystemExit and the like must not end a thread without an outcome: the caller would wait for it forever.
            failure = HostError(f"work ended by {type(error).__name__}", where=host.name)
            failure.__cause__ = error
            return Outcome(host, None, failure, self.clock.monotonic() - started)

    def outcomes(self, deadline: float | None) -> Iterator[Outcome[T]]:
        """Yield outcomes as they arrive, until all are known or the deadline has passed."""
        while len(self.outcome_of) < len(self.hosts):
            try:
                left = None if deadline is None else max(0.0, deadline - self.clock.monotonic())
                outcome = self.finished.get(timeout=left)
            except queue.Empty:
                return
            self.outcome_of[outcome.host.name] = outcome
            yield outcome

    def cancel_waiting(self) -> None:
        """Let no thread begin with another host."""
        self.waiting.clear()

    def result(self, kind: type[HostUnfinished], reason: str) -> Outcomes[T]:
        """Return an outcome of every host, with an error of ``kind`` for those that have none yet."""
        self.cancel_waiting()
        # Outcomes may have arrived since the last read; a finished host must not be reported as unfinished.
        while not self.finished.empty():
            outcome = self.finished.get()
            self.outcome_of[outcome.host.name] = outcome
        return Outcomes([self.outcome_of.get(host.name) or self.unfinished(host, kind, reason) for host in self.hosts])

    def unfinished(self, host: Host, kind: type[HostUnfinished], reason: str) -> Outcome[T]:
        """Return the outcome of a host without one."""
        started = self.started_at.get(host.name)
        if started is None:
            return Outcome(host, None, kind(f"{reason}, before it began", where=host.name), 0.0)
        return Outcome(host, None, kind(reason, where=host.name), self.clock.monotonic() - started)
