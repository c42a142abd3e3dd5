"""Hosts of attackers beside an honest one: each verb ends, keeps the honest host's outcome, and writes nothing else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import localcloud
from localcloud.hosts.hostile import behavior
from localcloud.hosts.hostile.behavior import Hostility
from localcloud.scenarios.scenario import Scenario, make_fault
from orchestrator.cluster.status import InstanceStatus
from orchestrator.core.errors import HostError, StratusError
from orchestrator.jobs.runs import RUN_ID
from orchestrator.session import Session
from tests.support.localcloud.clients import wait_until
from tests.support.localcloud.iam_enforcement import as_user
from tests.support.paths import ROOT
from tests.support.project import Project

JOB = 'single = "true"\nmulti = mkdir outputs && echo good >outputs/good && echo line\n'
HONEST = "ml-0"
ATTACKS = {
    "ports and logins": [Hostility(how) for how in (*behavior.PORTS, *behavior.LOGINS)],
    "lies": [
        Hostility("escapes"),
        Hostility("lies"),
        # Their records are true: results are fetched from them.
        Hostility("archive-bomb", "*exec tar*"),
        Hostility("archive-links", "*exec tar*"),
    ],
    "output": [Hostility(how) for how in ("endless-output", "endless-errors", "slow-output", "cut-output")],
}
DEADLINE_S = 400.0
"""For all verbs at once: the longest of their own deadlines are 90 s, and the computer is busy."""

ENDLESS = ("endless-output", "endless-errors", "endless-banner", "endless-packet", "endless-login-banner")
ENOUGH_LINES = 1000

MAX_GROWTH_KIB = 300 << 10
"""Of a process that reads endless output, beside Python and its libraries."""


@dataclass(frozen=True)
class Attacked:
    """A cluster of an honest host and hostile ones, with a run that has ended on all of them."""

    project: Project
    run_id: str
    instances: Mapping[str, InstanceStatus]

    def attack(self, attacks: Sequence[Hostility]) -> None:
        """Make hosts hostile, from the second one on, and wait until they are."""
        faults = [
            make_fault("host-hostile", how=attack.how, commands=attack.commands, where=f"host {number}")
            for number, attack in enumerate(attacks, start=1)
        ]
        home = self.project.env["LOCALCLOUD_HOME"]
        localcloud.scenario(Scenario(1, tuple(faults)), home)
        for number, attack in enumerate(attacks, start=1):
            instance = self.instances[f"ml-{number}"]
            (disk,) = Path(home).rglob(instance.id)
            wait_until(partial(self._is_in_force, attack, disk, instance.address))

    def _is_in_force(self, attack: Hostility, disk: Path, address: str) -> bool:
        if behavior.read(disk) != attack:
            return False
        port = int(self.project.env["REHEARSAL_SSH_PORT"])
        try:
            # The host's own server is on the next port behind a hostile one.
            with socket.create_connection((address, port + attack.is_port), timeout=5) as link:
                return link.recv(4) == b"SSH-"
        except OSError:
            return False

    def files(self) -> dict[str, bytes]:
        """Return the content of this computer's files, without those that verbs write for hosts."""
        top = self.project.folder
        own = ("runs", "logs", "ssh", "timings.json", "recent-hosts")
        paths = (path for path in sorted(top.rglob("*")) if path.is_file() or path.is_symlink())
        return {str(path): path.read_bytes() for path in paths if not set(own) & set(path.parts)}

    def check_runs(self) -> None:
        """Check that folders of runs hold plain files of runs only."""
        top = self.project.folder / "laptop/runs"
        assert all(RUN_ID.fullmatch(path.name) for path in top.iterdir())
        assert not [path for path in top.rglob("*") if path.is_symlink() or not (path.is_file() or path.is_dir())]
        assert not [path for path in top.rglob("*") if path.stat().st_mode & 0o7000]
        assert not Path("/tmp/evil-absolute").exists()
        assert not list(self.project.folder.rglob("evil-above")) + list(self.project.folder.rglob("evil-through-link"))


@dataclass
class Outcome:
    """Outcome of one verb."""

    answer: Any = None
    error: Exception | None = None
    lines: dict[str, list[str]] = field(default_factory=dict)

    def keep(self, host: str, line: str) -> None:
        """Keep a line of a host."""
        self.lines.setdefault(host, []).append(line[:100])

    def keep_all(self, lines: Iterable[tuple[str, str]]) -> None:
        """Keep the lines of all hosts, up to those of a host that sends without end."""
        for host, line in lines:
            self.keep(host, line)
            if HONEST in self.lines and len(self.lines[host]) >= ENOUGH_LINES:
                return

    def follow(self, host: str, line: str) -> None:
        """Keep a line of a host's job; leave a job that prints without end, as a user does with Ctrl-C."""
        self.keep(host, line)
        if len(self.lines[host]) >= ENOUGH_LINES:
            raise HostError("it prints without end", where=host)


def _quiet(host: str, line: str) -> None:
    """Ignore a line."""


