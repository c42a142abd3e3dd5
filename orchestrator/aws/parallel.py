"""Questions that may not take long: all at the same time, and whoever has no answer by the deadline has none."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from orchestrator.core.errors import StratusError

if TYPE_CHECKING:
    from orchestrator.aws.client import Clients

OPTIONAL_TIMEOUT_S = 2.5
"""For what a launch can do without."""

T = TypeVar("T")


class TimedOut(StratusError):
    """No answer came by the deadline."""

    json_name = "Late"


class Result(Generic[T]):
    """What a question brought: a value, or an error."""

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
    """Ask independent questions at the same time and return every one's answer or error.

    :param asks: name -> question; it may raise.
    :param seconds: for all of them; one that is late counts as :class:`Late`, and its thread is left behind.
    :param longer: name -> seconds, for those that are waited for longer. While they are, the others may still answer.
    """
    longer_timeouts_s = longer_timeouts_s or {}
    if clients.alone:
        return {name: _answer(ask) for name, ask in calls.items()}
    answers: queue.SimpleQueue[tuple[str, Result[T]]] = queue.SimpleQueue()
    for name, ask in calls.items():
        threading.Thread(target=lambda n=name, a=ask: answers.put((n, _answer(a))), name=name, daemon=True).start()
    found: dict[str, Result[T]] = {}
    began = time.monotonic()
    while left := [longer_timeouts_s.get(name, timeout_s) for name in calls if name not in found]:
        try:
            name, answer = answers.get(timeout=max(0.0, began + max(left) - time.monotonic()))
        except queue.Empty:
            break
        found[name] = answer
    return {name: found.get(name) or _late(name, longer_timeouts_s.get(name, timeout_s)) for name in calls}


def _late(name: str, seconds: float) -> Result[T]:
    return Result(error=TimedOut(f"{name}: no answer within {seconds:g} s", fix="try again"))


def _answer(ask: Callable[[], T]) -> Result[T]:
    try:
        return Result(ask())
    except Exception as error:
        return Result(error=error)
