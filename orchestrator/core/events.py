"""What the doing layers tell the interface while they work: one small record per change of state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

State = Literal["start", "progress", "done", "unchanged", "failed", "warning"]


@dataclass(frozen=True)
class Event:
    """One change of state.

    :param host: the host it happened on; empty for the cluster as a whole.
    :param phase: what is going on: ``request``, ``pending``, ``boot``, ``ssh``, the name of an install step, ``job``...
    :param state: ``start`` and ``progress`` while it runs; at its end ``done``, ``unchanged``, ``failed``; ``warning``.
    :param seconds: how long the phase took, at its end; None before.
    :param text: a few words of detail.
    """

    host: str
    phase: str
    state: State
    seconds: float | None = None
    text: str = ""


EventHandler = Callable[[Event], None]


def ignore_event(event: Event) -> None:
    """A listener for those who do not want to know."""