VERBS: dict[str, Callable[[Session, str, Outcome], object]] = {
    "usage": lambda session, run_id, outcome: session.hosts.usage(),
    "exec": lambda session, run_id, outcome: session.hosts.run_command("echo good", timeout_s=8, on_line=outcome.keep),
    "runs": lambda session, run_id, outcome: session.jobs.runs(),
    "logs": lambda session, run_id, outcome: outcome.keep_all(session.jobs.logs(run_id)),
    "fetch": lambda session, run_id, outcome: session.jobs.fetch(run_id),
    "follow": lambda session, run_id, outcome: session.jobs.follow(run_id, on_line=outcome.follow),
    "start": lambda session, run_id, outcome: session.jobs.start(multi=True),
    "cancel": lambda session, run_id, outcome: session.jobs.cancel(run_id),
    "killall": lambda session, run_id, outcome: session.jobs.cancel_all(),
    "install": lambda session, run_id, outcome: session.jobs.install(),
}


@pytest.fixture(scope="module")
def attacked(cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """Hosts that become hostile after a run; TerminateAll ends them while they are."""
    project = Project(tmp_path_factory.mktemp("attacked"), "ml", cloud)
    project.job(JOB)
    with project.session() as session:
        assert not session.cluster.launch(session.cluster.plan(1 + max(map(len, ATTACKS.values())))).failed
        assert not session.jobs.install().failed
        run_id = session.jobs.start(multi=True).run_id
        session.jobs.follow(run_id, on_line=_quiet)
        session.jobs.fetch(run_id)
        instances = {item.name: item for item in session.cluster.status().instances}
    # The defaults are minutes, for VMs that boot.
    project.config.write_text(
        project.config.read_text().replace("[ssh]", "[ssh]\nready_timeout = 20") + "max_fetch_gib = 0.01\n"
    )
    yield Attacked(project, run_id, instances)
    with project.session("cleaner") as session:
        assert session.cluster.terminate().remaining == ()
    localcloud.scenario(None, cloud["LOCALCLOUD_HOME"])


def carry_out(attacked: Attacked) -> dict[str, Outcome]:
    """Carry out every verb, all at once; return their outcomes once all have ended."""
    outcomes = {name: Outcome() for name in VERBS}

    def work(name: str) -> None:
        with attacked.project.session() as session:
            try:
                outcomes[name].answer = VERBS[name](session, attacked.run_id, outcomes[name])
            except Exception as error:
                outcomes[name].error = error

    threads = {name: threading.Thread(target=work, args=(name,), daemon=True) for name in VERBS}
    for thread in threads.values():
        thread.start()
    for thread in threads.values():
        thread.join(DEADLINE_S)
    assert [name for name, thread in threads.items() if thread.is_alive()] == []
    return outcomes


@pytest.mark.slow
@pytest.mark.parametrize("kind", ATTACKS)
def test_every_verb_ends_with_the_honest_hosts_outcome_and_writes_nothing_else(attacked: Attacked, kind: str) -> None:
    attacked.attack(ATTACKS[kind])
    before = attacked.files()

    outcomes = carry_out(attacked)

    assert attacked.files() == before
    attacked.check_runs()
    for name, outcome in outcomes.items():
        assert outcome.error is None or isinstance(outcome.error, StratusError), (name, outcome.error)
    # The honest host has answered everything.
    assert outcomes["exec"].lines[HONEST] == ["good"]
    assert outcomes["logs"].lines[HONEST] == ["line"]
    assert HONEST in {usage.host for usage in outcomes["usage"].answer.hosts}
    assert HONEST in {host.host for host in outcomes["killall"].answer.hosts}
    assert HONEST in {host.host for host in outcomes["install"].answer.hosts}
    assert outcomes["cancel"].answer.left[HONEST] == 0
    assert attacked.run_id in {run.run_id for run in outcomes["runs"].answer}
    assert HONEST not in outcomes["fetch"].answer.failed
    assert "outputs/ml-0/good" in outcomes["fetch"].answer.outputs
    # One line for every host that failed, and none of them is a bug.
    failed = [outcomes[name].answer.failed for name in ("usage", "exec", "fetch", "cancel", "killall", "install")]
    for error in (error for errors in failed for error in errors.values()):
        assert isinstance(error, StratusError), repr(error)
        assert "\n" not in error.message


@pytest.mark.slow
def test_endless_output_takes_little_memory(attacked: Attacked) -> None:
    attacked.attack([Hostility(how) for how in ENDLESS])
    commands = ["runs"], ["fetch", attacked.run_id], ["exec", "--timeout", "5", "echo good"]

    base = peak_memory_kib(attacked, "status")
    growth_kib = {words[0]: peak_memory_kib(attacked, *words) - base for words in commands}

    assert max(growth_kib.values()) < MAX_GROWTH_KIB, growth_kib


def peak_memory_kib(attacked: Attacked, *words: str) -> int:
    """Return the largest amount of memory that a process of the command line had, in KiB."""
    project = attacked.project
    home = project.folder / "laptop"
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "--config", str(project.config), *words],
        env={**as_user(project.env), "STRATUS_HOME": str(home), "PYTHONPATH": str(ROOT)},
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    # subprocess does not report the memory of one child.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode in (0, 1), words
    return usage.ru_maxrss
