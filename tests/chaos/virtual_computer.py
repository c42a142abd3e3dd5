"""A researcher's computer for seeded lives: sessions in virtual time, whose machines answer SSH on paper."""

from __future__ import annotations

import os
import random
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localcloud.hosts import user_data
from localcloud.hosts.simulated import BootInfo
from localcloud.simulation.cloud import ClientCrash, InMemoryCloud
from orchestrator.aws import client
from orchestrator.aws.launch.time_limits import EXPIRE_SCRIPT, STATE_FOLDER
from orchestrator.config import settings
from orchestrator.core.clock import Backoff, Clock
from orchestrator.core.errors import ConnectError, HostError
from orchestrator.core.host import Host
from orchestrator.means import Runtime
from orchestrator.session import Session
from orchestrator.ssh import CommandResult

if TYPE_CHECKING:
    from orchestrator.core.events import Event

REGION = "us-west-2"
SCRATCH = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir())
"""Where homes lie: every line of the journal is flushed to the disk, thousands of times here."""

_STAND_INS = {
    "shutdown": '#!/bin/sh\nfor word; do :; done; echo "@@shutdown $word"\n',
    "date": "#!/bin/sh\necho 1000000000\n",
    "setsid": "#!/bin/sh\n",
}
_KNOCK = Backoff(first_s=0.5, longest_s=5.0, growth=1.5)


def minutes_of(boot: BootInfo) -> int | None:
    """How long a machine lives from this boot on: its own boot script does the arithmetic."""
    limits = {file.path: file.content for file in user_data.parse(boot.user_data).files}
    script = limits.get(EXPIRE_SCRIPT.lstrip("/"))
    if script is None:
        return None
    before = boot.number - 1
    # Every boot books two minutes, and idle.sh counts the one that has begun.
    used = int(boot.uptime_s // 60) + 3 * before
    return _minutes(script, limits[f"{STATE_FOLDER}/limits".lstrip("/")], used)


@lru_cache(maxsize=256)
def _minutes(script: bytes, limits: bytes, used: int) -> int | None:
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        root = Path(folder)
        files = {EXPIRE_SCRIPT: script, f"{STATE_FOLDER}/limits": limits, f"{STATE_FOLDER}/used": f"{used}\n".encode()}
        files |= {f"/bin/{name}": text.encode() for name, text in _STAND_INS.items()}
        for path, content in files.items():
            file = root / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            file.chmod(0o755)
        environment = {"PATH": f"{root / 'bin'}:{os.environ['PATH']}"}
        command = ["sh", str(root / EXPIRE_SCRIPT.lstrip("/"))]
        said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=True).stdout
    word = next(line.split()[1] for line in said.splitlines() if line.startswith("@@shutdown"))
    return 0 if word == "now" else int(word.lstrip("+"))


@dataclass
class PaperLinks:
    """SSH to machines that exist on paper; what they remember is the life's.

    :param keys: instance id -> the host key that it shows; a machine that is not there has the one of its launch.
    """

    cloud: InMemoryCloud
    clock: Clock
    keys: dict[str, str]

    def wait_until_ready(
        self, host: Host, *, timeout_s: float, failure_reason: Callable[[], str] | None = None
    ) -> float:
        """As `SshClient.wait_until_ready`."""
        began = self.clock.monotonic()
        trouble = ConnectError("silent", "ssh: no time", where=host.name)
        for _ in self.clock.attempts(timeout_s, _KNOCK):
            try:
                self._knock(host)
                return self.clock.monotonic() - began
            except ConnectError as error:
                trouble = error
                if error.kind == "host-key":
                    raise
            if reason := failure_reason() if failure_reason else "":
                raise HostError(f"the machine ended before SSH was up: {reason}", where=host.name)
        raise trouble

    def run(self, host: Host, command: str, *, timeout_s: float = 30.0) -> CommandResult:  # noqa: ARG002 - as SshClient.run
        """As `SshClient.run`, for the few commands that lives need."""
        self._knock(host)
        self.clock.sleep(0.1)
        words = shlex.split(command)
        said = self._rotate(host, words[4:]) if "rotate.sh" in words[3:4] else ""
        said = self._timer(host) if "extend.sh" in words[3:4] else said
        return CommandResult(host.name, words[0], said, "", 0, 0.1)

    def disconnect(self, host: Host) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is open."""

    def _knock(self, host: Host) -> None:
        kind = self.cloud.ssh_fault(host.identity)
        if kind:
            self.clock.sleep(0.0 if kind == "refused" else 5.0)
            raise ConnectError(kind, f"ssh: {kind}", where=host.name)
        shown = self.keys.setdefault(host.identity, host.boot_key or host.host_key)
        if shown not in (host.host_key, host.boot_key):
            raise ConnectError("host-key", "ssh: another host key", where=host.name)

    def _timer(self, host: Host) -> str:
        left = self.cloud.hosts.shutdown_in_s(host.identity)
        return "@@none\n" if left is None else f"@@until {self.clock.now().timestamp() + left:.0f} 0 0 0\n"

    def _rotate(self, host: Host, words: list[str]) -> str:
        mode, boot, *new = words
        if self.keys[host.identity] != boot:
            return f"@@current {self.keys[host.identity]}\n"
        if mode == "stage":
            return f"@@staged ssh-ed25519 {self.clock.new_id()}\n"
        self.keys[host.identity] = new[0]
        return f"@@current {new[0]}\n"


@dataclass
class Computer:
    """One computer of the researcher's, at one cloud.

    :param home: all that it remembers.
    :param chance: of everything that is drawn: jitter, tokens.
    :param sent: told every request's action and parameters.
    """

    cloud: InMemoryCloud
    home: Path
    config: Path
    chance: random.Random
    keys: dict[str, str] = field(default_factory=dict)
    sent: Callable[[str, dict[str, Any]], None] = lambda action, params: None
    tell: Callable[[Event], None] = lambda event: None

    @property
    def patience(self) -> Clock:
        """The cloud's clock."""
        clock = self.cloud.clock
        return Clock(
            monotonic=clock.now,
            sleep=clock.sleep,
            random=self.chance.random,
            now=lambda: clock.utc().replace(tzinfo=UTC),
            new_id=lambda: f"{self.chance.getrandbits(128):032x}",
        )

    def session(self, given: settings.Settings | None = None) -> Session:
        """A process that has just started."""
        given, patience = given or settings.load(self.config, {}), self.patience
        boto = self.cloud.session()
        boto.events.register("provide-client-params", lambda params, model, **_: self.sent(model.name, params))
        clients = client.Clients(boto, region=REGION, alone=patience)
        made: Any = lambda ssh: PaperLinks(self.cloud, patience, self.keys)  # noqa: E731
        means = Runtime(patience=patience, connect=made, sequential=True)
        return Session(given, home=self.home, runs=self.home / "runs", tell=self.tell, clients=clients, means=means)

    def after_crash(self, home: Path, *, empty: bool) -> Computer:
        """The computer as it is after this moment, or another one that knows nothing."""
        if not empty and self.home.exists():
            shutil.copytree(self.home, home)
        return Computer(self.cloud, home, self.config, self.chance, self.keys, self.sent, self.tell)


def is_crash(error: BaseException) -> bool:
    """Whether the laptop died of it."""
    return isinstance(error, ClientCrash)
