"""Progress events: one record per change of state, passed from the services to the interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

State = Literal["start", "progress", "done", "unchanged", "failed", "warning"]


@dataclass(frozen=True)
class Event:
    """One change of state.

    :param host: the host it happened on; empty for the cluster as a whole.
    :param phase: current step: ``request``, ``pending``, ``boot``, ``ssh``, the name of an install step, ``job``...
    :param state: ``start``, ``progress``; ``done``, ``unchanged`` or ``failed`` at the end of the phase; ``warning``.
    :param seconds: duration of the phase, at its end; None before.
    :param text: short detail.
    """

    host: str
    phase: str
    state: State
    seconds: float | None = None
    text: str = ""


EventHandler = Callable[[Event], None]


def ignore_event(event: Event) -> None:
    """Ignore an event: the handler of callers without one."""
