"""Independent calls made at the same time, with a deadline for each."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from orchestrator.core.errors import StratusError

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients

OPTIONAL_TIMEOUT_S = 2.5
"""Timeout of lookups whose result a launch does not depend on."""

T = TypeVar("T")


class TimedOut(StratusError):
    """A call did not return by its deadline."""

    json_name = "Late"


class Result(Generic[T]):
    """The value or the error of one call."""

    def __init__(self, value: T | None = None, error: Exception | None = None) -> None:
        self.value = value
        self.error = error


def gather(
    clients: Clients,
    calls: Mapping[str, Callable[[], T]],
    *,
    timeout_s: float,
    longer_timeouts_s: Mapping[str, float] | None = None,
) -> dict[str, Result[T]]:
    """Make independent calls at the same time and return the result of each.

    :param calls: name -> call; it may raise.
    :param timeout_s: for all calls; the error of one that takes longer is :class:`TimedOut`, and its thread is
        abandoned.
    :param longer_timeouts_s: name -> seconds for calls with a longer timeout. Until the longest of them has expired,
        late results of the other calls count too.
    """
    longer = longer_timeouts_s or {}
    if clients.sequential:  # no timeouts: a simulated clock stands still while a call runs
        return {name: _result(call) for name, call in calls.items()}
    finished: queue.SimpleQueue[tuple[str, Result[T]]] = queue.SimpleQueue()
    for name, call in calls.items():
        # Daemon threads: an abandoned one must not keep the process alive.
        threading.Thread(target=lambda n=name, c=call: finished.put((n, _result(c))), name=name, daemon=True).start()
    results: dict[str, Result[T]] = {}
    start = clients.clock.monotonic()
    while timeouts := [longer.get(name, timeout_s) for name in calls if name not in results]:
        try:
            name, result = finished.get(timeout=max(0.0, start + max(timeouts) - clients.clock.monotonic()))
        except queue.Empty:
            break
        results[name] = result
    return {name: results.get(name) or _timed_out(name, longer.get(name, timeout_s)) for name in calls}


def _timed_out(name: str, timeout_s: float) -> Result[T]:
    return Result(error=TimedOut(f"{name}: no answer within {timeout_s:g} s", fix="try again"))


def _result(call: Callable[[], T]) -> Result[T]:
    try:
        return Result(call())
    except Exception as error:
        return Result(error=error)
