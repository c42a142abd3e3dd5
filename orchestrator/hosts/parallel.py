"""The one place for parallelism over hosts: the same work on each of them, and no outcome is ever lost."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

from orchestrator.core.errors import HostError, HostsFailed
from orchestrator.core.host import Host

T = TypeVar("T")

MAX_WORKERS = 64
"""Hosts worked on at the same time: more threads than this only wait for one another."""


class HostUnfinished(HostError):
    """The work on a host had not ended when nobody waited for it any longer; it may still go on over there."""

    json_name = "Unfinished"


class HostInterrupted(HostUnfinished):
    """The same, because the user pressed Ctrl-C."""

    json_name = "Interrupted"


class HostsInterrupted(KeyboardInterrupt):
    """Ctrl-C while hosts were at work; ``outcomes`` holds what is known of every one of them."""

    def __init__(self, outcomes: Outcomes[Any]) -> None:
        super().__init__("interrupted")
        self.outcomes = outcomes


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """How the work on one host ended: with a value, or with an error.

    :param seconds: from its start; 0 when it never began.
    """

    host: Host
    value: T | None
    error: Exception | None
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.error is None

    def unwrap(self) -> T:
        """Return the value.

        :raises Exception: the error, when there is one instead.
        """
        if self.error is not None:
            raise self.error
        return cast(T, self.value)


class Outcomes(Mapping[str, Outcome[T]]):
    """Host name -> outcome, in the order of the hosts that were asked."""

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
        """Those with a value."""
        return Outcomes([outcome for outcome in self.values() if outcome.ok])

    @property
    def failed(self) -> Outcomes[T]:
        """Those with an error."""
        return Outcomes([outcome for outcome in self.values() if not outcome.ok])

    @property
    def errors(self) -> dict[str, Exception]:
        """Host name -> error, of those that failed."""
        return {name: outcome.error for name, outcome in self.items() if outcome.error is not None}

    def successful_values(self) -> list[T]:
        """Return the values of those that succeeded, in the order of the hosts."""
        return [outcome.unwrap() for outcome in self.values() if outcome.ok]

    def raise_if_failed(self, message: str) -> Outcomes[T]:
        """Return these outcomes if all succeeded.

        :param what: what failed otherwise, in words: ``install failed``.
        :raises HostsFailed: with every error, the first one chained.
        """
        errors = self.errors
        if not errors:
            return self
        raise HostsFailed(f"{message} on {len(errors)} of {len(self)} hosts", errors) from next(iter(errors.values()))


class ForEach(Protocol):
    """Work on many hosts, as :func:`each` and :func:`one_by_one` do it."""

    def __call__(
        self,
        hosts: Sequence[Host],
        work: Callable[[Host], T],
        *,
        limit: int = MAX_WORKERS,
        deadline: float | None = None,
        done: Callable[[Outcome[T]], None] | None = None,
    ) -> Outcomes[T]:
        """Do ``work`` on every host; see :func:`each`."""


def for_each_sequential(
    hosts: Sequence[Host],
    work: Callable[[Host], T],
    *,
    limit: int = MAX_WORKERS,  # noqa: ARG001 - what `each` takes, this takes, too
    deadline: float | None = None,  # noqa: ARG001 - nobody could be left behind
    done: Callable[[Outcome[T]], None] | None = None,
) -> Outcomes[T]:
    """Do what `each` does without threads: the hosts one after another, in their order, every time the same.

    :raises FleetInterrupted: on Ctrl-C, as `each` does.
    """
    crew = _Workers(hosts, work)
    try:
        for host in hosts:
            crew.started_at[host.name] = time.monotonic()
            outcome = crew.outcome_of[host.name] = crew.attempt_here(host)
            if done is not None:
                done(outcome)
    except KeyboardInterrupt as interrupt:
        raise HostsInterrupted(crew.result(HostInterrupted, "interrupted")) from interrupt
    return crew.result(HostUnfinished, "not done")


def for_each(
    hosts: Sequence[Host],
    work: Callable[[Host], T],
    *,
    limit: int = MAX_WORKERS,
    deadline: float | None = None,
    done: Callable[[Outcome[T]], None] | None = None,
) -> Outcomes[T]:
    """Do ``work`` on every host at the same time and return how it ended on each; errors are outcomes, not raised.

    :param hosts: distinct by name.
    :param limit: hosts worked on at the same time.
    :param deadline: seconds after which hosts that have not ended count as :class:`Unfinished`; their threads are left
        behind and do not keep the program from ending.
    :param done: called in this thread with each outcome as it comes, the fastest host first.
    :raises ValueError: when two hosts have the same name.
    :raises FleetInterrupted: on Ctrl-C, with the outcomes known by then; it is a KeyboardInterrupt.
    """
    if len({host.name for host in hosts}) != len(hosts):
        raise ValueError("two hosts have the same name")
    crew = _Workers(hosts, work)
    until = None if deadline is None else time.monotonic() + deadline
    try:
        crew.start(limit)
        for outcome in crew.outcomes(until):
            if done is not None:
                done(outcome)
    except KeyboardInterrupt as interrupt:
        raise HostsInterrupted(crew.result(HostInterrupted, "interrupted")) from interrupt
    finally:
        crew.cancel_waiting()
    return crew.result(HostUnfinished, f"not done after {deadline or 0:g} s")


class _Workers(Generic[T]):
    """Threads that work on hosts, and the outcomes that they brought."""

    def __init__(self, hosts: Sequence[Host], work: Callable[[Host], T]) -> None:
        self.hosts = hosts
        self.work = work
        self.waiting = deque(hosts)
        self.started_at: dict[str, float] = {}
        self.finished: queue.SimpleQueue[Outcome[T]] = queue.SimpleQueue()
        self.outcome_of: dict[str, Outcome[T]] = {}

    def start(self, limit: int) -> None:
        """Start the threads: daemons, since one of them may be stuck with a host for ever."""
        for _ in range(min(max(limit, 1), len(self.hosts))):
            threading.Thread(target=self.run_worker, name="fleet", daemon=True).start()

    def run_worker(self) -> None:
        """Work on one host after the other until none waits."""
        while True:
            try:
                host = self.waiting.popleft()
            except IndexError:
                return
            self.started_at[host.name] = time.monotonic()
            self.finished.put(self.attempt(host))

    def attempt_here(self, host: Host) -> Outcome[T]:
        """Work on one host; an error becomes its outcome."""
        began = time.monotonic()
        try:
            return Outcome(host, self.work(host), None, time.monotonic() - began)
        except Exception as error:
            return Outcome(host, None, error, time.monotonic() - began)

    def attempt(self, host: Host) -> Outcome[T]:
        """Work on one host in a thread of its own; whatever goes wrong becomes its outcome."""
        began = time.monotonic()
        try:
            return self.attempt_here(host)
        except BaseException as error:
            # SystemExit and the like must not end a thread without an outcome.
            failure = HostError(f"work ended by {type(error).__name__}", where=host.name)
            failure.__cause__ = error
            return Outcome(host, None, failure, time.monotonic() - began)

    def outcomes(self, until: float | None) -> Iterator[Outcome[T]]:
        """Yield outcomes as they come, until all are known or the time is up."""
        while len(self.outcome_of) < len(self.hosts):
            try:
                left = None if until is None else max(0.0, until - time.monotonic())
                outcome = self.finished.get(timeout=left)
            except queue.Empty:
                return
            self.outcome_of[outcome.host.name] = outcome
            yield outcome

    def cancel_waiting(self) -> None:
        """Let no thread begin with another host."""
        self.waiting.clear()

    def result(self, kind: type[HostUnfinished], why: str) -> Outcomes[T]:
        """What is known of every host; of the others, that it is not, and why."""
        self.cancel_waiting()
        while not self.finished.empty():
            outcome = self.finished.get()
            self.outcome_of[outcome.host.name] = outcome
        return Outcomes([self.outcome_of.get(host.name) or self.unknown(host, kind, why) for host in self.hosts])

    def unknown(self, host: Host, kind: type[HostUnfinished], why: str) -> Outcome[T]:
        """The outcome of a host that brought none."""
        began = self.started_at.get(host.name)
        if began is None:
            return Outcome(host, None, kind(f"{why}, before it began", where=host.name), 0.0)
        return Outcome(host, None, kind(why, where=host.name), time.monotonic() - began)
