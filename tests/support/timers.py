"""Timers of the automatic shutdown on the hosts of a simulated project."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from orchestrator.core.host import Host
from orchestrator.session import Session
from tests.support.simulated_project import SimulatedProject

Simulate = Callable[..., SimulatedProject]


@dataclass
class Timers:
    """Timers of the hosts of a project, which answer as ``extend.sh`` does.

    :param silent: names of hosts that have no timer.
    :param early: how much earlier than asked for the hosts shut down.
    :param answer: printed in place of an answer.
    :param arguments: arguments of the last call per host.
    """

    project: SimulatedProject
    budget_minutes: int = 0
    silent: set[str] = field(default_factory=set)
    early: timedelta = timedelta()
    answer: str = ""
    arguments: dict[str, list[str]] = field(default_factory=dict)

    def __call__(self, host: Host, command: str) -> str:
        if "stratus-expire" not in command:
            return ""
        minutes, budget, idle = self.arguments[host.name] = command.split()[-3:]
        if host.name in self.silent:
            return self.answer or "@@none\n"
        limit = int(budget) if budget != "-" else self.budget_minutes
        left = min(int(minutes), limit) if limit else int(minutes if minutes != "-" else 60)
        expiry = self.project.clock.now() + timedelta(minutes=left) - self.early
        return f"motd\n@@until {expiry.timestamp():.0f} {limit} 2 {0 if idle == '-' else idle}\n"


def launched(project: SimulatedProject) -> tuple[Session, Timers]:
    """Launch two instances; return the session and their timers."""
    timers = project.stdout = Timers(project)
    session = project.session()
    session.cluster.launch(session.cluster.plan(2))
    return session, timers
