"""One cell of the fault matrix, and the outcome of running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One fault in one phase, with the promised outcome.

    :param fault: id of the fault in docs/faults.md, e.g. ``F25``.
    :param phase: the moment or place of the fault, as text.
    :param command: the command line under test.
    :param reaction: U (the user must fix it, nothing is retried), F (another pool), R (the same request again),
        W (waits), X (cleans up).
    :param exit_code: of the command.
    :param output: substrings of its output: the failure, the resource, the provider's code, the fix.
    :param faults: of the scenario, each as keyword arguments of `scenario.make_fault`.
    :param settings: settings that differ from the default, ``cluster.market`` -> value.
    :param setup: commands run first, without faults.
    :param faults_during_setup: the faults are active from the first of these commands.
    :param interruption: crash or Ctrl-C: kind, phase, action, number, as in `random_runs.plan.Interruption`.
    :param instances: our instances afterwards; None accepts any number, as in the next three.
    :param launch_requests: RunInstances requests sent, dry runs excluded.
    :param open_entries: launches that the journal keeps open.
    :param changes: changes that AWS carried out.
    :param next_command: run afterwards, without faults; must succeed.
    :param next_output: substrings of its output.
    :param instances_after_next: our instances after it.
    :param environment: environment variables; the value of a ``*_FILE`` variable is the content of that file.
    :param real_credentials: credentials come from that environment.
    :param max_s: longest duration in virtual time.
    :param config_text: the whole config file, instead of ``settings``.
    :param note: the reason for a promise that is weaker than usual.
    :param known_gap: the reason why the promise does not hold yet.
    """

    fault: str
    phase: str
    command: str
    reaction: str
    exit_code: int
    output: tuple[str, ...] = ()
    faults: tuple[Mapping[str, Any], ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    setup: tuple[str, ...] = ()
    faults_during_setup: bool = False
    interruption: tuple[str, str, str, int] | None = None
    instances: int | None = None
    launch_requests: int | None = None
    open_entries: int | None = None
    changes: int | None = None
    next_command: str = ""
    next_output: tuple[str, ...] = ()
    instances_after_next: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    real_credentials: bool = False
    max_s: float | None = None
    config_text: str = ""
    note: str = ""
    known_gap: str = ""

    @property
    def name(self) -> str:
        """Test id for pytest."""
        return f"{self.fault} {self.phase}".replace("::", ":")


@dataclass
class Outcome:
    """The outcome of a cell.

    :param exit_code: of the command; 137 after a crash.
    :param calls: API actions that the command called, in order.
    :param tokens: client token and subnet of every RunInstances request.
    :param changes: API actions that changed something in AWS.
    :param elapsed_s: duration in virtual time.
    :param violations: of the invariants.
    """

    exit_code: int
    output: str
    calls: list[str]
    tokens: list[tuple[str, str]]
    changes: list[str]
    elapsed_s: float
    instances: int
    open_entries: int
    violations: list[str]
    next_exit_code: int | None = None
    next_output: str = ""
    instances_after_next: int = 0
