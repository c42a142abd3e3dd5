"""Run one cell: the real command line against a simulated cloud, in virtual time."""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from localcloud.core.clock import VirtualClock
from localcloud.scenarios import scenario
from localcloud.simulation.cloud import ClientCrash, InMemoryCloud
from orchestrator.core.clock import REAL_CLOCK
from orchestrator.core.journal import Journal
from orchestrator.crypto import ssh_keys
from orchestrator.interface.cli import invocation, main
from orchestrator.session import Session
from tests.chaos import invariants
from tests.chaos.fault_matrix.cell import Cell, Outcome
from tests.chaos.shutdown_timers import ShutdownTimers
from tests.chaos.virtual_computer import SCRATCH, VirtualComputer

CONFIG = {"cluster": {"name": "ml", "count": "2"}, "aws": {"region": "us-west-2", "ssh_from": "203.0.113.7/32"}}
NO_CREDENTIALS = {
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
    "HOME": "/nowhere",
}
READS = ("Describe", "Get", "List")


class CellRunner:
    """The command line, its config file and a simulated cloud.

    :param folder: for config file and home folders.
    """

    def __init__(self, cell: Cell, cloud: InMemoryCloud, folder: Path, timers: ShutdownTimers) -> None:
        self.cell, self.cloud, self.folder = cell, cloud, folder
        self.monitor = invariants.InvariantMonitor(cloud)
        self.tokens: list[tuple[str, str]] = []
        self.call_counts: dict[str, int] = {}
        self.interrupted = False
        config = folder / "config.ini"
        text = cell.config_text or _config(cell.settings)
        if "{key}" in text:
            ssh_keys.generate_login_key(folder / "key")
        config.write_text(text.replace("{key}", str(folder / "key")))
        self.computer = VirtualComputer(
            cloud, folder / "home", config, random.Random(cell.name), on_request=self._sent, timers=timers
        )
        self.monitor.set_home(self.computer.home)

    def execute(self, line: str) -> tuple[int, str]:
        """Run one command line; return its exit code and output."""
        out = io.StringIO()
        setup = invocation.Setup(config=self.computer.config, session_factory=self._open)
        with _environment(self.cell, self.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                code = main.main(line.split(), setup)
            except ClientCrash as crash:
                self.computer = crash.args[0]
                self.monitor.set_home(self.computer.home)
                code = 137
        return code, out.getvalue()

    def run(self) -> Outcome:
        """Run the setup, the command with its faults, then the next command."""
        scenario_of_cell = scenario.Scenario(0, tuple(scenario.make_fault(**fault) for fault in self.cell.faults))
        if self.cell.faults_during_setup:
            self.cloud.play(scenario_of_cell)
        for line in self.cell.setup:
            code, output = self.execute(line)
            assert code == 0, output
        if not self.cell.faults_during_setup:
            self.cloud.play(scenario_of_cell)
        first_call, start = len(self.cloud.calls), self.cloud.clock.now()
        self.tokens.clear()
        self.cloud.on_call_boundary = self._boundary
        code, output = self.execute(self.cell.command)
        self.cloud.on_call_boundary = lambda *_: None
        calls = self.cloud.calls[first_call:]
        outcome = Outcome(
            code,
            output,
            [call.action for call in calls],
            list(self.tokens),
            [call.action for call in calls if call.outcome == "ok" and not call.action.startswith(READS)],
            self.cloud.clock.now() - start,
            self._active_instances(),
            len(Journal(self.computer.home, REAL_CLOCK).open_entries()),
            self.monitor.violations,
        )
        if self.cell.next_command:
            self.cloud.clock.sleep(600.0)
            outcome.next_exit_code, outcome.next_output = self.execute(self.cell.next_command)
            outcome.instances_after_next = self._active_instances()
        return outcome

    def _active_instances(self) -> int:
        return sum(instance.state in invariants.ACTIVE for instance in invariants.our_instances(self.cloud))

    def _open(self, settings: Any, *, home: Path, runs: Path, on_event: Any) -> Session:  # noqa: ARG002
        if self.cell.real_credentials:
            return Session(settings, home=self.computer.home, runs=runs, on_event=on_event)
        self.computer.on_event = on_event
        return self.computer.session(settings)

    def _sent(self, action: str, params: dict[str, Any]) -> None:
        self.monitor.check_request(action, params)
        if action == "RunInstances" and not params.get("DryRun"):
            self.tokens.append((str(params["ClientToken"]), str(params.get("SubnetId", ""))))

    def _boundary(self, phase: str, action: str, _: int) -> None:
        if phase == "before":
            self.call_counts[action] = self.call_counts.get(action, 0) + 1
        if self.cell.interruption is None or self.interrupted:
            return
        kind, when, api_action, number = self.cell.interruption
        if (when, api_action) == (phase, action) and self.call_counts[action] == number:
            self.interrupted = True
            if kind == "crash":
                raise ClientCrash(self.computer.after_crash(self.folder / "home-after", empty=False))
            for _ in range(2 if kind.endswith("twice") else 1):
                signal.raise_signal(signal.SIGINT)


def run_cell(cell: Cell) -> Outcome:
    """Run a cell against a new cloud."""
    folder = Path(tempfile.mkdtemp(prefix="cell-", dir=SCRATCH))
    try:
        # The present time, because messages about clock skew compare the cloud's clock with the real one.
        clock = VirtualClock(datetime.now(UTC).replace(tzinfo=None))
        timers = ShutdownTimers()
        with InMemoryCloud(1, clock=clock, read_shutdown=timers.at_boot) as cloud:
            return CellRunner(cell, cloud, folder, timers).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _config(changes: Mapping[str, str]) -> str:
    sections = {name: dict(values) for name, values in CONFIG.items()}
    for key, value in changes.items():
        section, option = key.split(".")
        sections.setdefault(section, {})[option] = value
    return "".join(
        f"[{name}]\n" + "".join(f"{option} = {value}\n" for option, value in values.items())
        for name, values in sections.items()
    )


@contextlib.contextmanager
def _environment(cell: Cell, folder: Path) -> Iterator[None]:
    """Replace AWS and Stratus variables by those of the cell, for the duration of the context."""
    saved = dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("AWS_", "STRATUS_"))]:
        del os.environ[name]
    os.environ.update(NO_CREDENTIALS | {"STRATUS_HOME": str(folder / "home")})
    for name, value in cell.environment.items():
        os.environ[name] = _file(folder, name, value) if name.endswith("_FILE") else value
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


def _file(folder: Path, name: str, content: str) -> str:
    path = folder / name.lower()
    path.write_text(content)
    return str(path)
