"""Host keys: the one that a launch brings is replaced by one that the host makes itself, in the first session.

The launch's key travels in the user data, which anybody with ``ec2:DescribeInstanceAttribute`` can read for as long as
the machine exists, and all machines of a launch share it. So it serves for the first connection only. The order of the
steps is such that a computer which dies between two of them locks nobody out: first the tags name the new key, and the
launch's as well; then the host takes the new one into use; only when it has shown it are the tags rid of the old one.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core import remote_scripts
from orchestrator.core.clock import REAL_CLOCK, Backoff, Clock
from orchestrator.core.errors import ConnectError, HostError, StratusError
from orchestrator.core.events import Event, EventHandler
from orchestrator.core.host import Host

if TYPE_CHECKING:
    from orchestrator.ssh import SshClient

SCRIPT_TIMEOUT_S = 20.0  # for one round trip with a healthy host, ssh-keygen included
LOCK_S = 10.0  # whoever holds the lock of the pins writes one small file
RELOAD_S = 10.0  # an SSH server that was told to read its keys anew has done so by then


@dataclass(frozen=True)
class KnownHostKeys:
    """Which host keys this computer has seen take effect: instance id -> public key.

    Tags say the same, but EC2 may show an old tag for a while, and others in the account can write tags.

    :param path: one line each, ``i-0abc ssh-ed25519 AAAA...``.
    """

    path: Path

    def get(self, identity: str) -> str:
        """Return a machine's pin; empty when this computer has seen none."""
        return self._load().get(identity, "")

    def add(self, identity: str, public: str) -> None:
        """Add a pin; it is on the disk when this returns."""
        self._change(lambda pins: pins | {identity: public})

    def remove(self, identities: Iterable[str]) -> None:
        """Drop the pins of machines that are gone."""
        gone = set(identities)
        if gone & self._load().keys():
            self._change(lambda pins: {name: key for name, key in pins.items() if name not in gone})

    def _load(self) -> dict[str, str]:
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return {}
        words = [line.partition(" ") for line in lines]
        return {identity: key for identity, _, key in words}

    def _change(self, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
        """Replace the file, whole, by what ``change`` makes of it; one process and thread at a time."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self.path.with_name(f".{self.path.name}.lock").open("w") as lock:
            REAL_CLOCK.retry(
                lambda: fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB),
                is_transient=lambda error: isinstance(error, BlockingIOError),
                timeout_s=LOCK_S,
                backoff=Backoff(0.002, 0.1),
            )
            draft = self.path.with_name(f".{self.path.name}.new")
            with draft.open("w", encoding="utf-8") as file:
                file.writelines(f"{identity} {key}\n" for identity, key in change(self._load()).items())
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)


@dataclass(frozen=True)
class HostKeyRotation:
    """Gives hosts keys of their own; safe to use from many threads.

    :param pin: makes the tags name a machine's (id's) new key, beside the one of its launch.
    :param pins: what this computer knows.
    :param renewed: ids of machines whose tags may now forget the launch's key; see `take`.
    """

    ssh_client: SshClient
    tag_host_key: Callable[[str, str], None]
    known_keys: KnownHostKeys
    on_event: EventHandler
    clock: Clock = REAL_CLOCK
    rotated: list[str] = field(default_factory=list)

    def __call__(self, host: Host) -> Host:
        """Return the host with its new key pinned; as it was when nothing is to be done, or nothing can be.

        What keeps a host from having its own key is told as a warning; it fails nothing.
        """
        if not host.boot_key:
            return host
        began = self.clock.monotonic()
        self.on_event(Event(host.name, "hostkey", "start"))
        try:
            renewed = self._renew(host)
        except _Cannot as reason:
            self.on_event(Event(host.name, "hostkey", "unchanged", self.clock.monotonic() - began))
            self.on_event(
                Event(host.name, "hostkey", "warning", text=f"still has the host key of its launch: {reason}")
            )
            return host
        self.rotated.append(host.identity)
        self.on_event(Event(host.name, "hostkey", "done", self.clock.monotonic() - began))
        return renewed

    def take_rotated(self) -> list[str]:
        """Return the ids of the machines renewed since the last call."""
        taken = list(self.rotated)
        del self.rotated[: len(taken)]
        return taken

    def _renew(self, host: Host) -> Host:
        state, key = self._ask(host, "stage")
        if state == "staged":
            self._tag(host, key)
            state, shown = self._ask(host, "adopt", key)
            if shown != key:
                self._tag(host, shown)  # another computer was quicker: what the host says it uses is what counts
            key = shown
        if key == host.boot_key:
            raise _Cannot("it did not take the new one")
        renewed = replace(host, host_key=key, boot_key="")
        self._see(host, renewed)
        with suppress(OSError):  # a full disk: the tags say it, too
            self.known_keys.add(host.identity, key)
        return renewed

    def _ask(self, host: Host, *words: str) -> tuple[str, str]:
        """Return what the script on the host said: ``staged`` or ``current``, and the key."""
        mode, *more = words
        try:
            reply = self.ssh_client.run(
                host, remote_scripts.inline_command("rotate.sh", mode, host.boot_key, *more), timeout_s=SCRIPT_TIMEOUT_S
            )
        except HostError as error:
            raise _Cannot(error.message) from error
        said = [line.split(" ", 1) for line in reply.stdout.splitlines() if line.startswith("@@")]
        answer = {words[0].removeprefix("@@"): words[-1].strip() for words in said}
        for state in ("staged", "current"):
            if answer.get(state, "").startswith("ssh-ed25519 "):
                return state, answer[state]
        raise _Cannot(answer.get("cannot") or "it did not say which key it has")

    def _tag(self, host: Host, public: str) -> None:
        try:
            self.tag_host_key(host.identity, public)
        except StratusError as error:
            raise _Cannot(str(error).splitlines()[0]) from error

    def _see(self, before: Host, now: Host) -> None:
        """Connect anew, to see the host prove that it holds its new key."""
        self.ssh_client.disconnect(before)
        last: ConnectError | None = None
        for _ in self.clock.attempts(RELOAD_S, Backoff(0.05, 1.0)):
            try:
                self.ssh_client.wait_until_ready(now, timeout_s=RELOAD_S)
                return
            except ConnectError as error:
                last = error
                if error.kind != "host-key":
                    break
        assert last is not None
        raise _Cannot(f"it does not show the new one: {last.message}") from last


class _Cannot(Exception):
    """Why a host keeps the key of its launch."""
